//! Images against the tools that everybody else checks such things with: the kernel, e2fsprogs,
//! sgdisk, dosfstools and qemu-img. Reading an image through the kernel needs root (loop devices);
//! everything is made here, without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fam_build::hints;
use fam_image::{self, BootCode, qcow2, raw};
use fam_tree::{Content, Entry, Kind, RootPath, Store, Timestamp, Tree, tarball};
use fs_err::File;
use support::disk::{Partition, extract};

pub mod fixture;
pub mod tools;

use fixture::{Fixture, SECRET, SIZE_BYTES, file, identity};
use tools::{Mounted, run};

support::tests! {
    needs [support::harness::ROOT, "dumpe2fs", "e2fsck", "fsck.vfat", "mcopy", "qemu-img", "sgdisk"];
    tables_and_file_systems_are_clean,
    a_nodes_uuid_changes_superblocks_alone,
    the_kernel_reads_the_tree_back,
    nodes_are_complete_by_themselves,
    thin_nodes_stand_on_a_backing_image_without_secrets,
    the_same_tree_gives_the_same_bytes,
    what_ext4_or_fat_cannot_hold_is_refused_by_name,
    times_out_of_range_are_clamped,
    a_full_disk_is_named,
    grub_is_installed_from_the_tree,
    tar_reads_what_is_written_and_is_read,
}

#[track_caller]
fn assert_clean(fixture: &Fixture, disk: &Path) {
    let printed = run("sgdisk", &[&"-v", &disk]);
    assert!(printed.contains("No problems found"), "{printed}");
    let [root, esp] = ["root.ext4", "esp.vfat"].map(|name| fixture.path(name));
    extract(disk, 3, &root);
    run("e2fsck", &[&"-fn", &root]);
    extract(disk, 2, &esp);
    let printed = run("fsck.vfat", &[&"-n", &esp]);
    assert!(!printed.to_lowercase().contains("differ") && !printed.contains("Dirty"), "{printed}");
}

fn tables_and_file_systems_are_clean() {
    let fixture = Fixture::new();
    let template = fixture.lay_out(&fixture.tree, &BTreeSet::new(), 0).unwrap();
    let node = fixture.node(2);
    for (name, map) in [("template.img", &template), ("node.img", &node)] {
        let written = AtomicU64::new(0);
        let count = |bytes| {
            written.fetch_add(bytes, Ordering::Relaxed);
        };
        raw::write(map, &fixture.create(name), &count).unwrap();
        assert_eq!(written.into_inner(), map.data_bytes());
        assert_clean(&fixture, &fixture.path(name));
        assert_eq!(map.boot_code(), BootCode::None);
        let metadata = fs_err::metadata(fixture.path(name)).unwrap();
        assert_eq!(metadata.len(), SIZE_BYTES);
        assert!(metadata.blocks() * 512 < 40 << 20, "{name} is not sparse: {} blocks", metadata.blocks());
    }
}

fn a_nodes_uuid_changes_superblocks_alone() {
    let fixture = Fixture::new();
    let [one, other] = [0, 7].map(|number| {
        let map = fixture.lay_out(&fixture.tree, &BTreeSet::new(), number).unwrap();
        let name = format!("{number}.img");
        raw::write(&map, &fixture.create(&name), &|_| ()).unwrap();
        let root = fixture.path(&format!("{number}.ext4"));
        extract(&fixture.path(&name), 3, &root);
        root
    });
    run("e2fsck", &[&"-fn", &other]);
    let printed = run("dumpe2fs", &[&"-h", &other]);
    assert!(printed.contains(&identity(7).fs_uuid.to_string()), "{printed}");
    assert!(printed.contains("metadata_csum_seed"), "{printed}");
    assert!(!run("dumpe2fs", &[&"-h", &one]).contains("metadata_csum_seed"));
    // Copies of the superblock too.
    let copy = run("dumpe2fs", &[&"-h", &"-o", &"superblock=32768", &"-o", &"blocksize=4096", &other]);
    assert!(copy.contains(&identity(7).fs_uuid.to_string()), "{copy}");
    assert!(!copy.contains("checksum does not match"), "{copy}");
    let (one, other) = (fs_err::read(one).unwrap(), fs_err::read(other).unwrap());
    let differing = one.chunks(4096).zip(other.chunks(4096)).enumerate().filter(|(_, (one, other))| one != other);
    let differing: Vec<usize> = differing.map(|(block, _)| block).collect();
    assert_eq!(differing, [0, 32768], "blocks of the primary superblock and its one copy");
}

