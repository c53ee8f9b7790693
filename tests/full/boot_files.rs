//! Settings of GRUB and /etc/fstab that a recipe has: they hold at the first boot, and after
//! `update-grub` in the guest.

use std::path::Path;

use support::files::in_tarball;
use support::harness::ROOT;
use support::qemu::Machine;
use support::{directory_of, user};

use crate::suites::{build_changed, build_nodes};

support::tests! {
    needs [ROOT, "newuidmap", "qemu-system-x86_64"];
    settings_in_a_directory_hold_at_the_first_boot_and_later,
    update_grub_works_in_a_script,
    a_node_finds_its_own_root_beside_the_disk_of_another,
}

/// Builds the recipe `minimal` with a script that runs in the new system.
fn build(script: &str, output: &Path) {
    let plugin = format!("[[plugin.add]]\nname = \"script\"\nsettings.script = '''\n{script}\n'''\n");
    build_changed(&plugin, &[], output);
}

fn settings_in_a_directory_hold_at_the_first_boot_and_later() {
    let output = directory_of(user());
    let script = "\
        echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX of.the.recipe=1\"' > /etc/default/grub.d/recipe.cfg\n\
        sed -i 's/errors=remount-ro/errors=remount-ro,noatime/' /etc/fstab";
    build(script, output.path());
    let mut console = Machine::new(&output.path().join("fabric1.qcow2")).start();
    console.wait_for_login();
    console.log_in("root", "aresquare");
    let has_parameter = |file: &str| format!("grep -o of.the.recipe=1 {file} | head -n 1");
    assert_eq!(console.check(&has_parameter("/proc/cmdline")), "of.the.recipe=1");
    assert_eq!(console.check("findmnt --noheadings --output OPTIONS / | grep -o noatime"), "noatime");
    console.check("update-grub");
    assert_eq!(console.check(&has_parameter("/boot/grub/grub.cfg")), "of.the.recipe=1");
    console.power_off();
}

fn update_grub_works_in_a_script() {
    let output = directory_of(user());
    build("sed -i 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=7/' /etc/default/grub && update-grub", output.path());
    let made = in_tarball(&output.path().join("fabric_template.tar"), "./boot/grub/grub.cfg");
    assert!(made.contains("set timeout=7\n"), "{made}");
    let fstab = in_tarball(&output.path().join("fabric_template.tar"), "./etc/fstab");
    let root = fstab.lines().find(|line| line.contains("\t/\t")).unwrap().split('\t').next().unwrap();
    assert!(root.starts_with("UUID="), "{fstab}");
    let kernel = made.lines().find(|line| line.trim_start().starts_with("linux")).unwrap();
    assert!(kernel.contains("\t/boot/vmlinuz-") && kernel.contains(&format!(" root={root} ")), "{kernel}");
    let settings = in_tarball(&output.path().join("fabric_template.tar"), "./etc/default/grub");
    assert!(settings.contains("GRUB_TIMEOUT=7\n"), "{settings}");
}

/// Both disks have the same labels. Whichever is first, the firmware and GRUB start from the first, and
/// the kernel's command line and /etc/fstab are those of its node.
fn a_node_finds_its_own_root_beside_the_disk_of_another() {
    let output = directory_of(user());
    build_nodes(2, "", &[], output.path());
    for (own, other) in [("fabric1", "fabric2"), ("fabric2", "fabric1")] {
        let [own_disk, other_disk] = [own, other].map(|name| output.path().join(format!("{name}.qcow2")));
        let drive = format!("file={},format=qcow2,if=virtio,snapshot=on", other_disk.display());
        let mut machine = Machine::new(&own_disk);
        machine.arguments.extend(["-drive".into(), drive]);
        let mut console = machine.start();
        assert_eq!(console.wait_for_login(), own);
        console.log_in("root", "aresquare");
        assert_eq!(console.check("findmnt --noheadings --output SOURCE /"), "/dev/vda3");
        assert_eq!(console.check("findmnt --noheadings --output SOURCE /boot/efi"), "/dev/vda2");
        let root = console.check("blkid -o value -s UUID /dev/vda3");
        assert_ne!(root, console.check("blkid -o value -s UUID /dev/vdb3"));
        assert!(console.check("cat /proc/cmdline").contains(&format!("root=UUID={root} ")));
        console.power_off();
    }
}
