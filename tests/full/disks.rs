//! One boot of a node with swap, a partition that holds a part of the system, a FAT for another system
//! to read, and a disk of its own, whose image was made larger before: the guest says what it has. And one
//! of a node whose disks have sectors of 4096 bytes, by the launch script.

use std::path::Path;
use std::process::Command;

use support::cluster::{Nodes, SUDO};
use support::harness::ROOT;
use support::qemu::Machine;
use support::{directory_of, succeed, user};

use crate::suites::{build_changed, build_recipe};

support::tests! {
    needs [ROOT, "newuidmap", "qemu-img", "qemu-system-x86_64", "ssh"];
    a_guest_finds_its_disks_and_takes_what_was_added,
    a_node_with_sectors_of_4096_bytes_boots_and_grows,
}

const CHANGES: &str = "
[disk]
swap = '256M'

[[disk.partition]]
size = '128M'
label = 'log'
mount = '/var/log'
source = 'logs'

[[disk.partition]]
size = '64M'
label = 'seed'
type = 'vfat'
mount = '/mnt'
source = 'seed'

[[disk.more]]
size = '1G'
label = 'data'
mount = '/srv/data'
source = 'data'
";

fn write(path: &Path, text: &str) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, text).unwrap();
}

fn a_guest_finds_its_disks_and_takes_what_was_added() {
    let output = directory_of(user());
    let at = |name: &str| output.path().join(name);
    write(&at("logs/old/line"), "from the recipe\n");
    write(&at("seed/user-data"), "#cloud-config\n");
    write(&at("data/sub/file"), "on a disk of its own\n");
    succeed(Command::new("chown").arg("-R").arg(user()).arg(output.path()));
    build_changed(CHANGES, &[], output.path());

    let disk = at("fabric1.qcow2");
    succeed(Command::new("qemu-img").args(["resize", "-f", "qcow2"]).arg(&disk).arg("+4G"));
    let more = format!("file={},format=qcow2,if=virtio,snapshot=on", at("fabric1-data.qcow2").display());
    let mut machine = Machine::new(&disk);
    machine.arguments.extend(["-drive".to_owned(), more]);
    let mut console = machine.start();
    console.wait_for_login();
    console.log_in("root", "aresquare");

    assert_eq!(
        console.check("swapon --show=NAME,TYPE,SIZE --noheadings --bytes --raw"),
        format!("/dev/vda4 partition {}", (256 << 20) - 4096)
    );
    let mounted = |path: &str| format!("findmnt --noheadings --raw --output SOURCE,FSTYPE {path}");
    assert_eq!(console.check(&mounted("/")), "/dev/vda3 ext4");
    assert_eq!(console.check(&mounted("/var/log")), "/dev/vda5 ext4");
    assert_eq!(console.check(&mounted("/mnt")), "/dev/vda6 vfat");
    assert_eq!(console.check(&mounted("/srv/data")), "/dev/vdb ext4");
    let contents = console.check("cat /var/log/old/line /mnt/user-data /srv/data/sub/file");
    assert_eq!(contents, "from the recipe\n#cloud-config\non a disk of its own");
    assert_eq!(console.check("stat -c '%a %U %G' /srv/data/sub /srv/data/sub/file"), "755 root root\n644 root root");
    // What the packages have there is not hidden.
    console.check("test -d /var/log/apt");
    assert_eq!(
        console.check("lsblk --noheadings --raw --output LABEL /dev/vda5 /dev/vda6 /dev/vdb"),
        "log\nSEED\ndata"
    );

    // 4 GiB as it was built, and as much again: without ESP, swap and two partitions.
    let bytes = |text: String| text.trim().parse::<u64>().unwrap();
    let partition = bytes(console.check("lsblk --noheadings --bytes --output SIZE /dev/vda3"));
    assert!(partition > (8 << 30) - (520 << 20), "{partition}");
    let root = bytes(console.check("df --output=size --block-size=1 / | tail -n 1"));
    assert!(root > partition * 9 / 10, "{root} of {partition}");
    assert_eq!(console.check("findmnt --noheadings --raw --output OPTIONS / | grep -o '^rw'"), "rw");
    // Once more, there is nothing to do.
    console.check("systemctl restart systemd-repart.service");
    let again = console.check("lsblk --noheadings --bytes --output SIZE /dev/vda3");
    assert_eq!(bytes(again), partition);
    let blame = "SYSTEMD_COLORS=0 systemd-analyze blame --no-pager | grep -E 'repart|growfs|swap'";
    println!("{}", console.check(blame));
    let failed = console.check("SYSTEMD_COLORS=0 systemctl --failed --no-legend --plain | cut -d ' ' -f 1");
    assert_eq!(failed, "", "units that failed");
    console.power_off();
}

