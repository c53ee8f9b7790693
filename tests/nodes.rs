//! The main job, as a user has it: four nodes from the mirror, built without root, the same bytes by root, from a lock and
//! on a host with no tools of Debian; sound to every checker of their formats; and booting.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use support::bare::{bare_root, command_in};
use support::cluster::default_build;
use support::files::{differences, walk};
use support::qemu::{Firmware, Machine};
use support::{as_user, directory_of, mirror, public_binary, succeed, user};

const IMAGES: [&str; 5] = ["fabric1.qcow2", "fabric2.qcow2", "fabric3.qcow2", "fabric4.qcow2", "fabric_template.img"];

const WAIT_FOR_LEASE: &str =
    "for second in $(seq 90); do ip -4 -brief address show eth0 | grep UP && break; sleep 1; done | grep UP";

fn build(mut program: Command, output: &Path) -> Command {
    program.args(["--mirror", &mirror()]).arg("--output").arg(output);
    program
}

/// A directory that has the seed of the first build, so that everything derived from it is the same.
fn with_the_same_seed(owner: &str) -> tempfile::TempDir {
    let output = directory_of(owner);
    let seed = output.path().join("fabric.seed");
    fs_err::copy(default_build().join("fabric.seed"), &seed).unwrap();
    fs_err::set_permissions(&seed, std::fs::Permissions::from_mode(0o600)).unwrap();
    succeed(Command::new("chown").arg(owner).arg(&seed));
    output
}

fn assert_same(one: &Path, other: &Path, name: &str) {
    succeed(Command::new("cmp").arg(one.join(name)).arg(other.join(name)));
}

#[test]
fn root_makes_the_same_bytes_from_the_lock() {
    let output = with_the_same_seed("root");
    let lock = default_build().join("fabric.lock");
    succeed(build(Command::new(public_binary()), output.path()).args(["--nodes", "4", "--locked"]).arg(lock));
    for name in IMAGES.iter().chain(&["fabric_template.tar", "fabric.lock", "fabric_known_hosts"]) {
        assert_same(default_build(), output.path(), name);
    }
}

