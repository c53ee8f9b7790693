//! Swap, partitions and further disks before the tools that everybody else makes and checks such
//! things with. The trees are those of the images of `image`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fam_image::{Format, ImageSettings, Volume, lay_out, lay_out_further, qcow2, raw};
use fam_tree::{Change, Content, Entry, Kind, Overlay, RootPath, Tree};
use support::disk::{Partition, extract};

use crate::image::fixture::{Fixture, SECRET, file, identity};
use crate::image::tools::{Mounted, run};
use crate::small::names;

support::tests! {
    needs [
        support::harness::ROOT, "blkid", "e2fsck", "file", "fsck.vfat", "mcopy", "qemu-img", "sgdisk", "swaplabel",
    ];
    every_tool_finds_partitions_sound,
    volumes_hold_what_the_tree_has_under_them,
    smallest_and_full_volumes,
    nodes_share_volumes_and_keep_their_secrets,
    what_a_volume_cannot_hold_is_named,
}

pub fn volume(label: &str, mib: u64, format: Format, mount: Option<&str>) -> Volume {
    Volume {
        label: label.to_owned(),
        size_bytes: mib << 20,
        format,
        mount: mount.map(|mount| mount.parse().unwrap()),
        source: None,
        layout_uuid: identity(0).partitions[0].fs_uuid,
    }
}

/// A tree of these files, of root.
pub fn source(files: &[(&str, &[u8])]) -> Option<Arc<Tree>> {
    let mut tree = Tree::default();
    for (path, contents) in files {
        let path: RootPath = path.parse().unwrap();
        let mut above = path.parent();
        while let Some(directory) = above {
            above = directory.parent();
            tree.insert(directory, Entry { kind: Kind::Directory, ..file(b"", 0o755) });
        }
        tree.insert(path, file(contents, 0o644));
    }
    Some(Arc::new(tree))
}

/// One partition of each kind, and two disks.
fn settings() -> ImageSettings {
    let mut home = volume("home", 32, Format::Ext4, Some("home"));
    home.source = source(&[("fabric/hello", b"hello\n"), ("added", b"added\n")]);
    let mut seed = volume("seed", 64, Format::Vfat, None);
    seed.source = source(&[("user-data", b"#cloud-config\n"), ("A long name.txt", b"long\n")]);
    let partitions = vec![
        volume("swap", 48, Format::Swap, None),
        home,
        seed,
        volume("blank", 1, Format::None, None),
        volume("etc", 16, Format::Ext4, None),
    ];
    let disks = vec![
        volume("nodes", 40, Format::Ext4, Some("nodes")),
        volume("raw", 8, Format::None, None),
        volume("fat", 64, Format::Vfat, Some("many")),
    ];
    ImageSettings { partitions, disks, ..Fixture::settings() }
}

/// Writes the disk of node `number`, which changes nothing of the tree.
fn write(fixture: &Fixture, settings: &ImageSettings, number: u128) -> PathBuf {
    let contents = Arc::clone(&fixture.tarball);
    let map = lay_out(&fixture.tree, contents, &BTreeSet::new(), &identity(number), settings).unwrap();
    let name = format!("{number}.img");
    raw::write(&map, &fixture.create(&name), &|_| ()).unwrap();
    fixture.path(&name)
}

fn write_further(fixture: &Fixture, settings: &ImageSettings, index: usize) -> PathBuf {
    let contents = Arc::clone(&fixture.tarball);
    let map = lay_out_further(index, &fixture.tree, contents, &BTreeSet::new(), &identity(1), settings).unwrap();
    let name = format!("further{index}.img");
    raw::write(&map, &fixture.create(&name), &|_| ()).unwrap();
    fixture.path(&name)
}

/// A partition of a disk, in a file of its own.
pub fn partition(disk: &Path, number: u32) -> PathBuf {
    let path = disk.with_extension(number.to_string());
    extract(disk, number, &path);
    path
}

