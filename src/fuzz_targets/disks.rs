//! Writers of disks, and the reader of images. The judges are e2fsck and qemu-img.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arbitrary::Unstructured;
use fam_image::map::{DiskMap, MapBuilder};
use fam_image::qcow2::{Compression, FullImages, Image, Options, OverlayImages};
use fam_image::{DiskLayout, Identity, ImageSettings, SectorSize, SparseDisk, lay_out, raw};
use fam_tree::{Content, Entry, Kind, RootPath, Timestamp, Tree};
use fs_err::File;
use uuid::Uuid;

fn run(program: &str, arguments: &[&str], directory: &Path) {
    let output = Command::new(program).args(arguments).current_dir(directory).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{program} {arguments:?}: {shown}{}", String::from_utf8_lossy(&output.stderr));
}

fn create(directory: &Path, name: &str) -> File {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    options.open(directory.join(name)).expect("a new file")
}

/// Two nodes' disks of any pieces: qemu-img finds every image sound, whole and thin, and in it the bytes
/// of the raw image.
pub fn qcow2(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    let tarball = tarball(directory);
    let Ok((options, second_is_known, pieces)) = any_disks(&mut choices) else { return };
    let maps = [0, 1].map(|node| disk(&pieces, node, &tarball));
    // Without the second disk, what differs in it lies in the first image, and every further image leaves
    // it unused.
    let second = second_is_known.then_some(&*maps[1]);
    let [raw0, raw1, first, next, backing, thin0, thin1] =
        ["0.img", "1.img", "0.qcow2", "1.qcow2", "base.qcow2", "thin0.qcow2", "thin1.qcow2"]
            .map(|name| create(directory, name));
    for (map, file) in maps.iter().zip([raw0, raw1]) {
        raw::write(map, &file, &|_| ()).expect("all pieces can be read");
    }
    let files = [&first, &next];
    let images = FullImages::write_bulk(&maps[0], second, &files, options, &|_| ()).expect("all pieces can be read");
    for (map, file) in maps.iter().zip(files) {
        images.write_node(map, file, &|_| ()).expect("all pieces can be read");
    }
    let images = OverlayImages::write_backing(&maps[0], second, &backing, options, &|_| ()).expect("as above");
    for (map, file) in maps.iter().zip([thin0, thin1]) {
        images.write_node(map, "base.qcow2", &file, &|_| ()).expect("all pieces can be read");
    }
    run("qemu-img", &["check", "base.qcow2"], directory);
    for (raw, image) in [("0.img", "0.qcow2"), ("1.img", "1.qcow2"), ("0.img", "thin0.qcow2"), ("1.img", "thin1.qcow2")]
    {
        run("qemu-img", &["check", image], directory);
        run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", raw, image], directory);
    }
}

/// An image from anybody: whatever is read of it lies within its disk, and is what QEMU reads, if it takes
/// the image; and what is said to be zeros is.
pub fn qcow2_reader(bytes: &[u8]) {
    const MOST_BYTES: u64 = 16 << 20;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    for (name, bytes) in [("image", bytes), ("base", &[7; 30_000])] {
        create(directory, name).write_all(bytes).expect("room for the input");
    }
    let Ok(mut disk) = Image::open(&directory.join("image")) else { return };
    let size = disk.size_bytes();
    let mut read = vec![1; size.min(MOST_BYTES) as usize];
    // By the one and the other: in the places where there is nothing, and in between.
    for offset in [0, 512, size / 2, size - 512] {
        if let Ok(zeros) = disk.zeros_from(offset) {
            assert!(offset + zeros <= size);
        }
    }
    if disk.read_at(0, &mut read).is_err() {
        return;
    }
    for offset in (0..read.len()).step_by(512) {
        let zeros = disk.zeros_from(offset as u64).expect("what can be read can be looked at");
        let end = read.len().min(offset + zeros as usize);
        assert!(read[offset..end].iter().all(|&byte| byte == 0), "{offset}");
    }
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", "qcow2", "-O", "raw", "image", "raw"]).current_dir(directory);
    let taken = convert.output().expect("qemu-img").status.success();
    if size <= MOST_BYTES && taken {
        let expected = fs_err::read(directory.join("raw")).expect("what qemu-img wrote");
        assert!(read == expected, "QEMU reads something else");
    }
}

/// No multiple of a cluster, so that the last one is cut off.
const DISK_BYTES: u64 = (16 << 20) + 1536;
const TARBALL_BYTES: usize = 1 << 20;

