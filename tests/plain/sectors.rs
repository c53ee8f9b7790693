//! Disks with sectors of 4096 bytes: as the kernel and the usual tools see them on a device that has
//! such sectors, in whole builds, in what hypervisors are told, and where they cannot be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fam_build::hints::hint;
use fam_build::recipe::SectorSize;
use fam_image::{BootCode, Format, ImageSettings, lay_out, lay_out_further, raw};
use fam_tree::{Entry, Kind, Tree};
use support::disk::{LoopDevice, Partition};
use support::succeed;

use crate::fabric::{Running, cluster};
use crate::image::fixture::{Fixture, file, identity};
use crate::image::tools::run;
use crate::small::{Bench, Who, archive, assert_fails, program_with};
use crate::volumes::{assert_sound, probe, source, volume};

support::tests! {
    needs [
        support::harness::ROOT, "blkid", "dpkg-deb", "e2fsck", "fsck.vfat", "gpg", "losetup", "mount", "mtype", "partx", "qemu-img",
        "qemu-system-x86_64", "sgdisk", "swaplabel",
    ];
    every_tool_finds_such_a_disk_sound,
    the_boot_code_for_bios_is_left_out,
    a_recipe_asks_for_them,
    recipes_that_cannot_be_are_refused,
    what_takes_512_bytes_alone_is_not_exported_to,
    nodes_are_started_by_uefi,
}

const SECTOR_BYTES: u64 = 4096;

fn settings() -> ImageSettings {
    let mut seed = volume("seed", 260, Format::Vfat, None);
    seed.source = source(&[("user-data", b"#cloud-config\n"), ("A long name.txt", b"long\n")]);
    let partitions = vec![
        volume("swap", 48, Format::Swap, None),
        volume("home", 32, Format::Ext4, Some("home")),
        seed,
        volume("blank", 1, Format::None, None),
    ];
    let disks = vec![volume("nodes", 40, Format::Ext4, Some("nodes")), volume("fat", 300, Format::Vfat, Some("many"))];
    let sector_size = SectorSize::Bytes4096;
    ImageSettings { size_bytes: 1 << 30, sector_size, partitions, disks, ..Fixture::settings() }
}

fn every_tool_finds_such_a_disk_sound() {
    let fixture = Fixture::new();
    let contents = Arc::clone(&fixture.tarball);
    let map = lay_out(&fixture.tree, contents, &BTreeSet::new(), &identity(3), &settings()).unwrap();
    raw::write(&map, &fixture.create("disk.img"), &|_| ()).unwrap();
    let disk = fixture.path("disk.img");
    let device = LoopDevice::new(&disk, SECTOR_BYTES, None);
    let printed = run("sgdisk", &[&"-v", &device.path()]);
    assert!(printed.contains("No problems found"), "{printed}");
    let table = run("sgdisk", &[&"-p", &device.path()]);
    assert!(table.contains("Sector size (logical/physical): 4096/"), "{table}");
    assert_eq!(probe(device.path())["PTUUID"], identity(3).disk_guid.to_string());

    let place = |number| Partition::in_sectors(SECTOR_BYTES, device.path(), number);
    let ids = identity(3).partitions;
    let serial = |id: u32| format!("{:04X}-{:04X}", id >> 16, id & 0xffff);
    for (number, kind, label, id, mib) in [
        (2, "vfat", "EFI", serial(identity(3).esp_volume_id), 260),
        (3, "ext4", "fabric", identity(3).fs_uuid.to_string(), 1024 - 1 - 1 - 260 - 48 - 32 - 260 - 1 - 1),
        (4, "swap", "swap", ids[0].fs_uuid.to_string(), 48),
        (5, "ext4", "home", ids[1].fs_uuid.to_string(), 32),
        (6, "vfat", "SEED", serial(ids[2].volume_id()), 260),
    ] {
        let partition = place(number);
        assert_eq!(device.partition(number), partition, "what sgdisk and libblkid find");
        assert_eq!((partition.offset_bytes % (1 << 20), partition.len_bytes >> 20), (0, mib), "{number}");
        let part = LoopDevice::new(&disk, SECTOR_BYTES, Some(partition));
        let found = probe(part.path());
        assert_eq!((&*found["TYPE"], &*found["LABEL"], &*found["UUID"]), (kind, label, &*id), "{number}: {found:?}");
        match kind {
            "swap" => drop(run("swaplabel", &[&part.path()])),
            kind => assert_sound(part.path(), kind),
        }
        if kind == "vfat" {
            assert_eq!(found["BLOCK_SIZE"], "4096", "{found:?}");
        }
    }
    for (number, path, text) in [(2, "EFI/BOOT/grub.cfg", "configfile\n"), (6, "A long name.txt", "long\n")] {
        let image = format!("{}@@{}", disk.display(), place(number).offset_bytes);
        assert_eq!(run("mtype", &[&"-i", &image, &format!("::/{path}")]), text);
    }
    // The kernel refuses a file system whose blocks are smaller than the sectors.
    let root = LoopDevice::new(&disk, SECTOR_BYTES, Some(place(3)));
    let directory = tempfile::tempdir().unwrap();
    run("mount", &[&"-t", &"ext4", &"-o", &"ro", &root.path(), &directory.path()]);
    let read = fs_err::read(directory.path().join("etc/zeros"));
    run("umount", &[&directory.path()]);
    assert_eq!(read.unwrap(), [0; 300_000]);

    for (index, kind) in ["ext4", "vfat"].into_iter().enumerate() {
        let contents = Arc::clone(&fixture.tarball);
        let map = lay_out_further(index, &fixture.tree, contents, &BTreeSet::new(), &identity(1), &settings()).unwrap();
        raw::write(&map, &fixture.create("further.img"), &|_| ()).unwrap();
        assert_sound(LoopDevice::new(&fixture.path("further.img"), SECTOR_BYTES, None).path(), kind);
    }
}