/// What blkid says of a file system.
pub fn probe(path: &Path) -> BTreeMap<String, String> {
    let printed = run("blkid", &[&"--probe", &"--output", &"export", &path]);
    let fields = printed.lines().filter_map(|line| line.split_once('='));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[track_caller]
pub fn assert_sound(path: &Path, format: &str) {
    match format {
        "ext4" => drop(run("e2fsck", &[&"-fn", &path])),
        "vfat" => {
            let printed = run("fsck.vfat", &[&"-n", &path]);
            assert!(!printed.to_lowercase().contains("differ") && !printed.contains("Dirty"), "{printed}");
        }
        other => panic!("{other}"),
    }
}

fn every_tool_finds_partitions_sound() {
    let fixture = Fixture::new();
    let disk = write(&fixture, &settings(), 3);
    let printed = run("sgdisk", &[&"-v", &disk]);
    assert!(printed.contains("No problems found"), "{printed}");
    let table = run("sgdisk", &[&"-p", &disk]);
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).filter(|row: &Vec<_>| row.len() > 5).collect();
    for (number, code, name) in [
        ("4", "8200", "swap"),
        ("5", "8300", "home"),
        ("6", "0700", "seed"),
        ("7", "8300", "blank"),
        ("8", "8300", "etc"),
    ] {
        let row = rows.iter().find(|row| row[0] == number).unwrap_or_else(|| panic!("no {number}: {table}"));
        assert_eq!((row[5], row[6]), (code, name), "{table}");
    }
    // The root is the last on the disk, and keeps its number.
    let ends = |number| Partition::of(&disk, number).offset_bytes + Partition::of(&disk, number).len_bytes;
    assert!((4..=8).all(|number| ends(number) <= Partition::of(&disk, 3).offset_bytes));
    assert_eq!(Partition::of(&disk, 4).len_bytes, 48 << 20);

    let ids = identity(3).partitions;
    for (number, kind, label, id) in [
        (4, "swap", "swap", ids[0].fs_uuid.to_string()),
        (5, "ext4", "home", ids[1].fs_uuid.to_string()),
        (6, "vfat", "SEED", format!("{:04X}-{:04X}", ids[2].volume_id() >> 16, ids[2].volume_id() & 0xffff)),
        (8, "ext4", "etc", ids[4].fs_uuid.to_string()),
    ] {
        let found = probe(&partition(&disk, number));
        assert_eq!((&*found["TYPE"], &*found["LABEL"], &*found["UUID"]), (kind, label, &*id), "{number}: {found:?}");
        if kind != "swap" {
            assert_sound(&partition(&disk, number), kind);
        }
    }
    assert_sound(&partition(&disk, 3), "ext4");
    let swap = run("swaplabel", &[&partition(&disk, 4)]);
    assert!(swap.contains("LABEL: swap") && swap.contains(&ids[0].fs_uuid.to_string()), "{swap}");
    let info = run("sgdisk", &[&"--info=4", &disk]);
    assert!(info.contains("0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"), "{info}");
    assert!(fs_err::read(partition(&disk, 7)).unwrap().iter().all(|&byte| byte == 0));
    // The kernel takes all but the header of a swap space.
    let lines = run("file", &[&"--brief", &partition(&disk, 4)]);
    assert!(lines.contains(&format!("size {} pages", (48 << 20) / 4096 - 1)), "{lines}");
}