/// The tree as the kernel sees it, in the terms of a tarball: contents by path, and the rest.
fn read_through_kernel(root: &Path) -> (Tree, BTreeMap<RootPath, Vec<u8>>) {
    let (tree, files) = tarball::read_directory(File::open(root).unwrap(), i64::MAX).unwrap();
    let contents = contents(&tree, &files);
    (tree, contents)
}

fn contents(tree: &Tree, store: &dyn Store) -> BTreeMap<RootPath, Vec<u8>> {
    let read = |content: &Content| content.read(store).unwrap();
    let files = tree.iter().filter_map(|(path, entry)| match &entry.kind {
        Kind::File(content) => Some((path.clone(), read(content))),
        Kind::HardLink(first) => match &tree.get(first).unwrap().kind {
            Kind::File(content) => Some((path.clone(), read(content))),
            _ => None,
        },
        _ => None,
    });
    files.collect()
}

/// Metadata in a form that does not depend on which name of a file comes first, or where its bytes
/// lie.
fn comparable(path: &RootPath, entry: &Entry) -> String {
    let kind = match &entry.kind {
        Kind::File(_) | Kind::HardLink(_) => "a file".to_owned(),
        other => format!("{other:?}"),
    };
    let Entry { mode, uid, gid, mtime, xattrs, .. } = entry;
    format!("{path} {kind} {mode:o} {uid}:{gid} {} {xattrs:?}", mtime.seconds)
}

fn the_kernel_reads_the_tree_back() {
    let fixture = Fixture::new();
    let map = fixture.lay_out(&fixture.tree, &BTreeSet::new(), 3).unwrap();
    raw::write(&map, &fixture.create("disk.img"), &|_| ()).unwrap();
    let [root, esp] = ["root.ext4", "esp.vfat"].map(|name| fixture.path(name));
    extract(&fixture.path("disk.img"), 3, &root);
    extract(&fixture.path("disk.img"), 2, &esp);

    let esp_path: RootPath = "boot/efi".parse().unwrap();
    let in_esp = |path: &RootPath| path.starts_with(&esp_path) && *path != esp_path;
    let lost_and_found: RootPath = "lost+found".parse().unwrap();
    let mounted = Mounted::new(&root, "ext4");
    let (tree, read) = read_through_kernel(mounted.0.path());
    let of = |tree: &Tree| -> Vec<String> {
        let kept = tree.iter().filter(|(path, _)| !in_esp(path) && **path != lost_and_found);
        kept.map(|(path, entry)| comparable(path, entry)).collect()
    };
    let (expected, found) = (of(&fixture.tree), of(&tree));
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }
    assert_eq!(expected.len(), found.len());
    let mut expected = contents(&fixture.tree, &*fixture.tarball);
    expected.retain(|path, _| !in_esp(path));
    assert!(expected == read, "contents differ");
    let links = fs_err::metadata(mounted.0.path().join("a-link-before-its-target")).unwrap().nlink();
    assert_eq!(links, 3);
    drop(mounted);

    // Not every kernel has vfat; mtools reads it as well.
    let copied = fixture.path("esp");
    fs_err::create_dir(&copied).unwrap();
    run("mcopy", &[&"-s", &"-m", &"-n", &"-i", &esp, &"::/", &copied]);
    let (tree, read) = read_through_kernel(&copied);
    let expected: BTreeMap<RootPath, Vec<u8>> = contents(&fixture.tree, &*fixture.tarball)
        .into_iter()
        .filter(|(path, _)| in_esp(path))
        .map(|(path, bytes)| (RootPath::new(&path.as_bytes()[esp_path.as_bytes().len()..]).unwrap(), bytes))
        .collect();
    assert!(expected == read, "{:?} became {:?}", expected.keys(), read.keys());
    assert!(tree.get(&"EFI/A rather long directory name.d".parse().unwrap()).is_some());
}