#[test]
fn an_unchanged_build_takes_the_template_again() {
    let output = with_the_same_seed(user());
    let again = || {
        let begin = Instant::now();
        let said = as_user("/bin/sh")
            .args(["-c", r#""$0" "$@" 2>&1"#])
            .arg(public_binary())
            .args(["--nodes", "4", "--mirror", &mirror(), "--output"])
            .arg(output.path())
            .output()
            .unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
        (String::from_utf8_lossy(&said.stdout).into_owned(), begin.elapsed())
    };
    let (first, took) = again();
    assert!(!first.contains("Reusing"), "{first}");
    let before = fs_err::metadata(output.path().join("fabric_template.tar")).unwrap().modified().unwrap();
    let (second, took_again) = again();
    println!("first build {took:.1?}, unchanged {took_again:.1?}");
    assert!(second.contains("Reusing"), "{second}");
    assert!(took_again < took / 2, "{took_again:?} after {took:?}");
    assert_eq!(fs_err::metadata(output.path().join("fabric_template.tar")).unwrap().modified().unwrap(), before);
    for name in IMAGES {
        assert_same(default_build(), output.path(), name);
    }
}

#[test]
fn every_checker_finds_the_images_sound() {
    let work = directory_of("root");
    let raw = default_build().join("fabric_template.img");
    succeed(Command::new("sgdisk").arg("--verify").arg(&raw)).lines().for_each(|line| println!("{line}"));
    for node in &IMAGES[..4] {
        succeed(Command::new("qemu-img").arg("check").arg(default_build().join(node)));
    }
    let (esp, root) = (work.path().join("esp"), work.path().join("root"));
    for (number, file) in [(2, &esp), (3, &root)] {
        extract_partition(&raw, number, file);
    }
    succeed(Command::new("fsck.vfat").arg("-n").arg(&esp));
    succeed(Command::new("e2fsck").arg("-fn").arg(&root));
    // A node as the guest will see it, with its own UUID.
    let node = work.path().join("node.img");
    succeed(
        Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(default_build().join("fabric2.qcow2")).arg(&node),
    );
    succeed(Command::new("sgdisk").arg("--verify").arg(&node));
    extract_partition(&node, 3, &root);
    succeed(Command::new("e2fsck").arg("-fn").arg(&root));
}

/// Copies a partition of a raw image to a file of its own.
fn extract_partition(image: &Path, number: u32, file: &Path) {
    let info = succeed(Command::new("sgdisk").arg(format!("--info={number}")).arg(image));
    let sector = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let (first, last) = (sector("First sector: "), sector("Last sector: "));
    succeed(
        Command::new("dd")
            .arg(format!("if={}", image.display()))
            .arg(format!("of={}", file.display()))
            .args(["bs=1M", "conv=sparse", "iflag=skip_bytes,count_bytes", "status=none"])
            .arg(format!("skip={}", first * 512))
            .arg(format!("count={}", (last - first + 1) * 512)),
    );
}

#[test]
fn the_file_system_is_the_tarball() {
    let work = directory_of("root");
    let (tree, disk) = (work.path().join("tree"), work.path().join("disk"));
    for directory in [&tree, &disk] {
        fs_err::create_dir(directory).unwrap();
    }
    let tarball = default_build().join("fabric_template.tar");
    succeed(
        Command::new("tar")
            .args([
                "--extract",
                "--numeric-owner",
                "--preserve-permissions",
                "--xattrs",
                "--xattrs-include=*",
                "--file",
            ])
            .arg(tarball)
            .arg("--directory")
            .arg(&tree),
    );
    // The ESP is a file system of its own.
    fs_err::remove_dir_all(tree.join("boot/efi")).unwrap();
    fs_err::create_dir(tree.join("boot/efi")).unwrap();
    let root = work.path().join("root.img");
    extract_partition(&default_build().join("fabric_template.img"), 3, &root);
    succeed(Command::new("mount").args(["-o", "ro,loop"]).arg(&root).arg(&disk));
    let found = std::panic::catch_unwind(|| {
        let mut found = walk(&disk);
        found.remove("/lost+found");
        differences(&found, &walk(&tree))
    });
    succeed(Command::new("umount").arg(&disk));
    let found = found.unwrap();
    assert!(found.is_empty(), "{} differences: {:#?}", found.len(), &found[..found.len().min(20)]);
}

#[test]
fn raw_image_and_node_without_customization_are_one_disk() {
    let output = directory_of(user());
    let recipe = output.path().join("plain.toml");
    fs_err::write(&recipe, "suite = \"trixie\"\nnodes.count = 1\n").unwrap();
    let tarball = default_build().join("fabric_template.tar");
    // A tarball of someone else's needs neither namespaces nor the network.
    succeed(
        as_user(public_binary())
            .arg("--recipe")
            .arg(&recipe)
            .arg("--from-tarball")
            .arg(&tarball)
            .arg("--output")
            .arg(output.path()),
    );
    succeed(
        Command::new("qemu-img")
            .args(["compare", "-f", "raw", "-F", "qcow2"])
            .arg(output.path().join("fabric_template.img"))
            .arg(output.path().join("fabric1.qcow2")),
    );
}

#[test]
fn a_host_without_tools_of_debian_makes_the_same_bytes() {
    let root = bare_root();
    let output = root.path().join("output");
    fs_err::copy(default_build().join("fabric.seed"), output.join("fabric.seed")).unwrap();
    fs_err::set_permissions(output.join("fabric.seed"), std::fs::Permissions::from_mode(0o600)).unwrap();
    succeed(Command::new("chown").args(["--recursive", user()]).arg(&output));
    let mut program = command_in(root.path(), "fam-build");
    program.args(["--mirror", &mirror(), "--output", "/output", "--cache-dir", "/output/cache", "--nodes", "1"]);
    program.arg("--locked").arg("/output/the.lock");
    fs_err::copy(default_build().join("fabric.lock"), output.join("the.lock")).unwrap();
    succeed(&mut program);
    for name in ["fabric_template.tar", "fabric_template.img"] {
        assert_same(default_build(), &output, name);
    }
}

#[test]
fn all_nodes_boot_and_are_themselves() {
    let nodes: Vec<_> = (1..=4).map(|number| format!("fabric{number}")).collect();
    let mut identities = Vec::new();
    // Two at a time, as there may be two processors.
    for pair in nodes.chunks(2) {
        let disks: Vec<_> = pair.iter().map(|name| default_build().join(format!("{name}.qcow2"))).collect();
        let mut consoles: Vec<_> = disks
            .iter()
            .map(|disk| {
                let mut machine = Machine::new(disk);
                machine.arguments = ["-nic", "user,model=virtio"].map(ToOwned::to_owned).to_vec();
                machine.start()
            })
            .collect();
        for (name, console) in pair.iter().zip(&mut consoles) {
            assert_eq!(console.wait_for_login(), *name);
            console.log_in("root", "aresquare");
            assert_eq!(console.check("hostname"), *name);
            console.check("systemctl is-system-running --wait");
            assert_eq!(console.check("systemctl --failed --no-legend --plain"), "", "{name}: failed units");
            // The boot waits for no lease.
            console.check(WAIT_FOR_LEASE);
            console.check("findmnt --noheadings /boot/efi");
            console.check("getent hosts fabric1 fabric2 fabric3 fabric4 vmhost");
            identities.push(console.check("cat /etc/machine-id /etc/ssh/ssh_host_*_key.pub; findmnt -no UUID /"));
            assert_eq!(console.check("readlink /mnt/fabric_emulation"), "/sys/bus/pci/devices/0000:00:04.0/resource2");
        }
        for mut console in consoles {
            console.check("su - fabric -c 'gcc -Wall -Werror -o hello hello_fabric.c && echo rocks | sudo -S true'");
        }
    }
    identities.sort();
    identities.dedup();
    assert_eq!(identities.len(), 4, "machine-id, host keys and file systems are each node's own: {identities:#?}");
}

#[test]
fn boots_by_uefi_and_after_all_that_boots_it_is_installed_anew() {
    let work = directory_of("root");
    let disk = work.path().join("node.qcow2");
    fs_err::copy(default_build().join("fabric2.qcow2"), &disk).unwrap();
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

#[test]
fn thin_nodes_are_small_and_boot() {
    let output = directory_of(user());
    let tarball = default_build().join("fabric_template.tar");
    succeed(
        build(as_user(public_binary()), output.path()).args(["--nodes", "3", "--thin", "--from-tarball"]).arg(&tarball),
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
