//! Builds to which something happens: processes are killed, disks fill up or break, limits are met,
//! the cache is damaged, the clock is wrong, others build at the same time. After each, what is
//! there is whole, and the next build gives the same bytes as one that nothing happened to.

mod caches;
mod clocks;
mod disks;
mod kills;
mod limits;

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use support::archive::{Archive, sha256};
use support::harness::Test;
use support::succeed;

use crate::small::{Bench, NO_ARTIFACTS, Who, names, recipe_with};

/// All tests of this directory.
pub fn tests() -> Vec<Test> {
    [kills::tests(), disks::tests(), limits::tests(), caches::tests(), clocks::tests()].into_iter().flatten().collect()
}

/// A place in which a build was made that nothing happened to.
struct Place {
    bench: Bench,
    seed: String,
    arguments: Vec<String>,
    /// The SHA-256 of each artifact.
    artifacts: BTreeMap<String, String>,
}

impl Place {
    fn new(who: Who, archive: Archive, arguments: &[&str]) -> Self {
        Self::with_recipe(who, archive, arguments, &recipe_with(""))
    }

    fn with_recipe(who: Who, archive: Archive, arguments: &[&str], recipe: &str) -> Self {
        let bench = Bench::of(who, archive.serve());
        bench.write("tiny.toml", recipe);
        let seed = bench.seed();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut place = Self { bench, seed, arguments, artifacts: BTreeMap::new() };
        succeed(&mut place.build());
        place.artifacts = place.found();
        assert!(place.artifacts.len() >= 8, "{:?}", place.artifacts);
        place
    }

    /// The build that is disturbed.
    fn build(&self) -> Command {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut command = self.bench.build(&arguments);
        // Each fetches and installs; what happens to layers is asked in plain/layers.
        command.args(["--seed", &self.seed, "--layers", "0"]);
        command
    }

    /// What is in the output directory now, but for logs and what is recorded of files, their inodes among it.
    fn found(&self) -> BTreeMap<String, String> {
        let output = self.bench.output();
        let is_artifact = |name: &String| !NO_ARTIFACTS.contains(&name.as_str()) && name != ".fabric_images.json";
        let digest = |name: String| {
            let bytes = fs_err::read(output.join(&name)).unwrap_or_else(|error| panic!("{error}"));
            (name, sha256(&bytes))
        };
        names(&output).into_iter().filter(is_artifact).map(digest).collect()
    }

    /// Removes what builds made. The directory stays, as something may be mounted there.
    fn clear(&self) {
        for name in names(&self.bench.output()) {
            let path = self.bench.output().join(name);
            if path.is_dir() { fs_err::remove_dir_all(path).unwrap() } else { fs_err::remove_file(path).unwrap() }
        }
    }

    /// Asserts that a build that failed left nothing unfinished.
    #[track_caller]
    fn assert_whole(&self, case: &str) {
        for (name, digest) in self.found() {
            assert_eq!(Some(&digest), self.artifacts.get(&name), "{case}: {name} is not what it should be");
        }
    }

    /// Asserts that the next build gives the same bytes as one that nothing happened to, and leaves
    /// nothing else.
    #[track_caller]
    fn assert_works(&self, case: &str) {
        let output = self.build().output().unwrap();
        assert!(output.status.success(), "after {case}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(self.found(), self.artifacts, "after {case}");
        let cache = self.bench.cache().join("fam-build");
        assert_eq!(names(&cache.join("part")), [""; 0], "after {case}");
        let unfinished = names(&cache.join("seen")).into_iter().filter(|name| name.ends_with(".new")).count();
        assert_eq!(unfinished, 0, "after {case}");
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&format!("{}/", self.bench.output().display())), "after {case}: {mounts}");
    }
}

/// What a failed build said on standard error, for messages.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < deadline, "two minutes without {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