fn nodes_are_complete_by_themselves() {
    let fixture = Fixture::new();
    let maps = [1, 2, 3].map(|number| fixture.node(number));
    let compressed = qcow2::Options::default();
    for options in [compressed, qcow2::Options { compression: qcow2::Compression::None, ..compressed }] {
        let files = [1, 2, 3].map(|number| fixture.create(&format!("{number}.qcow2")));
        let files = files.each_ref();
        let images = qcow2::FullImages::write_bulk(&maps[0], Some(&maps[1]), &files, options, &|_| ()).unwrap();
        for (map, file) in maps.iter().zip(files) {
            images.write_node(map, file, &|_| ()).unwrap();
        }
        for number in [1, 2, 3] {
            let (raw, image) = (fixture.path("raw.img"), fixture.path(&format!("{number}.qcow2")));
            raw::write(&maps[number - 1], &fixture.create("raw.img"), &|_| ()).unwrap();
            let printed = run("qemu-img", &[&"check", &image]);
            assert!(printed.contains("No errors were found"), "{printed}");
            run("qemu-img", &[&"compare", &"-f", &"raw", &"-F", &"qcow2", &raw, &image]);
            let info = run("qemu-img", &[&"info", &image]);
            let kind = if options == compressed { "zstd" } else { "zlib" };
            assert!(info.contains(&format!("compression type: {kind}")), "{info}");
        }
    }
}

fn thin_nodes_stand_on_a_backing_image_without_secrets() {
    let fixture = Fixture::new();
    let maps = [1, 2, 3].map(|number| fixture.node(number));
    let options = qcow2::Options { compression: qcow2::Compression::None, ..Default::default() };
    for second in [None, Some(&*maps[1])] {
        let backing = fixture.create("base.qcow2");
        let images = qcow2::OverlayImages::write_backing(&maps[0], second, &backing, options, &|_| ()).unwrap();
        let bytes = fs_err::read(fixture.path("base.qcow2")).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(SECRET), "a secret is in the backing image");
        assert!(text.contains("Jack a dull boy"), "shared contents are not in the backing image");
        for (number, map) in maps.iter().enumerate() {
            let name = format!("thin{number}.qcow2");
            images.write_node(map, "base.qcow2", &fixture.create(&name), &|_| ()).unwrap();
            raw::write(map, &fixture.create("raw.img"), &|_| ()).unwrap();
            let (raw, image) = (fixture.path("raw.img"), fixture.path(&name));
            let printed = run("qemu-img", &[&"check", &image]);
            assert!(printed.contains("No errors were found"), "{printed}");
            run("qemu-img", &[&"compare", &"-f", &"raw", &"-F", &"qcow2", &raw, &image]);
            let info = run("qemu-img", &[&"info", &image]);
            assert!(info.contains("backing file: base.qcow2"), "{info}");
            assert!(info.contains("backing file format: qcow2"), "{info}");
            assert!(fs_err::metadata(&image).unwrap().len() < 4 << 20, "an overlay is small");
        }
    }
}

fn the_same_tree_gives_the_same_bytes() {
    let fixture = Fixture::new();
    for name in ["a.qcow2", "b.qcow2"] {
        let jobs = std::num::NonZero::new(if name == "a.qcow2" { 1 } else { 3 }).unwrap();
        let options = qcow2::Options { jobs, ..Default::default() };
        qcow2::write(&fixture.node(1), &fixture.create(name), options, &|_| ()).unwrap();
    }
    assert!(fs_err::read(fixture.path("a.qcow2")).unwrap() == fs_err::read(fixture.path("b.qcow2")).unwrap());
}

