//! What tests of several formats ask of QEMU.

use std::path::Path;
use std::process::Command;

use fs_err::File;

use crate::error::Error;
use crate::sparse::testing::Pieces;

/// Asserts that qemu-img finds no fault in an image of `format`, and in it the bytes of `disk`.
#[track_caller]
pub(crate) fn assert_qemu_reads(format: &str, image: &[u8], disk: &Pieces) {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("qemu-img").args(arguments).current_dir(directory.path()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(output.status.success(), "{format}: qemu-img {arguments:?}: {said}");
        said
    };
    let create = |name: &str, write: &dyn Fn(&File)| write(&File::create(directory.path().join(name)).unwrap());
    create("image", &|file| std::io::Write::write_all(&mut file.file(), image).unwrap());
    create("raw", &|file| {
        file.set_len(disk.size_bytes).unwrap();
        for (offset, bytes) in &disk.pieces {
            fs_err::os::unix::fs::FileExt::write_at(file, bytes, *offset).unwrap();
        }
    });
    run(&["check", "-f", format, "image"]);
    let said = run(&["compare", "-f", "raw", "-F", format, "raw", "image"]);
    // A difference in size is no more than a warning to it.
    assert_eq!(said.trim(), "Images are identical.", "{format}");
}

/// The bytes that `write` writes into an empty file.
#[track_caller]
pub(crate) fn written_to_file(write: impl FnOnce(&File) -> Result<(), Error>) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    write(&File::create(Path::new(&path)).unwrap()).unwrap();
    fs_err::read(path).unwrap()
}