/// A tree with GRUB for BIOS, as its installation leaves it.
fn with_grub_for_bios(fixture: &Fixture) -> Tree {
    let mut tree = fixture.tree.clone();
    let directory = Entry { kind: Kind::Directory, ..file(b"", 0o755) };
    for path in ["boot/grub", "boot/grub/i386-pc"] {
        tree.insert(path.parse().unwrap(), directory.clone());
    }
    let mut boot = vec![0x90; 512];
    boot[510..].copy_from_slice(&[0x55, 0xaa]);
    tree.insert("boot/grub/i386-pc/boot.img".parse().unwrap(), file(&boot, 0o644));
    tree.insert("boot/grub/i386-pc/core.img".parse().unwrap(), file(&[0x77; 40_000], 0o644));
    tree
}

fn the_boot_code_for_bios_is_left_out() {
    let fixture = Fixture::new();
    let lay_out = |tree: &Tree| {
        lay_out(tree, Arc::clone(&fixture.tarball), &BTreeSet::new(), &identity(1), &settings()).map(Arc::new)
    };
    let mut tree = with_grub_for_bios(&fixture);
    let map = lay_out(&tree).unwrap();
    assert_eq!(map.boot_code(), BootCode::UefiOnly);
    raw::write(&map, &fixture.create("disk.img"), &|_| ()).unwrap();
    let disk = fs_err::read(fixture.path("disk.img")).unwrap();
    assert!(disk[..440].iter().chain(&disk[1 << 20..2 << 20]).all(|&byte| byte == 0));

    tree.remove(&"boot/efi/EFI/BOOT/BOOTX64.EFI".parse().unwrap());
    let error = lay_out(&tree).unwrap_err();
    assert!(error.to_string().contains("for BIOS alone") && error.is_of_tree(), "{error}");
    assert!(hint(&error).unwrap().contains("include grub-efi-amd64-bin"), "{error}");
    tree.remove(&"boot/grub/i386-pc/boot.img".parse().unwrap());
    assert_eq!(lay_out(&tree).unwrap().boot_code(), BootCode::None);
}

/// The small system on such disks.
const RECIPE: &str = "
extends = './tiny.toml'
disk.sector-size = 4096
disk.swap = '64M'
nodes.count = 2

[[disk.partition]]
size = '260M'
label = 'shared'
type = 'vfat'
mount = '/mnt'

[[disk.more]]
size = '64M'
label = 'more'
mount = '/srv'
";

fn bench() -> (Bench, String) {
    let bench = Bench::new(archive());
    let recipe = bench.write("sectors.toml", RECIPE).display().to_string();
    (bench, recipe)
}

fn to_raw(qcow2: &Path) -> PathBuf {
    let raw = qcow2.with_extension("img");
    run("qemu-img", &[&"convert", &"-O", &"raw", &qcow2, &raw]);
    raw
}

fn a_recipe_asks_for_them() {
    let (bench, recipe) = bench();
    let plan = succeed(&mut bench.build(&["plan", "--recipe", &recipe]));
    assert!(plan.contains("4096, boots by UEFI alone"), "{plan}");
    for thin in [&[][..], &["--thin"]] {
        succeed(&mut bench.build(&[&["--recipe", &recipe], thin].concat()));
        let node = to_raw(&bench.output().join("fabric2.qcow2"));
        for disk in [&node, &bench.output().join("fabric_template.img")] {
            let device = LoopDevice::new(disk, SECTOR_BYTES, None);
            let printed = run("sgdisk", &[&"-v", &device.path()]);
            assert!(printed.contains("No problems found"), "{printed}");
            for (number, kind) in [(2, "vfat"), (3, "ext4"), (5, "vfat")] {
                let part = LoopDevice::new(disk, SECTOR_BYTES, Some(device.partition(number)));
                assert_sound(part.path(), kind);
            }
        }
        let more = to_raw(&bench.output().join("fabric2-more.qcow2"));
        assert_sound(LoopDevice::new(&more, SECTOR_BYTES, None).path(), "ext4");
    }
    let script = fs_err::read_to_string(bench.output().join("fabric_emulation.bash")).unwrap();
    assert_eq!(script.matches(",logical_block_size=4096,physical_block_size=4096,").count(), 2, "{script}");
    let xml = fs_err::read_to_string(bench.output().join("fabric2.xml")).unwrap();
    assert_eq!(xml.matches("<blockio logical_block_size='4096' physical_block_size='4096'/>").count(), 2, "{xml}");
}