fn what_ext4_or_fat_cannot_hold_is_refused_by_name() {
    let fixture = Fixture::new();
    let refused = |path: &[u8], entry: Entry| {
        let mut tree = fixture.tree.clone();
        tree.insert(RootPath::new(path).unwrap(), entry);
        fixture.lay_out(&tree, &BTreeSet::new(), 0).unwrap_err()
    };
    let link = |target: &str| Entry { kind: Kind::Symlink(target.into()), ..file(b"", 0o777) };
    let acl =
        Entry { xattrs: BTreeMap::from([(b"system.posix_acl_access".to_vec(), b"x".to_vec())]), ..file(b"", 0o600) };
    let dangling = Entry { kind: Kind::HardLink("nowhere".parse().unwrap()), ..file(b"", 0o600) };
    for (error, expected) in [
        (refused(b"etc/\xff\xfe", file(b"", 0o600)), "not UTF-8"),
        (refused(b"lost+found/chunk", file(b"", 0o600)), "/lost+found/chunk"),
        (refused(b"boot/efi/link", link("EFI")), "/boot/efi/link"),
        (refused(b"boot/efi/efi", file(b"", 0o600)), "/boot/efi/efi"),
        (refused(b"etc/acl", acl), "malformed access control list"),
        (refused(b"no/such/directory", file(b"", 0o600)), "no directory to hold it"),
        (refused(b"dangling", dangling), "/nowhere"),
        (
            refused(
                b"large",
                Entry { kind: Kind::File(Content::Stored { offset: 0, len: 1 << 30 }), ..file(b"", 0o600) },
            ),
            "needs",
        ),
    ] {
        assert!(error.to_string().contains(expected), "{error} does not say {expected:?}");
    }
    let laid_out = fixture.lay_out(&fixture.tree, &BTreeSet::new(), 0).unwrap();
    let mut other = Fixture::settings();
    other.size_bytes = 1 << 20;
    let tarball = Arc::clone(&fixture.tarball);
    let error = fam_image::lay_out(&fixture.tree, tarball, &BTreeSet::new(), &identity(0), &other).unwrap_err();
    assert!(hints::hint(&error).unwrap().contains("--size"), "{error}");
    drop(laid_out);
}

fn times_out_of_range_are_clamped() {
    let fixture = Fixture::new();
    let mut tree = fixture.tree.clone();
    for (name, seconds, nanoseconds) in [("far", i64::MAX, 5), ("early", i64::MIN, 0), ("nano", 1, u32::MAX)] {
        let entry = Entry { mtime: Timestamp { seconds, nanoseconds }, ..file(b"", 0o600) };
        tree.insert(name.parse().unwrap(), entry);
    }
    let map = fixture.lay_out(&tree, &BTreeSet::new(), 0).unwrap();
    raw::write(&map, &fixture.create("disk.img"), &|_| ()).unwrap();
    let root = fixture.path("root.ext4");
    extract(&fixture.path("disk.img"), 3, &root);
    run("e2fsck", &[&"-fn", &root]);
    let mounted = Mounted::new(&root, "ext4");
    let mtime = |name: &str| {
        let metadata = fs_err::symlink_metadata(mounted.0.path().join(name)).unwrap();
        (metadata.mtime(), metadata.mtime_nsec())
    };
    assert_eq!(mtime("far"), (15_032_385_535, 5));
    assert_eq!(mtime("early"), (-2_147_483_648, 0));
    assert_eq!(mtime("nano"), (1, 999_999_999));
}