/// The default system on such disks, with one of each kind of volume.
const SECTORS: &str = "
extends = 'fabric'

[disk]
size = '4G'
sector-size = 4096
swap = '128M'

[[disk.partition]]
size = '260M'
label = 'shared'
type = 'vfat'
mount = '/srv/shared'
source = 'shared'

[[disk.more]]
size = '300M'
label = 'data'
mount = '/srv/data'
";

fn a_node_with_sectors_of_4096_bytes_boots_and_grows() {
    let nodes = Nodes::new(15300);
    write(&nodes.directory.join("shared/from-recipe"), "hello\n");
    succeed(Command::new("chown").arg("-R").arg(user()).arg(&nodes.directory));
    build_recipe(SECTORS, &["1"], &nodes.directory);
    succeed(
        Command::new("qemu-img").args(["resize", "-f", "qcow2"]).arg(nodes.directory.join("fabric1.qcow2")).arg("+2G"),
    );
    nodes.start(&["start", "1"], &[1]);

    let sizes = "cd /sys/block; cat vd[ab]/queue/logical_block_size vd[ab]/queue/physical_block_size";
    assert_eq!(nodes.ssh(1, sizes).split_whitespace().collect::<Vec<_>>(), ["4096"; 4]);
    nodes.ssh(1, "test -d /sys/firmware/efi");
    let mounted = "for path in / /boot/efi /srv/shared /srv/data; do findmnt --noheadings --raw --output SOURCE,FSTYPE $path; done";
    assert_eq!(nodes.ssh(1, mounted), "/dev/vda3 ext4\n/dev/vda2 vfat\n/dev/vda5 vfat\n/dev/vdb ext4");
    assert_eq!(nodes.ssh(1, "cat /srv/shared/from-recipe"), "hello");
    let swap = nodes.ssh(1, &format!("{SUDO} swapon --show=NAME,SIZE --noheadings --bytes --raw"));
    assert_eq!(swap, format!("/dev/vda4 {}", (128 << 20) - 4096));
    // What is written to a FAT of such sectors is there when it is mounted anew.
    let write = "sh -c 'cat /etc/passwd >/srv/shared/passwd && umount /srv/shared && mount /srv/shared && cmp /etc/passwd /srv/shared/passwd'";
    nodes.ssh(1, &format!("{SUDO} {write}"));
    // 4 GiB as it was built, and 2 more: without ESP, swap and the partition.
    let bytes = |command: &str| nodes.ssh(1, command).trim().parse::<u64>().unwrap();
    let partition = bytes("lsblk --noheadings --bytes --output SIZE /dev/vda3");
    assert!(partition > (6 << 30) - (652 << 20), "{partition}");
    let root = bytes("df --output=size --block-size=1 / | tail -n 1");
    assert!(root > partition * 9 / 10, "{root} of {partition}");
    // By the guest's own means, too.
    nodes.ssh(1, &format!("{SUDO} grub-install --target=x86_64-efi --removable && {SUDO} update-grub"));
    assert_eq!(nodes.ssh(1, "systemctl is-system-running --wait || systemctl --failed"), "running");
    succeed(&mut nodes.script(&["stop"]));
}
