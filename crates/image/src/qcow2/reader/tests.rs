//! Images that qemu-img and qemu-io made, against the raw disks that qemu-img makes of them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;
use crate::sparse::testing::Pieces;

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        fs_err::write(bench.path("raw"), Pieces::example().bytes()).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[track_caller]
    fn run(&self, command: &str) {
        let mut words = command.split_whitespace();
        let mut program = Command::new(words.next().unwrap());
        let output = program.args(words).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Writes to an image as a virtual machine does, in this many changes.
    fn change(&self, image: &str, changes: &[&str]) {
        let mut program = Command::new("qemu-io");
        program.args(changes.iter().flat_map(|change| ["-c", change])).args(["-d", "unmap", "-f", "qcow2", image]);
        let output = program.current_dir(self.0.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !said.contains("rror"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }

    fn open(&self, image: &str) -> Result<Image, Error> {
        Image::open(&self.path(image))
    }

    /// Asserts that an image reads as the raw disk that qemu-img makes of it, in any pieces, and
    /// that what is said to be zeros is.
    #[track_caller]
    fn assert_reads(&self, image: &str) {
        self.run(&format!("qemu-img convert -f qcow2 -O raw {image} expected"));
        let expected = fs_err::read(self.path("expected")).unwrap();
        let mut disk = self.open(image).unwrap();
        assert_eq!(disk.size_bytes(), expected.len() as u64);
        for piece in [expected.len(), 65_536, 9_999] {
            let mut read = vec![0xff; expected.len()];
            for (index, buffer) in read.chunks_mut(piece).enumerate() {
                disk.read_at((index * piece) as u64, buffer).unwrap();
            }
            let differs = read.iter().zip(&expected).position(|(read, expected)| read != expected);
            assert_eq!(differs, None, "{image} differs");
        }
        for offset in (0..expected.len()).step_by(61 * 512) {
            let zeros = disk.zeros_from(offset as u64).unwrap() as usize;
            assert!(expected[offset..][..zeros].iter().all(|&byte| byte == 0), "{image} has no zeros at {offset}");
        }
        disk.require_unchanged().unwrap();
    }
}

#[test]
fn whatever_qemu_writes_is_read() {
    let bench = Bench::new();
    for options in [
        "",
        "-o compat=0.10",
        "-c",
        "-c -o compression_type=zstd",
        "-o cluster_size=512",
        "-c -o cluster_size=512,compression_type=zstd",
        "-c -o cluster_size=2M",
        "-c -o compat=0.10,cluster_size=4k",
        "-o extended_l2=on",
        "-c -o extended_l2=on,cluster_size=16k,compression_type=zstd",
        "-o preallocation=metadata",
        "-o preallocation=falloc,lazy_refcounts=on,refcount_bits=8",
    ] {
        bench.run(&format!("qemu-img convert {options} -f raw -O qcow2 raw image"));
        bench.assert_reads("image");
        bench.change("image", &["write -P 7 1000k 3k", "write -z 3M 700k", "write -P 0 4M 65k"]);
        bench.run("qemu-img snapshot -c before image");
        bench
            .change("image", &["discard 0 1M", "write -P 9 2M 130k", "write -z -u 3584k 64k", "write -P 3 5242880 1k"]);
        bench.assert_reads("image");
    }
}

#[test]
fn what_it_stands_on_is_read() {
    let bench = Bench::new();
    bench.run("qemu-img convert -c -o cluster_size=4k -f raw -O qcow2 raw first");
    bench.run("qemu-img create -f qcow2 -F qcow2 -b first second 3M");
    bench.change("second", &["write -P 1 1M 100k", "write -z 1200k 100k", "discard 2M 64k"]);
    bench.run("qemu-img create -f qcow2 -o extended_l2=on -F qcow2 -b second third 6M");
    bench.change("third", &["write -P 2 100k 3k", "write -z 4M 100k", "write -P 5 5M 3k"]);
    bench.run("qemu-img create -f qcow2 -F raw -b raw on_raw 8M");
    bench.change("on_raw", &["write -z 3M 100k"]);
    for image in ["first", "second", "third", "on_raw"] {
        bench.assert_reads(image);
    }
}

#[test]
fn backing_files_lead_nowhere_else() {
    let bench = Bench::new();
    let elsewhere = bench.path("raw").display().to_string();
    fs_err::os::unix::fs::symlink(bench.path("raw"), bench.path("link")).unwrap();
    fs_err::create_dir(bench.path("directory")).unwrap();
    for (name, expected) in [
        (elsewhere.as_str(), "no name of a file beside it"),
        ("../raw", "no name of a file beside it"),
        ("./raw", "no name of a file beside it"),
        ("nbd:localhost:10809", "no name of a file beside it"),
        ("json:{}", "no name of a file beside it"),
        ("link", "a symbolic link"),
        ("directory", "a directory"),
        ("missing", "No such file"),
    ] {
        bench.run(&format!("qemu-img create -u -f qcow2 -F raw -b {name} image 1M"));
        let error = bench.open("image").unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    bench.run("qemu-img create -u -f qcow2 -F qcow2 -b other image 1M");
    bench.run("qemu-img create -u -f qcow2 -F qcow2 -b image other 1M");
    assert!(matches!(bench.open("image"), Err(Error::TooDeep { .. })));
}

#[test]
fn an_image_in_use_is_not_read() {
    let bench = Bench::new();
    bench.run("qemu-img convert -f raw -O qcow2 raw image");
    let disk = bench.open("image").unwrap();
    // Asks for a command, and so says when it has opened the image.
    let mut running = Command::new("qemu-io")
        .args(["-f", "qcow2", "image"])
        .current_dir(bench.0.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    running.stdin.as_mut().unwrap().write_all(b"length\n").unwrap();
    let mut said = [0];
    std::io::Read::read_exact(running.stdout.as_mut().unwrap(), &mut said).unwrap();
    let patience = std::time::Instant::now();
    while !matches!(bench.open("image"), Err(Error::InUse { .. })) {
        assert!(patience.elapsed().as_secs() < 60, "qemu-io holds no lock");
    }
    assert!(matches!(disk.require_unchanged(), Err(Error::InUse { .. })));
    running.stdin.as_mut().unwrap().write_all(b"write -P 1 0 64k\nquit\n").unwrap();
    running.wait().unwrap();
    assert!(matches!(disk.require_unchanged(), Err(Error::Changed { .. })));
}

#[test]
fn damaged_tables_are_faults() {
    let bench = Bench::new();
    bench.run("qemu-img convert -c -o cluster_size=4k -f raw -O qcow2 raw good");
    let good = fs_err::read(bench.path("good")).unwrap();
    let number = |at: usize| u64::from_be_bytes(good[at..at + 8].try_into().unwrap()) & 0x00ff_ffff_ffff_fe00;
    let l1 = number(40) as usize;
    let l2 = number(l1) as usize;
    let compressed = (number(l2) & ((1 << 58) - 1)) as usize;
    for (at, bytes, expected) in [
        (40, &b"\x7f"[..], "outside"),
        (l1 + 6, b"\x02", "a table lies"),
        (l1 + 1, b"\x01", "a table lies"),
        (l2, b"\x80\0\0\0\0\x01\x02\0", "a cluster lies"),
        (l2 + 2, b"\x01", "compressed cluster lies"),
        (compressed, &[0xff; 64], "compressed cluster at"),
    ] {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        fs_err::write(bench.path("bad"), bad).unwrap();
        let read = bench.open("bad").map_err(crate::Error::from);
        let error = read.and_then(|mut disk| disk.read_at(0, &mut [0; 8192])).unwrap_err().to_string();
        assert!(error.contains(expected), "{at}: {error}");
    }
}

#[test]
fn a_raw_disk_ends_with_a_whole_sector() {
    let bench = Bench::new();
    let whole = fs_err::read(bench.path("raw")).unwrap();
    let path = bench.path("odd");
    fs_err::write(&path, &whole[..whole.len() - 100]).unwrap();
    for (name, zeros) in [("raw", 0), ("odd", 100)] {
        let mut disk = Image::open_raw(&bench.path(name)).unwrap();
        assert_eq!(disk.size_bytes(), whole.len() as u64);
        let mut read = vec![0xff; whole.len()];
        disk.read_at(0, &mut read).unwrap();
        let (stored, rest) = read.split_at(whole.len() - zeros);
        assert!(stored == &whole[..stored.len()] && rest.iter().all(|&byte| byte == 0), "{name}");
    }
}
