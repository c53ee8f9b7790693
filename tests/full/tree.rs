//! The template against mmdebstrap's tree of the same packages: every entry the same in type, mode,
//! owner, target, content and extended attributes, but for what `tree_differences.toml` lists by
//! name with its reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use fam_build::archive::digest::hex;
use fam_build::archive::lock::Lock;
use serde::Deserialize;
use support::files::{Difference, differences, walk};
use support::{mirror, program, scratch, succeed};

support::tests! {
    needs [support::harness::ROOT, "mmdebstrap"];
    trixie_equals_mmdebstrap,
    bookworm_equals_mmdebstrap,
}

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

fn extract(tarball: &Path, into: &Path) {
    fs_err::create_dir(into).unwrap();
    succeed(
        Command::new("tar")
            .args(["--extract", "--numeric-owner", "--preserve-permissions", "--xattrs", "--xattrs-include=*"])
            .arg("--file")
            .arg(tarball)
            .arg("--directory")
            .arg(into),
    );
}

fn packages(root: &Path) -> String {
    succeed(
        Command::new("dpkg-query")
            .arg(format!("--admindir={}/var/lib/dpkg", root.display()))
            .args(["--show", "--showformat=${Package}:${Architecture} ${Version} ${Status}\n"]),
    )
}

/// The system that mmdebstrap makes of the same packages, which it finds in fam-build's cache, at
/// the same time.
fn mmdebstrap(suite: &str, include: &[String], lock: &Lock, cache: &Path, work: &Path) -> PathBuf {
    let debs = work.join("debs");
    fs_err::create_dir(&debs).unwrap();
    for package in &lock.packages {
        let sum = hex(&package.sha256);
        let name = format!("{}_{}_{}.deb", package.name, package.version.replace(':', "%3a"), package.architecture);
        fs_err::os::unix::fs::symlink(cache.join("sha256").join(&sum[..2]).join(&sum), debs.join(name)).unwrap();
    }
    let tarball = work.join("mmdebstrap.tar");
    // apt takes from its archives what has the version and the size that its own index says.
    let archives = r#""$1/var/cache/apt/archives""#;
    let hook = format!("mkdir -p {archives} && cp --dereference {}/* {archives}", debs.display());
    succeed(
        // Whatever the caller's environment says (PYTHONDONTWRITEBYTECODE, for one) would reach the
        // maintainer scripts.
        Command::new("mmdebstrap")
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["--quiet", "--variant=buildd", "--skip=output/dev"])
            .arg(format!("--include={}", include.join(",")))
            .arg(format!("--setup-hook={hook}"))
            .arg(suite)
            .arg(&tarball)
            .arg(format!("deb {} {suite} main", mirror()))
            .env("SOURCE_DATE_EPOCH", lock.newest_date().unwrap().as_second().to_string())
            .env("TMPDIR", memory_or_disk()),
    );
    tarball
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

/// Where fam-build keeps packages, if it is not told.
fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("fam-build")
}

fn compare(suite: &str) {
    let work = tempfile::Builder::new().prefix("fam-build-tree.").tempdir_in(scratch()).unwrap();
    let work = work.path();
    // The packages of the default list; nothing but packages, so that what differs is the work of
    // the unpacker.
    let recipe = work.join("packages-only.toml");
    let include = support::default_include(suite);
    fs_err::write(&recipe, support::packages_only_recipe(suite, &include)).unwrap();
    succeed(
        Command::new(program())
            .args(["--nodes", "1", "--mirror", &mirror(), "--security-mirror", "none"])
            .arg("--recipe")
            .arg(&recipe)
            .arg("--cache-dir")
            .arg(cache())
            .arg("--output")
            .arg(work),
    );
    let lock = Lock::parse(&fs_err::read_to_string(work.join("fabric.lock")).unwrap()).unwrap();
    let reference = mmdebstrap(suite, &include, &lock, &cache(), work);
    extract(&work.join("fabric_template.tar"), &work.join("ours"));
    extract(&reference, &work.join("theirs"));
    let (ours, theirs) = (work.join("ours"), work.join("theirs"));
    assert_eq!(packages(&ours), packages(&theirs), "the same packages in the same state");
    for question in ["--audit", "--verify"] {
        let answer = succeed(Command::new("dpkg").arg(format!("--root={}", ours.display())).arg(question));
        assert_eq!(answer, "", "dpkg {question}");
    }

    let allowed: Allowed = toml::from_str(include_str!("tree_differences.toml")).unwrap();
    let mut used = BTreeMap::new();
    let found = differences(&walk(&ours), &walk(&theirs));
    let unexplained: Vec<&Difference> = found
        .iter()
        .filter(|difference| {
            let reason = allowed.difference.iter().position(|allowance| {
                allowance.suite.as_deref().is_none_or(|only| only == suite)
                    && allowance.aspects.iter().any(|aspect| aspect == difference.aspect)
                    && allowance.paths.iter().any(|pattern| matches(pattern, &difference.path))
            });
            reason.map(|index| *used.entry(index).or_insert(0) += 1).is_none()
        })
        .collect();
    println!(
        "{suite}: {} entries, {} differences, {} unexplained",
        walk(&theirs).len(),
        found.len(),
        unexplained.len()
    );
    for (index, allowance) in allowed.difference.iter().enumerate() {
        println!("{:>6}  {}", used.get(&index).copied().unwrap_or(0), allowance.reason);
    }
    for difference in unexplained.iter().take(100) {
        println!("{} {}: {}", difference.path, difference.aspect, difference.detail);
    }
    assert!(unexplained.is_empty(), "{} unexplained differences", unexplained.len());
}

fn trixie_equals_mmdebstrap() {
    compare("trixie");
}

fn bookworm_equals_mmdebstrap() {
    compare("bookworm");
}