fn volumes_hold_what_the_tree_has_under_them() {
    let fixture = Fixture::new();
    let settings = settings();
    let disk = write(&fixture, &settings, 1);
    let listed =
        |directory: &Path| names(directory).into_iter().filter(|name| name != "lost+found").collect::<Vec<_>>();
    let root = Mounted::new(&partition(&disk, 3), "ext4");
    for mount in ["home", "nodes", "many", "boot/efi"] {
        assert_eq!(listed(&root.0.path().join(mount)), [""; 0], "{mount}");
    }
    drop(root);
    let home = Mounted::new(&partition(&disk, 5), "ext4");
    assert_eq!(listed(home.0.path()), ["added", "fabric"]);
    assert_eq!(listed(&home.0.path().join("fabric")), ["attributes", "hello"]);
    use std::os::unix::fs::MetadataExt as _;
    let owner = |name: &str| fs_err::metadata(home.0.path().join(name)).unwrap().uid();
    // Directories of the tree keep their owners; what the source adds is root's.
    assert_eq!(["", "fabric", "fabric/attributes", "fabric/hello", "added"].map(owner), [1000, 1000, 1000, 0, 0]);
    assert_eq!(fs_err::read(home.0.path().join("fabric/hello")).unwrap(), b"hello\n");
    drop(home);
    let seed = partition(&disk, 6);
    assert_eq!(run("mtype", &[&"-i", &seed, &"::/user-data"]), "#cloud-config\n");
    assert_eq!(run("mtype", &[&"-i", &seed, &"::/A long name.txt"]), "long\n");

    let nodes = write_further(&fixture, &settings, 0);
    assert_sound(&nodes, "ext4");
    assert_eq!(probe(&nodes)["UUID"], identity(1).disks[0].fs_uuid.to_string());
    let mounted = Mounted::new(&nodes, "ext4");
    assert_eq!(listed(mounted.0.path()), ["block", "char", "fifo"]);
    assert_eq!(fs_err::metadata(mounted.0.path()).unwrap().mode() & 0o7777, 0o1777);
    drop(mounted);
    assert!(fs_err::read(write_further(&fixture, &settings, 1)).unwrap().iter().all(|&byte| byte == 0));
    let fat = write_further(&fixture, &settings, 2);
    assert_sound(&fat, "vfat");
    let copied = fixture.path("many");
    fs_err::create_dir(&copied).unwrap();
    run("mcopy", &[&"-s", &"-n", &"-i", &fat, &"::/", &copied]);
    assert_eq!(names(&copied).len(), 3000);

    // A link between two file systems is none: each has the contents.
    let mut tree = fixture.tree.clone();
    tree.insert(
        "home/ping".parse().unwrap(),
        Entry { kind: Kind::HardLink("bin/ping".parse().unwrap()), ..file(b"", 0o755) },
    );
    tree.insert(
        "away".parse().unwrap(),
        Entry { kind: Kind::HardLink("home/fabric/attributes".parse().unwrap()), ..file(b"", 0o600) },
    );
    let map = lay_out(&tree, Arc::clone(&fixture.tarball), &BTreeSet::new(), &identity(1), &settings).unwrap();
    raw::write(&map, &fixture.create("links.img"), &|_| ()).unwrap();
    let disk = fixture.path("links.img");
    for (number, path, bytes) in [(3, "away", 1), (5, "ping", 3_000_001)] {
        let file_system = partition(&disk, number);
        assert_sound(&file_system, "ext4");
        let mounted = Mounted::new(&file_system, "ext4");
        let metadata = fs_err::metadata(mounted.0.path().join(path)).unwrap();
        assert_eq!((metadata.len(), metadata.nlink()), (bytes, 1));
    }
}

fn smallest_and_full_volumes() {
    let fixture = Fixture::new();
    let big = vec![7; 50 << 20];
    let mut settings = Fixture::settings();
    settings.partitions = vec![volume("a", 16, Format::Ext4, None), volume("b", 1, Format::Swap, None)];
    settings.disks = vec![
        volume("c", 64, Format::Vfat, None),
        volume("d", 300, Format::Vfat, None),
        volume("e", 129, Format::Ext4, None),
    ];
    settings.disks[0].source = source(&[("big", &big)]);
    settings.disks[2].source = source(&[("big", &big)]);
    let disk = write(&fixture, &settings, 1);
    assert_sound(&partition(&disk, 4), "ext4");
    assert_eq!(probe(&partition(&disk, 5))["TYPE"], "swap");
    for (index, format) in [(0, "vfat"), (1, "vfat"), (2, "ext4")] {
        assert_sound(&write_further(&fixture, &settings, index), format);
    }
}

