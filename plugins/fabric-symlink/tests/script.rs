//! The script that corrects the link, run by sh on a made-up PCI bus.

#![allow(clippy::disallowed_methods, reason = "a test of a small crate needs no fs-err")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

fn device(bus: &Path, address: &str, vendor: &str, id: &str) {
    let dir = bus.join(address);
    fs::create_dir_all(&dir).expect("a directory");
    for (name, text) in [("vendor", vendor), ("device", id), ("enable", "0"), ("resource2", "")] {
        fs::write(dir.join(name), format!("{text}\n")).expect("a file");
    }
}

fn run(dir: &Path) -> (PathBuf, String) {
    let link = dir.join("link");
    let script = include_str!("../src/fabric-symlink.sh").replace("@LINK@", link.to_str().expect("UTF-8"));
    let output = Command::new("sh")
        .arg("-c")
        .arg(script)
        .env("FABRIC_DEVICES", dir.join("bus"))
        .env("FABRIC_FIRMWARE", dir)
        .output()
        .expect("sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (link, String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn finds_the_device() {
    let dir = std::env::temp_dir().join(format!("fabric-symlink-{}", std::process::id()));
    let bus = dir.join("bus");
    device(&bus, "0000:00:01.0", "0x8086", "0x7000");
    device(&bus, "0000:00:03.0", "0x1af4", "0x1000");
    let (link, said) = run(&dir);
    assert!(said.starts_with("no shared memory"), "{said}");
    assert!(!link.exists());

    device(&bus, "0000:00:07.0", "0x1af4", "0x1110");
    symlink("/sys/bus/pci/devices/0000:00:04.0/resource2", &link).expect("a link");
    for _ in 0..2 {
        let (link, said) = run(&dir);
        assert_eq!(said, "");
        assert_eq!(fs::read_link(&link).expect("a link"), bus.join("0000:00:07.0/resource2"));
    }
    assert_eq!(fs::read_to_string(bus.join("0000:00:07.0/enable")).expect("a file"), "1\n");
    assert_eq!(fs::read_to_string(bus.join("0000:00:03.0/enable")).expect("a file"), "0\n");
    fs::remove_dir_all(&dir).expect("removed");
}