fn recipes_that_cannot_be_are_refused() {
    let (bench, _) = bench();
    let vfat = "[[disk.more]]\nsize = '259M'\nlabel = 'fat'\ntype = 'vfat'";
    for (text, code, error, hint) in [
        ("disk.sector-size = 1024", 2, "a sector has 512 or 4096 bytes, not 1024", "recipe show"),
        ("disk.sector-size = '4096'", 2, "invalid type: string", "recipe show"),
        (&format!("disk.sector-size = 4096\n{vfat}"), 2, "the vfat file system fat must have 260M", "size = \"260M\""),
        // With an ESP of 64 MiB all has room.
        ("disk.sector-size = 4096\ndisk.swap = '900M'", 1, "too small for its partitions", "--size"),
    ] {
        bench.write("wrong.toml", &format!("extends = './tiny.toml'\n{text}"));
        let recipe = bench.directory.path().join("wrong.toml").display().to_string();
        assert_fails(&mut bench.build(&["plan", "--recipe", &recipe]), code, &[error], hint);
    }
    bench.write("small.toml", "extends = './tiny.toml'\ndisk.swap = '900M'");
    let recipe = bench.directory.path().join("small.toml").display().to_string();
    succeed(&mut bench.build(&["plan", "--recipe", &recipe]));
}

fn what_takes_512_bytes_alone_is_not_exported_to() {
    let (bench, recipe) = bench();
    succeed(&mut bench.build(&["--recipe", &recipe, "--thin"]));
    let export = |format: &str| {
        let mut command = program_with(Who::Root, &bench.output(), &bench.cache());
        command.args(["export", "--format", format, "2"]);
        command
    };
    for format in ["vmdk", "vdi", "ova", "incus"] {
        let error = format!("{format}: its disks have sectors of 512 bytes, and those of these nodes have 4096");
        assert_fails(&mut export(format), 1, &[&error], "take vhdx, oci or proxmox");
        assert!(!bench.output().join(format!("fabric2.{format}")).exists());
    }
    for format in ["vhdx", "oci", "proxmox"] {
        succeed(&mut export(format));
    }
    let read = |name: &str| fs_err::read_to_string(bench.output().join(name)).unwrap();
    assert!(read("fabric2.kubevirt.yaml").contains("logical: 4096\n"));
    assert!(read("fabric_proxmox.bash").contains("virtio-blk-pci.logical_block_size=4096"));
    // The size is at this place of the metadata. QEMU reads no other than 512, and all else of a disk
    // as small as this is the same with it.
    let vhdx = bench.output().join("fabric2.vhdx");
    let mut bytes = fs_err::read(&vhdx).unwrap();
    let field = &mut bytes[(2 << 20) + (64 << 10) + 16..][..4];
    assert_eq!(field, 4096_u32.to_le_bytes());
    field.copy_from_slice(&512_u32.to_le_bytes());
    fs_err::write(&vhdx, bytes).unwrap();
    run("qemu-img", &[&"compare", &"-f", &"qcow2", &"-F", &"vhdx", &bench.output().join("fabric2.qcow2"), &vhdx]);
}

fn nodes_are_started_by_uefi() {
    let mut cluster = cluster(2, "");
    cluster.machine.sector_size = SectorSize::Bytes4096;
    let running = Running::of(&cluster, 24322);
    let before = running.files();
    let check = String::from_utf8(running.run(&["check"]).stdout).unwrap();
    assert!(check.contains("ok\tUEFI\t/usr/share/OVMF/OVMF_CODE_4M.fd\t\n"), "{check}");
    let elsewhere = [("OVMF", Path::new("/nowhere/OVMF_CODE.fd"))];
    let refused = running.run_with(&elsewhere, &["start"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("error: OVMF=/nowhere/OVMF_CODE.fd: that file cannot be read"), "{said}");
    assert!(said.contains("for its variables beside it, called OVMF_VARS.fd\nhint: name the file"), "{said}");

    running.succeeds(&["start"]);
    let processes = running.processes();
    assert_eq!(processes.len(), 2, "{processes:?}");
    let disk = "virtio-blk-pci,drive=disk,bootindex=1,logical_block_size=4096,physical_block_size=4096,";
    assert!(processes.iter().all(|line| line.contains(disk) && line.contains("if=pflash")), "{processes:?}");
    // An empty disk: the firmware says that it boots from nothing.
    let begin = Instant::now();
    while !running.succeeds(&["log", "2"]).contains("BdsDxe: ") {
        assert!(begin.elapsed() < Duration::from_secs(300), "{}", running.succeeds(&["log", "2"]));
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(running.directory.path().join("fabric_run/fabric2.vars").exists());
    running.succeeds(&["stop"]);
    assert_eq!(running.files(), before);
}
