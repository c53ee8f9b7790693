//! Programs that run in a sandbox, found among the host's processes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A number of seconds that no other process on this machine sleeps.
pub fn marker() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!("{}.{:03}", 100_000 + std::process::id(), NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

/// Whether a `sleep` with this marker is there, wherever its namespaces.
pub fn running(marker: &str) -> bool {
    find(marker).is_some()
}

/// The user of the `sleep` with this marker, as this process sees it.
pub fn uid_of(marker: &str) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(find(marker).unwrap()).unwrap())
}

/// Its directory in /proc.
fn find(marker: &str) -> Option<PathBuf> {
    let is_it = |directory: &PathBuf| {
        fs_err::read(directory.join("cmdline"))
            .is_ok_and(|line| line.split(|&byte| byte == 0).eq([b"sleep".as_slice(), marker.as_bytes(), b""]))
    };
    fs_err::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).find(is_it)
}

pub fn wait_for(marker: &str) {
    let start = Instant::now();
    while !running(marker) {
        assert!(start.elapsed() < Duration::from_secs(20), "the program never ran");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn assert_gone(marker: &str) {
    let start = Instant::now();
    while running(marker) {
        assert!(start.elapsed() < Duration::from_secs(3), "a process of the build is left");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn only_child_of(pid: u32) -> u32 {
    let children = fs_err::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let all: Vec<u32> = if children.is_empty() { children_by_parent(pid) } else { parse(&children) };
    assert_eq!(all.len(), 1, "children of {pid}");
    all[0]
}

fn parse(children: &str) -> Vec<u32> {
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// For children that another thread than the first started, or a kernel without that file.
fn children_by_parent(parent: u32) -> Vec<u32> {
    fs_err::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs_err::read_to_string(entry.path().join("stat")).ok()?;
            let after_name = &stat[stat.rfind(')')? + 2..];
            (after_name.split(' ').nth(1)?.parse() == Ok(parent)).then_some(pid)
        })
        .collect()
}