/// Bytes on a disk: how far behind the piece before, how many, where they come from, and how the second
/// node differs in them.
struct Piece {
    gap: u64,
    len: u64,
    from: u64,
    inline: bool,
    difference: Difference,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Difference {
    None,
    Missing,
    Other,
    Private,
}

/// How the images are written, whether the second disk is known when the first is written, and the pieces.
fn any_disks(choices: &mut Unstructured<'_>) -> arbitrary::Result<(Options, bool, Vec<Piece>)> {
    let compression = *choices.choose(&[Compression::Zstd, Compression::None])?;
    let options = Options { compression, jobs: choices.int_in_range(1..=3)?.try_into().expect("not zero") };
    let second_is_known = choices.arbitrary()?;
    let mut pieces = Vec::new();
    while !choices.is_empty() && pieces.len() < 40 {
        let longest = *choices.choose(&[600, 300_000])?;
        pieces.push(Piece {
            gap: choices.int_in_range(0..=200_000)?,
            len: choices.int_in_range(1..=longest)?,
            from: choices.int_in_range(0..=TARBALL_BYTES as u64 / 2)?,
            inline: choices.arbitrary()?,
            difference: match choices.int_in_range(0..=8)? {
                0..=5 => Difference::None,
                6 => Difference::Missing,
                7 => Difference::Other,
                _ => Difference::Private,
            },
        });
    }
    Ok((options, second_is_known, pieces))
}

/// The disk of node 0 or 1.
fn disk(pieces: &[Piece], node: u64, tarball: &Arc<File>) -> Arc<DiskMap> {
    let mut builder = MapBuilder::new(DISK_BYTES, Arc::clone(tarball));
    let mut offset = 0;
    for piece in pieces {
        offset += piece.gap;
        if offset + piece.len > DISK_BYTES {
            break;
        }
        let differs = node == 1 && piece.difference != Difference::None;
        if !(differs && piece.difference == Difference::Missing) {
            let from = piece.from + u64::from(differs);
            let content = if piece.inline {
                let byte = |index: u64| ((from + index) / 7 % 251) as u8;
                Content::Inline((0..piece.len).map(byte).collect())
            } else {
                Content::Stored { offset: from, len: piece.len }
            };
            builder.put_content(offset, &content, 0, piece.len, piece.difference == Difference::Private);
        }
        offset += piece.len;
    }
    Arc::new(builder.finish().expect("no piece lies over another"))
}

/// A tarball whose first quarter is noise; the rest repeats, some of it zeros.
fn tarball(directory: &Path) -> Arc<File> {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let bytes: Vec<u8> = (0..TARBALL_BYTES)
        .map(|index| match index * 4 / TARBALL_BYTES {
            0 => noise(),
            1 => 0,
            _ => (index / 100 % 13) as u8,
        })
        .collect();
    let mut file = create(directory, "tarball");
    file.write_all(&bytes).expect("room for a megabyte");
    Arc::new(file)
}

/// A disk of any tree: e2fsck finds the file system without fault.
pub fn ext4(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    let tarball = tarball(directory);
    let Ok(tree) = any_tree(&mut choices) else { return };
    let id = Uuid::from_u128(0x1234_0000_4000_8000_0000_0000_0000);
    let identity = Identity {
        disk_guid: id,
        bios_guid: id,
        esp_guid: id,
        root_guid: id,
        fs_uuid: id,
        esp_volume_id: 1,
        partitions: Vec::new(),
        disks: Vec::new(),
    };
    let settings = ImageSettings {
        size_bytes: 300 << 20,
        sector_size: SectorSize::Bytes512,
        label: "fuzz".into(),
        layout_uuid: id,
        timestamp: 1_750_000_000,
        partitions: Vec::new(),
        disks: Vec::new(),
    };
    let Ok(map) = lay_out(&tree, tarball, &BTreeSet::new(), &identity, &settings) else { return };
    raw::write(&Arc::new(map), &create(directory, "disk"), &|_| ()).expect("all pieces can be read");
    let layout =
        DiskLayout::new(settings.size_bytes, settings.sector_size, 0, &[]).expect("lay_out took the same size");
    run("e2fsck", &["-fn", &format!("disk?offset={}", layout.root.offset)], directory);
}

fn any_tree(choices: &mut Unstructured<'_>) -> arbitrary::Result<Tree> {
    let mut tree = Tree::default();
    tree.insert(RootPath::root(), any_attributes(choices, Kind::Directory)?);
    let mut directories = vec![RootPath::root()];
    let mut files: Vec<RootPath> = Vec::new();
    while !choices.is_empty() && tree.len() < 300 {
        let above = choices.choose(&directories)?.clone();
        let name = "n".repeat(choices.int_in_range(1..=40)?) + &tree.len().to_string();
        let Ok(path) = above.join(name) else { break };
        let kind = match choices.int_in_range(0..=7)? {
            0 | 1 => Kind::Directory,
            2 => Kind::Symlink(vec![b'l'; choices.int_in_range(1..=4000)?]),
            3 => Kind::Fifo,
            4 => {
                Kind::CharDevice { major: choices.int_in_range(0..=0xfff)?, minor: choices.int_in_range(0..=0xf_ffff)? }
            }
            5 if !files.is_empty() => Kind::HardLink(choices.choose(&files)?.clone()),
            6 => Kind::File(Content::Inline(vec![choices.arbitrary()?; choices.int_in_range(0..=9000)?].into())),
            _ => Kind::File(Content::Stored { offset: 0, len: choices.int_in_range(0..=TARBALL_BYTES as u64)? }),
        };
        match kind {
            Kind::Directory => directories.push(path.clone()),
            Kind::File(_) => files.push(path.clone()),
            _ => {}
        }
        let entry = any_attributes(choices, kind)?;
        tree.insert(path, entry);
    }
    Ok(tree)
}

fn any_attributes(choices: &mut Unstructured<'_>, kind: Kind) -> arbitrary::Result<Entry> {
    let mut xattrs = BTreeMap::new();
    let may_have_any = matches!(kind, Kind::File(_) | Kind::Directory);
    // Choices that are used up are zeros.
    while may_have_any && !choices.is_empty() && choices.ratio(1, 4)? {
        let name = format!("user.{}", "x".repeat(choices.int_in_range(1..=60)?));
        xattrs.insert(name.into_bytes(), vec![choices.arbitrary()?; choices.int_in_range(0..=1500)?]);
    }
    Ok(Entry {
        kind,
        mode: choices.int_in_range(0..=0o7777)?,
        uid: choices.arbitrary()?,
        gid: choices.arbitrary()?,
        mtime: Timestamp { seconds: choices.arbitrary()?, nanoseconds: choices.int_in_range(0..=999_999_999)? },
        xattrs,
    })
}
