//! Nodes of the default system that boot in other ways than the cluster's: by UEFI, after kernel
//! and boot loader were installed anew, as thin overlays, and with what people add to a node.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::Command;

use support::cluster::{Nodes, SUDO};
use support::qemu::{Firmware, Machine};
use support::system::default_system;
use support::{as_user, directory_of, mirror, public_program, succeed, user};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "qemu-img", "qemu-system-x86_64", "ssh", "virtiofsd"];
    boots_by_uefi_and_after_all_that_boots_it_is_installed_anew,
    thin_nodes_are_small_and_boot,
    what_is_added_is_in_the_node,
}

const WAIT_FOR_LEASE: &str =
    "for second in $(seq 90); do ip -4 -brief address show eth0 | grep UP && break; sleep 1; done | grep UP";

fn boots_by_uefi_and_after_all_that_boots_it_is_installed_anew() {
    let system = default_system();
    let work = directory_of("root");
    let disk = work.path().join("node.qcow2");
    fs_err::copy(system.artifact("fabric2.qcow2"), &disk).unwrap();
    let mut machine = Machine::new(&disk);
    machine.firmware = Firmware::Uefi;
    machine.keep_writes = true;
    machine.arguments = ["-nic", "user,model=virtio"].map(ToOwned::to_owned).to_vec();
    let mut console = machine.start();
    assert_eq!(console.wait_for_login(), "fabric2");
    console.log_in("root", "aresquare");
    console.check("test -d /sys/firmware/efi");
    console.check(WAIT_FOR_LEASE);
    console.check("export DEBIAN_FRONTEND=noninteractive; apt-get -q update && apt-get -q --yes dist-upgrade");
    // As with a new kernel: its initramfs is made, and its hooks write the menu.
    for packages in ["linux-image-6*", "grub*"] {
        let installed =
            format!("dpkg-query -W -f '${{db:Status-Abbrev}} ${{Package}}\\n' '{packages}' | sed -n 's/^ii  //p'");
        console.check(&format!("apt-get -q --yes install --reinstall $({installed})"));
    }
    console.check("grub-install --target=i386-pc /dev/vda");
    console.check("grub-install --target=x86_64-efi --removable");
    console.check("update-grub");
    assert!(console.check("cat /boot/grub/grub.cfg").contains("menuentry"), "update-grub wrote a menu");
    console.power_off();
    for firmware in [Firmware::Uefi, Firmware::Bios] {
        machine.firmware = firmware;
        let mut console = machine.start();
        assert_eq!(console.wait_for_login(), "fabric2", "{firmware:?}");
        console.log_in("root", "aresquare");
        assert!(console.check("cat /proc/cmdline").contains("root=UUID="), "booted by update-grub's menu");
        console.power_off();
    }
}

fn thin_nodes_are_small_and_boot() {
    let system = default_system();
    let output = directory_of(user());
    let tarball = system.artifact("fabric_template.tar");
    succeed(
        as_user(public_program())
            .args(["--mirror", &mirror(), "--nodes", "3", "--thin", "--from-tarball"])
            .arg(&tarball)
            .arg("--output")
            .arg(output.path()),
    );
    for number in 1..=3 {
        let disk = output.path().join(format!("fabric{number}.qcow2"));
        assert!(fs_err::metadata(&disk).unwrap().len() < 8 << 20, "an overlay holds little");
        succeed(Command::new("qemu-img").arg("check").arg(&disk));
        let info = succeed(Command::new("qemu-img").args(["info", "--output=json"]).arg(&disk));
        assert!(info.contains("\"backing-filename\": \"fabric_backing.qcow2\""), "{info}");
        assert!(info.contains("\"backing-filename-format\": \"qcow2\""), "{info}");
    }
    let disk = output.path().join("fabric3.qcow2");
    let mut console = Machine::new(&disk).start();
    assert_eq!(console.wait_for_login(), "fabric3");
    console.log_in("fabric", "rocks");
}