fn a_full_disk_is_named() {
    let fixture = Fixture::new();
    let map = fixture.node(1);
    let small = tempfile::tempdir().unwrap();
    run("mount", &[&"-t", &"tmpfs", &"-o", &"size=1m", &"none", &small.path()]);
    let mounted = Mounted(small);
    let path = mounted.0.path().join("full.img");
    let open = || File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    let raw = raw::write(&map, &open(), &|_| ()).unwrap_err();
    let qcow2 = qcow2::write(&map, &open(), Default::default(), &|_| ()).unwrap_err();
    for error in [raw, qcow2] {
        assert!(error.to_string().contains("full.img"), "{error}");
        assert!(hints::hint(&error).unwrap().contains("free some space"), "{error:?}");
    }
}

fn grub_is_installed_from_the_tree() {
    let fixture = Fixture::new();
    let mut tree = fixture.tree.clone();
    let mut boot = vec![0x90; 512];
    boot[510..].copy_from_slice(&[0x55, 0xaa]);
    let directory = Entry { kind: Kind::Directory, ..file(b"", 0o755) };
    for path in ["boot/grub", "boot/grub/i386-pc"] {
        tree.insert(path.parse().unwrap(), directory.clone());
    }
    tree.insert("boot/grub/i386-pc/boot.img".parse().unwrap(), file(&boot, 0o644));
    tree.insert("boot/grub/i386-pc/core.img".parse().unwrap(), file(&[0x77; 40_000], 0o644));
    let map = fixture.lay_out(&tree, &BTreeSet::new(), 0).unwrap();
    assert_eq!(map.boot_code(), BootCode::Grub);
    raw::write(&map, &fixture.create("disk.img"), &|_| ()).unwrap();
    assert_clean(&fixture, &fixture.path("disk.img"));
    let core = Partition::of(&fixture.path("disk.img"), 1).offset_bytes;
    let disk = fs_err::read(fixture.path("disk.img")).unwrap();
    assert_eq!(disk[0x5c..0x64], (core / 512).to_le_bytes());
    assert_eq!(disk[core as usize..][..4], [0x77; 4]);
    assert_eq!(disk[core as usize + 0x1f4..][..8], (core / 512 + 1).to_le_bytes());

    let path: RootPath = "boot/grub/i386-pc/core.img".parse().unwrap();
    tree.insert(path, file(&vec![0x77; 2 << 20], 0o644));
    let error = fixture.lay_out(&tree, &BTreeSet::new(), 0).unwrap_err();
    assert!(error.to_string().contains("core.img"), "{error}");
}

fn tar_reads_what_is_written_and_is_read() {
    let fixture = Fixture::new();
    let unpacked = fixture.path("unpacked");
    fs_err::create_dir(&unpacked).unwrap();
    run(
        "tar",
        &[&"--xattrs", &"--xattrs-include=*", &"--numeric-owner", &"-xpf", &fixture.path("root.tar"), &"-C", &unpacked],
    );
    let (tree, read) = read_through_kernel(&unpacked);
    let of = |tree: &Tree| -> Vec<String> {
        let line = |(path, entry): (&RootPath, &Entry)| {
            // tar(1) sets a directory's time when it leaves it, and these entries come back to
            // some.
            let mtime = if entry.kind == Kind::Directory { Timestamp::default() } else { entry.mtime };
            comparable(path, &Entry { mtime, ..entry.clone() })
        };
        tree.iter().map(line).collect()
    };
    let (expected, found) = (of(&fixture.tree), of(&tree));
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }
    assert_eq!(expected.len(), found.len());
    assert!(contents(&fixture.tree, &*fixture.tarball) == read);

    // And the other way round: GNU tar's own formats.
    for format in ["gnu", "pax"] {
        let path = fixture.path(&format!("{format}.tar"));
        let format = format!("--format={format}");
        run("tar", &[&format, &"--numeric-owner", &"-cf", &path, &"-C", &unpacked, &"."]);
        let file = File::open(&path).unwrap();
        let tree = tarball::index(&file).unwrap();
        assert!(contents(&tree, &file) == read, "{format}");
    }
    fs_err::set_permissions(&unpacked, Permissions::from_mode(0o755)).unwrap();
}
