//! The program itself: compiled by the host's C compiler (`cc`, which must be installed) without a
//! warning, and run on a file in the place of the shared memory.

#![allow(clippy::disallowed_methods, reason = "a test of a small crate needs no fs-err")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

struct Bench {
    dir: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hello-fabric-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        // Tests run in the directory of their package.
        let source = "src/hello_fabric.c";
        let output = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"])
            .arg(dir.join("hello_fabric"))
            .arg(source)
            .output()
            .expect("a C compiler is needed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bench = Self { dir };
        fs::File::create(bench.memory()).and_then(|file| file.set_len(1 << 20)).expect("a file");
        bench
    }

    fn memory(&self) -> PathBuf {
        self.dir.join("memory")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.dir.join("hello_fabric"));
        command.arg("--file").arg(self.memory()).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("it runs")
    }

    fn says(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn complains(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.run(args);
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn stores_and_reads() {
    let bench = Bench::new("store");
    assert_eq!(bench.says(&["--read"]), "no node stored anything yet\ncounter: 0\n");
    let first = bench.says(&["--node", "1"]);
    assert!(first.starts_with("node 1 stored: Linux "), "{first}");
    let stored = first.lines().next().and_then(|line| line.strip_prefix("node 1 stored: ")).expect("the uname");
    for _ in 0..3 {
        bench.says(&["--node", "253"]);
    }

    let memory = fs::read(bench.memory()).expect("the file");
    assert!(memory.starts_with(b"FAMHELLO"));
    assert!(memory[4096 + 16..].starts_with(stored.as_bytes()), "where the program says");
    assert!(memory[4096 + 252 * 512 + 16..].starts_with(stored.as_bytes()));
    assert_eq!(memory.len(), 1 << 20);

    let shown = bench.says(&["--read"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(lines[0].starts_with("node 1, 20") && lines[0].ends_with(stored), "{shown}");
    assert!(lines[1].starts_with("node 253, 20"), "{shown}");
}

#[test]
fn counts_together() {
    let bench = Bench::new("count");
    let children: Vec<_> = (0..4).map(|_| bench.command(&["--count", "10000"]).spawn().expect("it starts")).collect();
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    assert!(bench.says(&["--read"]).ends_with("counter: 40000\n"));
}

#[test]
fn refuses_what_is_wrong() {
    let bench = Bench::new("refuse");
    for args in [&["--node", "0"][..], &["--node", "254"], &["--node", "x"], &["--count", "0"], &["extra"]] {
        assert_eq!(bench.complains(args).0, Some(2), "{args:?}");
    }
    fs::write(bench.memory(), "short").expect("a file");
    assert!(bench.complains(&["--read"]).1.contains("has 5 bytes, and 133632 are needed"));
    fs::write(bench.memory(), vec![7; 1 << 20]).expect("a file");
    let (status, said) = bench.complains(&["--node", "1"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("holds something else"), "{said}");
    assert_eq!(fs::read(bench.memory()).expect("the file"), vec![7; 1 << 20], "and is left alone");
    fs::remove_file(bench.memory()).expect("removed");
    assert!(bench.complains(&["--read"]).1.contains("hint: was this machine started with the shared memory?"));
}
