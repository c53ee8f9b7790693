//! Disks of random pieces, read back by qemu-img.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fs_err::File;
use proptest::prelude::*;

use super::{Compression, NodeImages, Options, ThinImages};
use crate::image::map::{DiskMap, MapBuilder};
use crate::image::raw;
use crate::tree::Content;

/// No multiple of a cluster, so that the last one is cut off.
const SIZE_BYTES: u64 = (16 << 20) + 1536;
const TARBALL_BYTES: usize = 1 << 20;

/// A gap before a piece, its length, where its bytes come from, and how it differs between two
/// nodes.
#[derive(Debug, Clone)]
struct RandomPiece {
    gap: u64,
    len: u64,
    from: u64,
    inline: bool,
    difference: Difference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    None,
    Missing,
    Other,
    Private,
}

fn any_pieces() -> impl Strategy<Value = Vec<RandomPiece>> {
    let difference = prop_oneof![
        6 => Just(Difference::None),
        1 => Just(Difference::Missing),
        1 => Just(Difference::Other),
        1 => Just(Difference::Private),
    ];
    let lengths = prop_oneof![1..600_u64, 1..300_000_u64];
    let piece = (0..200_000_u64, lengths, 0..TARBALL_BYTES as u64 / 2, any::<bool>(), difference);
    let piece =
        piece.prop_map(|(gap, len, from, inline, difference)| RandomPiece { gap, len, from, inline, difference });
    prop::collection::vec(piece, 0..40)
}

/// The disk of node 0 or 1.
fn map(pieces: &[RandomPiece], node: u64, tarball: &Arc<File>) -> Arc<DiskMap> {
    let mut builder = MapBuilder::new(SIZE_BYTES, Arc::clone(tarball));
    let mut at = 0;
    for piece in pieces {
        at += piece.gap;
        if at + piece.len > SIZE_BYTES {
            break;
        }
        let differs = node == 1 && piece.difference != Difference::None;
        if !(differs && piece.difference == Difference::Missing) {
            let from = piece.from + u64::from(differs);
            let content = if piece.inline {
                let byte = |index: u64| ((from + index) / 7 % 251) as u8;
                Content::Inline((0..piece.len).map(byte).collect())
            } else {
                Content::InTarball { offset: from, len: piece.len }
            };
            builder.put_content(at, &content, 0, piece.len, piece.difference == Difference::Private);
        }
        at += piece.len;
    }
    Arc::new(builder.finish().unwrap())
}

/// The first quarter is noise, the rest repeats, some of it zeros.
fn tarball(directory: &Path) -> Arc<File> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let bytes: Vec<u8> = (0..TARBALL_BYTES)
        .map(|index| match index * 4 / TARBALL_BYTES {
            0 => next(),
            1 => 0,
            _ => (index / 100 % 13) as u8,
        })
        .collect();
    let path = directory.join("tarball");
    fs_err::write(&path, bytes).unwrap();
    Arc::new(File::open(path).unwrap())
}

fn qemu_img(arguments: &[&str], directory: &Path) {
    let output = Command::new("qemu-img").args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn qemu_reads_what_the_map_says(pieces in any_pieces(), compress in any::<bool>(), jobs in 1..4_usize) {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let tarball = tarball(directory);
        let create = |name: &str| {
            File::options().read(true).write(true).create(true).truncate(true).open(directory.join(name)).unwrap()
        };
        let compression = if compress { Compression::Zstd } else { Compression::None };
        let options = Options { compression, jobs: jobs.try_into().unwrap() };
        let maps = [0, 1].map(|node| map(&pieces, node, &tarball));
        for (map, name) in maps.iter().zip(["0.img", "1.img"]) {
            raw::write(map, &create(name), &|_| ()).unwrap();
        }

        let first = create("0.qcow2");
        // Without the second map, clusters that differ are in the bulk, and every further image
        // leaves them unused.
        for second in [Some(&*maps[1]), None] {
            let whole = NodeImages::write_first(&maps[0], second, &first, options, &|_| ()).unwrap();
            whole.write_next(&maps[1], &first, &create("1.qcow2"), &|_| ()).unwrap();
            let thin = ThinImages::write_backing(&maps[0], second, &create("base.qcow2"), options, &|_| ()).unwrap();
            for (map, name) in maps.iter().zip(["thin0.qcow2", "thin1.qcow2"]) {
                thin.write_node(map, "base.qcow2", &create(name), &|_| ()).unwrap();
            }
            qemu_img(&["check", "base.qcow2"], directory);
            for (raw, image) in
                [("0.img", "0.qcow2"), ("1.img", "1.qcow2"), ("0.img", "thin0.qcow2"), ("1.img", "thin1.qcow2")]
            {
                qemu_img(&["check", image], directory);
                qemu_img(&["compare", "-f", "raw", "-F", "qcow2", raw, image], directory);
            }
        }
    }
}
