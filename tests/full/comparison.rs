//! A tree of fam-build's against mmdebstrap's of the same packages: every entry the same in type,
//! mode, owner, target, content and extended attributes, but for what `tree_differences.toml` lists
//! by name with its reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use fam_archive::lock::Lock;
use serde::Deserialize;
use support::files::extract;
use support::files::{Difference, differences, walk};
use support::packages::installed;
use support::{mirror, scratch, succeed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    difference: Vec<Allowance>,
}

/// Differences that are meant to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowance {
    /// Paths; a `*` stands for any characters.
    paths: Vec<String>,
    /// Aspects that may differ there.
    aspects: Vec<String>,
    /// Only for this suite.
    suite: Option<String>,
    /// Only for this group of `tests/packages.toml`.
    group: Option<String>,
    reason: String,
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((start, rest)) => path.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).filter(|&at| tail.is_char_boundary(at)).any(|at| matches(rest, &tail[at..]))
        }),
    }
}

/// What mmdebstrap is asked for.
pub struct Reference<'a> {
    pub suite: &'a str,
    /// The group of `tests/packages.toml`, if it is one.
    pub group: Option<&'a str>,
    pub variant: &'a str,
    pub components: &'a str,
    pub include: &'a [String],
}

impl Reference<'_> {
    /// The command that makes the system as a tarball.
    pub fn command(&self, tarball: &Path) -> Command {
        let Self { suite, variant, components, include, .. } = self;
        let mut command = Command::new("mmdebstrap");
        // Whatever the caller's environment says (PYTHONDONTWRITEBYTECODE, for one) would reach the
        // maintainer scripts.
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TMPDIR", memory_or_disk());
        command.args(["--quiet", "--skip=output/dev"]).arg(format!("--variant={variant}"));
        command.arg(format!("--include={}", include.join(","))).arg(suite).arg(tarball);
        command.arg(format!("deb {} {suite} {components}", mirror()));
        command
    }

    /// Makes the system as `mmdebstrap.tar` in `work`, from the packages of `lock` in fam-build's
    /// cache, at the same time.
    pub fn make(&self, lock: &Lock, cache: &Path, work: &Path) -> PathBuf {
        let debs = work.join("debs");
        fs_err::create_dir(&debs).unwrap();
        for package in &lock.packages {
            let sum = package.digest.to_string();
            let name = format!("{}_{}_{}.deb", package.name, package.version.replace(':', "%3a"), package.architecture);
            fs_err::os::unix::fs::symlink(cache.join("sha256").join(&sum[..2]).join(&sum), debs.join(name)).unwrap();
        }
        let tarball = work.join("mmdebstrap.tar");
        // apt takes from its archives what has the version and the size that its own index says.
        let archives = r#""$1/var/cache/apt/archives""#;
        let hook = format!("mkdir -p {archives} && cp --dereference {}/* {archives}", debs.display());
        let time = lock.newest_date().unwrap().as_second().to_string();
        let mut command = self.command(&tarball);
        succeed(command.arg(format!("--setup-hook={hook}")).env("SOURCE_DATE_EPOCH", time));
        tarball
    }
}

/// Where mmdebstrap makes its tree: dpkg waits for a disk at every package, so in memory if there
/// is plenty.
fn memory_or_disk() -> PathBuf {
    const PLENTY: u64 = 6 << 30;
    let memory = fs_err::read_to_string("/proc/meminfo").unwrap();
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    let available = available.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
    let shm = rustix::fs::statvfs("/dev/shm").map_or(0, |shm| shm.f_bavail * shm.f_frsize);
    if available.min(shm) > PLENTY { "/dev/shm".into() } else { scratch() }
}

/// Asserts that fam-build's build in `output` has the tree that mmdebstrap makes of the same
/// packages, which are in `cache`. `ours` is that build's template, extracted.
pub fn assert_same(reference: &Reference<'_>, output: &Path, ours: &Path, cache: &Path) {
    let suite = reference.suite;
    let lock = Lock::parse(&fs_err::read_to_string(output.join("fabric.lock")).unwrap()).unwrap();
    let work = tempfile::Builder::new().prefix("fam-build-tree.").tempdir_in(scratch()).unwrap();
    let theirs = work.path().join("theirs");
    extract(&reference.make(&lock, cache, work.path()), &theirs);
    assert_eq!(installed(ours), installed(&theirs), "the same packages in the same state");

    let allowed: Allowed = toml::from_str(include_str!("tree_differences.toml")).unwrap();
    let mut used = BTreeMap::new();
    let (ours, theirs) = (walk(ours), walk(&theirs));
    let found = differences(&ours, &theirs);
    let unexplained: Vec<&Difference> = found
        .iter()
        .filter(|difference| {
            let reason = allowed.difference.iter().position(|allowance| {
                allowance.suite.as_deref().is_none_or(|only| only == suite)
                    && allowance.group.as_deref().is_none_or(|only| Some(only) == reference.group)
                    && allowance.aspects.iter().any(|aspect| aspect == difference.aspect)
                    && allowance.paths.iter().any(|pattern| matches(pattern, &difference.path))
            });
            reason.map(|index| *used.entry(index).or_insert(0) += 1).is_none()
        })
        .collect();
    println!("{suite}: {} entries, {} differences, {} unexplained", theirs.len(), found.len(), unexplained.len());
    for (index, allowance) in allowed.difference.iter().enumerate() {
        println!("{:>6}  {}", used.get(&index).copied().unwrap_or(0), allowance.reason);
    }
    for difference in unexplained.iter().take(100) {
        println!("{} {}: {}", difference.path, difference.aspect, difference.detail);
    }
    assert!(unexplained.is_empty(), "{} unexplained differences", unexplained.len());
}