/// One node of the launch script, which boots a kernel of its own without GRUB.
fn what_is_added_is_in_the_node() {
    let (system, nodes) = (default_system(), Nodes::new(14000));
    let of_build =
        ["fabric1.qcow2", "fabric_emulation.bash", "fabric_ssh_key", "fabric_ssh_config", "fabric_known_hosts"];
    system.copy(of_build.map(str::to_owned), &nodes.directory);
    let at = |name: &str| nodes.directory.join(name).display().to_string();
    for (name, path) in [("kernel", "./boot/vmlinuz-*"), ("initrd", "./boot/initrd.img-*")] {
        let mut tar = Command::new("tar");
        tar.arg("-xOf").arg(system.artifact("fabric_template.tar")).args(["--wildcards", path]);
        fs_err::write(at(name), tar.output().unwrap().stdout).unwrap();
    }
    for (name, text) in [("disk1.img", "this is a disk"), ("cd.iso", "this is a CD")] {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(1 << 20, 0);
        fs_err::write(at(name), bytes).unwrap();
    }
    fs_err::create_dir(at("shared, too")).unwrap();
    fs_err::write(nodes.directory.join("shared, too/from-host"), "hello").unwrap();
    fs_err::create_dir(at("served")).unwrap();
    fs_err::write(nodes.directory.join("served/from-host"), "hello again").unwrap();
    succeed(Command::new("chown").arg("-R").arg(user()).arg(&nodes.directory));
    let (share, serve) = (format!("{}:source", at("shared, too")), format!("{}:served", at("served")));
    nodes.start(
        &[
            "start",
            "--kernel",
            &at("kernel"),
            "--initrd",
            &at("initrd"),
            "--append",
            "added=yes",
            "--disk",
            &at("disk{}.img"),
            "--cdrom",
            &at("cd.iso"),
            "--share",
            &share,
            "--virtiofs",
            &serve,
            "--forward",
            "14080:22",
            "1",
        ],
        &[1],
    );
    let command_line = nodes.ssh(1, "cat /proc/cmdline");
    assert!(
        command_line.starts_with("root=PARTLABEL=root ro console=tty0 ") && command_line.ends_with(" added=yes"),
        "{command_line}"
    );
    assert_eq!(nodes.ssh(1, "systemctl is-system-running --wait || systemctl --failed"), "running");
    assert_eq!(nodes.ssh(1, &format!("{SUDO} head -c 14 /dev/vdb")), "this is a disk");
    assert_eq!(nodes.ssh(1, &format!("{SUDO} head -c 12 /dev/sr0")), "this is a CD");
    for (mount, directory, greeting) in
        [("9p -o trans=virtio source", "shared, too", "hello"), ("virtiofs served", "served", "hello again")]
    {
        // The second file is of another user of the node: on the host both are of the one who runs it.
        let mounted = format!(
            "{SUDO} mount -t {mount} /mnt && cat /mnt/from-host && {SUDO} sh -c \
             'echo hi >/mnt/from-node; mkdir -m 777 /mnt/open; setpriv --reuid 4711 --clear-groups sh -c \": >/mnt/open/file\"'"
        );
        assert_eq!(nodes.ssh(1, &mounted), greeting);
        let from_node = nodes.directory.join(directory).join("from-node");
        assert_eq!(fs_err::read_to_string(&from_node).unwrap(), "hi\n");
        let mut stat = Command::new("stat");
        stat.args(["-c", "%U"]).arg(&from_node).arg(from_node.with_file_name("open/file"));
        assert_eq!(succeed(&mut stat), format!("{0}\n{0}\n", user()));
        fs_err::write(from_node.with_file_name("from-host"), "changed").unwrap();
        assert_eq!(nodes.ssh(1, &format!("cat /mnt/from-host; {SUDO} umount /mnt")), "changed");
    }
    let mut banner = String::new();
    BufReader::new(TcpStream::connect("127.0.0.1:14080").unwrap()).read_line(&mut banner).unwrap();
    assert!(banner.starts_with("SSH-"), "{banner}");
}