fn nodes_share_volumes_and_keep_their_secrets() {
    let fixture = Fixture::new();
    let settings = settings();
    let map = |number: u128| {
        let mut overlay = Overlay::default();
        let secret = format!("{SECRET} {number}\n").repeat(number as usize * 400);
        overlay.set("home/key".parse().unwrap(), Change::Put(file(secret.as_bytes(), 0o600)));
        let laid_last = BTreeSet::from(["home/key".parse().unwrap()]);
        let (tree, contents) = (overlay.apply(&fixture.tree), Arc::clone(&fixture.tarball));
        Arc::new(lay_out(&tree, contents, &laid_last, &identity(number), &settings).unwrap())
    };
    let maps = [1, 2, 3].map(map);
    let options = qcow2::Options { compression: qcow2::Compression::None, ..Default::default() };
    let backing = fixture.create("base.qcow2");
    let images = qcow2::OverlayImages::write_backing(&maps[0], Some(&*maps[1]), &backing, options, &|_| ()).unwrap();
    let bytes = fs_err::read(fixture.path("base.qcow2")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains(SECRET) && text.contains("#cloud-config"));
    for (map, number) in maps.iter().zip([1, 2, 3]) {
        let (thin, whole) = (format!("thin{number}.qcow2"), fixture.path(&format!("{number}.img")));
        images.write_node(map, "base.qcow2", &fixture.create(&thin), &|_| ()).unwrap();
        raw::write(map, &fixture.create(&format!("{number}.img")), &|_| ()).unwrap();
        run("qemu-img", &[&"check", &fixture.path(&thin)]);
        run("qemu-img", &[&"compare", &"-f", &"raw", &"-F", &"qcow2", &whole, &fixture.path(&thin)]);
        assert!(fs_err::metadata(fixture.path(&thin)).unwrap().len() < 4 << 20);
        let home = partition(&whole, 5);
        assert_sound(&home, "ext4");
        assert_eq!(probe(&home)["UUID"], identity(number).partitions[1].fs_uuid.to_string());
    }
}

fn what_a_volume_cannot_hold_is_named() {
    let fixture = Fixture::new();
    let refused = |change: &dyn Fn(&mut ImageSettings)| {
        let mut settings = settings();
        change(&mut settings);
        let contents = Arc::clone(&fixture.tarball);
        lay_out(&fixture.tree, contents, &BTreeSet::new(), &identity(1), &settings).unwrap_err()
    };
    let large = vec![1; 65 << 20];
    for (error, expected, hint) in [
        (
            refused(&|it| it.partitions[1].source = source(&[("big", &large)])),
            "the volume home: the tree needs",
            "size = \"",
        ),
        (
            refused(&|it| it.partitions[2].source = source(&[("big", &large)])),
            "the volume seed: the tree needs",
            "size = \"",
        ),
        (
            refused(&|it| it.partitions[2].source = source(&[("a:b", b"")])),
            "the volume seed: lay out /a:b",
            "make it ext4",
        ),
        (refused(&|it| it.partitions[1].size_bytes = 1 << 40), "too small for its partitions", "--size "),
        (
            refused(&|it| it.partitions[1].mount = Some("lib/x".parse().unwrap())),
            "on /lib/x: /lib is no directory",
            "mount it on",
        ),
    ] {
        assert!(error.to_string().contains(expected), "{error}");
        assert!(fam_build::hints::hint(&error).unwrap().contains(hint), "{error}");
    }
    let mut full = settings();
    full.disks[0].source = Some(Arc::new({
        let mut tree = Tree::default();
        tree.insert(RootPath::root(), Entry { kind: Kind::Directory, ..file(b"", 0o755) });
        tree.insert(
            "big".parse().unwrap(),
            Entry { kind: Kind::File(Content::Inline(large.into())), ..file(b"", 0o644) },
        );
        tree
    }));
    let contents = Arc::clone(&fixture.tarball);
    let error = lay_out_further(0, &fixture.tree, contents, &BTreeSet::new(), &identity(1), &full).unwrap_err();
    assert!(error.to_string().contains("the volume nodes: the tree needs") && !error.is_of_tree(), "{error}");
}
