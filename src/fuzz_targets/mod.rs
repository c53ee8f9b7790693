//! Fuzz targets: a function for each parser of outside bytes and for each writer of disks. It takes any
//! bytes, and panics where a property does not hold: a text that changes when it is written and read
//! again, an entry that lies outside of its archive, a disk in which e2fsck finds a fault.
//!
//! Those of the crates' parsers stand here, too, with those of the program's own, which are private. `fuzz/`
//! starts them by cargo-fuzz; the tests here run each on its corpus, `fuzz/corpus/NAME`, and on changes
//! of it.

mod archives;
mod disks;
mod texts;

pub use archives::{deb, tar, tarball};
pub use disks::{ext4, qcow2, qcow2_reader};
pub use texts::{
    deb822, debconf, inrelease, lock, netrc, path_pattern, plugin_protocol, recipe, relation, release, sources, version,
};

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    /// Each target, and how many changes of its corpus are tried. Those of disks are few: e2fsck and
    /// qemu-img judge each.
    macro_rules! targets {
        ($($name:ident: $changes:literal,)*) => {
            const NAMES: &[&str] = &[$(stringify!($name)),*];
            $(
                #[test]
                fn $name() {
                    hold(stringify!($name), super::$name, $changes);
                }
            )*
        };
    }

    targets! {
        deb: 400,
        deb822: 400,
        debconf: 400,
        ext4: 4,
        inrelease: 400,
        lock: 400,
        netrc: 400,
        path_pattern: 400,
        plugin_protocol: 400,
        qcow2: 4,
        qcow2_reader: 40,
        recipe: 400,
        relation: 400,
        release: 400,
        sources: 400,
        tar: 400,
        tarball: 400,
        version: 400,
    }

    #[test]
    fn every_target_has_a_program() {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        let mut names: Vec<_> = fs_err::read_dir(programs)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, NAMES);
    }

    /// Runs a target on its corpus and on `changes` changes of it, the same in each run. Where it
    /// panics, the message has the input.
    fn hold(name: &str, target: fn(&[u8]), changes: u32) {
        let corpus = corpus(name);
        let mut random = StdRng::seed_from_u64(1);
        let changed: Vec<_> = (0..changes).map(|_| change(&corpus, &mut random)).collect();
        for input in corpus.iter().chain(&changed) {
            let failed = std::panic::catch_unwind(|| target(input)).is_err();
            assert!(!failed, "{name}: b\"{}\"", input.escape_ascii());
        }
    }

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut paths: Vec<_> = fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{name}");
        paths.iter().map(|path| fs_err::read(path).unwrap()).collect()
    }

    /// An input of a corpus after one to six changes.
    fn change(corpus: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
        // What parsers look for.
        const MARKS: [&[u8]; 12] =
            [b"\0", b"\n", b"\xff", b" ", b":", b"-", b"~", b"\"", b"..", b"/", b"9999999999", b"\x80\0\0\0"];
        let mut bytes = corpus[random.gen_range(0..corpus.len())].clone();
        for _ in 0..random.gen_range(1..=6) {
            let start = random.gen_range(0..=bytes.len());
            let end = (start + random.gen_range(0..=16)).min(bytes.len());
            match random.gen_range(0..6) {
                0 if start < bytes.len() => bytes[start] = random.r#gen(),
                1 if start < bytes.len() => bytes[start] ^= 1 << random.gen_range(0..8),
                2 => drop(bytes.drain(start..end)),
                3 => drop(bytes.splice(start..start, MARKS[random.gen_range(0..MARKS.len())].iter().copied())),
                4 => bytes.extend_from_within(start..end),
                _ => {
                    let other = &corpus[random.gen_range(0..corpus.len())];
                    let from = random.gen_range(0..=other.len());
                    bytes.truncate(start);
                    bytes.extend_from_slice(&other[from..]);
                }
            }
        }
        bytes
    }
}
