//! What it takes to lay out a disk, and to write it as qcow2: `cargo bench --package fam-image`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fam_image::qcow2::{self, Compression, Options};
use fam_image::{DiskMap, Identity, ImageSettings, SectorSize, lay_out};
use fam_tree::{Content, Entry, Kind, RootPath, Timestamp, Tree};
use fs_err::File;
use uuid::Uuid;

fn main() {
    divan::main();
}

/// A disk of a tree as large as that of the default recipe.
#[divan::bench]
fn lay_out_default_system(bencher: Bencher<'_, '_>) {
    let (tree, contents) = (system(), Arc::new(in_memory()));
    // What a node changes is laid out last.
    let changed: BTreeSet<RootPath> = tree.iter().step_by(tree.len() / 10).map(|(path, _)| path.clone()).collect();
    bencher.counter(ItemsCount::new(tree.len())).bench(|| laid_out(&tree, &contents, &changed));
}

/// The clusters of 96 MiB of this host's programs, libraries and documents, into memory, by one thread.
#[divan::bench(args = [Compression::Zstd, Compression::None], sample_count = 20)]
fn write_qcow2(bencher: Bencher<'_, '_>, compression: Compression) {
    let mut contents = in_memory();
    let len =
        ["/usr/bin", "/usr/lib", "/usr/share"].map(|directory| copy(Path::new(directory), 32 << 20, &mut contents));
    let len = len.iter().sum();
    let mut tree = Tree::default();
    tree.insert(RootPath::root(), entry(Kind::Directory));
    tree.insert(path("usr"), entry(Kind::File(Content::Stored { offset: 0, len })));
    let map = Arc::new(laid_out(&tree, &Arc::new(contents), &BTreeSet::new()));
    let options = Options { compression, jobs: NonZero::<usize>::MIN };
    bencher
        .counter(BytesCount::new(len))
        .with_inputs(in_memory)
        .bench_refs(|file| qcow2::write(&map, file, options, &|_| {}).expect("memory takes it"));
}

fn laid_out(tree: &Tree, contents: &Arc<File>, laid_last: &BTreeSet<RootPath>) -> DiskMap {
    let identity = Identity {
        disk_guid: Uuid::from_u128(1),
        bios_guid: Uuid::from_u128(2),
        esp_guid: Uuid::from_u128(3),
        root_guid: Uuid::from_u128(4),
        fs_uuid: Uuid::from_u128(5),
        esp_volume_id: 6,
        partitions: Vec::new(),
        disks: Vec::new(),
    };
    let settings = ImageSettings {
        size_bytes: 8 << 30,
        sector_size: SectorSize::Bytes512,
        label: "fabric".to_owned(),
        layout_uuid: identity.fs_uuid,
        timestamp: 0,
        partitions: Vec::new(),
        disks: Vec::new(),
    };
    lay_out(tree, Arc::clone(contents), laid_last, &identity, &settings).expect("the tree fits")
}

/// 24,000 files of 820 MiB in 3000 directories, each with a link. The default recipe's system has these
/// sizes in its tenths, and as many of each.
fn system() -> Tree {
    const SIZES: [u64; 10] = [195, 660, 1330, 2150, 3200, 4900, 7900, 13_300, 24_900, 286_000];
    let mut sizes = SIZES.iter().cycle();
    let mut tree = Tree::default();
    let mut end = 0;
    tree.insert(RootPath::root(), entry(Kind::Directory));
    for outer in 0..60 {
        let outer = format!("usr-{outer}");
        tree.insert(path(&outer), entry(Kind::Directory));
        for inner in 0..50 {
            let directory = format!("{outer}/package-{inner}");
            tree.insert(path(&directory), entry(Kind::Directory));
            tree.insert(path(&format!("{directory}/link.so")), entry(Kind::Symlink(b"file-0.so.1.2.3".to_vec())));
            for (number, &len) in (0..8).zip(&mut sizes) {
                let file = Kind::File(Content::Stored { offset: end, len });
                tree.insert(path(&format!("{directory}/file-{number}.so.1.2.3")), entry(file));
                end += len;
            }
        }
    }
    tree
}

fn path(text: &str) -> RootPath {
    text.parse().expect("a path")
}

fn entry(kind: Kind) -> Entry {
    let (mtime, xattrs) = (Timestamp { seconds: 1_700_000_000, nanoseconds: 0 }, BTreeMap::new());
    Entry { kind, mode: 0o755, uid: 0, gid: 0, mtime, xattrs }
}

/// An empty file that no disk is slow for.
fn in_memory() -> File {
    let file = rustix::fs::memfd_create("bench", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
    File::from_parts(file.into(), "bench")
}

/// Appends the files under `directory` in the order of their names, up to `most` bytes in all. Returns how
/// many these were.
fn copy(directory: &Path, most: u64, to: &mut File) -> u64 {
    let Ok(entries) = fs_err::read_dir(directory) else { return 0 };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let mut copied = 0;
    for path in paths.iter().filter(|path| !path.is_symlink()) {
        if copied == most {
            break;
        }
        copied += match path.is_dir() {
            true => copy(path, most - copied, to),
            // What only root can read is passed over.
            false => File::open(path).map_or(0, |file| std::io::copy(&mut file.take(most - copied), to).unwrap_or(0)),
        };
    }
    copied
}
