//! What all tests share: a small system that was built once, its lock and its packages; the command that builds it; and
//! how the program's last words are judged.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::archive::Deb;
use crate::support;

/// The names that a command line may have beside those of artifacts.
pub const NO_ARTIFACTS: [&str; 3] = ["fabric.seed", "fabric_emulation.log", "fabric_emulation.log.old"];

/// Where a build runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Root,
    User,
}

/// A small system, built.
#[derive(Debug)]
pub struct World {
    /// With the artifacts of one build.
    pub output: PathBuf,
    /// What `fam-build plan --json` said before.
    pub plan: serde_json::Value,
    /// What `fam-build lock` wrote before.
    pub lock: String,
}

/// A directory of this run of the tests; that of the run before goes.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let path = support::of_this_checkout("fam-build-behaviour");
        let _ = fs_err::remove_dir_all(&path);
        fs_err::create_dir(&path).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    })
}

/// The small system.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let output = scratch().join("output");
        let plan = support::succeed(build(Who::Root, &output).args(["plan", "--json"]).args(of_recipe()));
        assert!(!output.exists(), "a plan leaves the output directory alone");
        let plan = plan.lines().last().map(serde_json::from_str).unwrap().unwrap();
        assert_eq!(packages_in(&cache()), 0, "a plan fetches no package");
        support::succeed(build(Who::Root, &output).arg("lock").args(of_recipe()));
        assert_eq!(names(&output), ["fabric.lock"]);
        assert_eq!(packages_in(&cache()), 0, "a lock fetches no package");
        let lock = fs_err::read_to_string(output.join("fabric.lock")).unwrap();
        support::succeed(build(Who::Root, &output).args(of_recipe()).arg("--locked").arg(output.join("fabric.lock")));
        World { output, plan, lock }
    })
}

impl World {
    /// A lock of the system and more packages, which `mirror` serves.
    pub fn lock_with(&self, mirror: &str, debs: &[&Deb], directory: &Path) -> PathBuf {
        let more: String = debs.iter().map(|deb| deb.locked(mirror)).collect();
        let path =
            directory.join(format!("with{}.lock", debs.iter().map(|deb| format!("-{}", deb.name)).collect::<String>()));
        fs_err::write(&path, format!("{}{more}", self.lock)).unwrap();
        path
    }

    /// The root file system of the system.
    pub fn template(&self) -> PathBuf {
        self.output.join("fabric_template.tar")
    }
}

/// Root's cache of packages, as `XDG_CACHE_HOME`.
pub fn cache() -> PathBuf {
    scratch().join("cache")
}

/// How many packages a cache has.
pub fn packages_in(cache: &Path) -> usize {
    let files = support::succeed(Command::new("find").arg(cache).args(["-type", "f"]));
    files.lines().filter(|path| fs_err::read(path).unwrap().starts_with(b"!<arch>\n")).count()
}

/// Arguments that name the recipe of the small system.
pub fn of_recipe() -> [String; 2] {
    let path = scratch().join("small.toml");
    if !path.exists() {
        // At once, as another test may read it.
        let unfinished = scratch().join(format!("small.{:?}", std::thread::current().id()));
        fs_err::write(&unfinished, format!("{}[[plugin]]\nname = \"hostname\"\n", support::SMALL_SYSTEM)).unwrap();
        fs_err::rename(unfinished, &path).unwrap();
    }
    ["--recipe".into(), path.display().to_string()]
}

/// A recipe of the archive that `archive::archive` makes, whose one package is `package`.
pub fn of_tiny_recipe(package: &str, directory: &Path) -> [String; 2] {
    let path = directory.join("tiny.toml");
    let text = format!(
        "suite = \"tiny\"\nvariant = \"essential\"\nupdates = false\nsecurity = false\n[kernel]\npackage = \"{package}\"\n\
         [nodes]\ncount = 1\n"
    );
    fs_err::write(&path, text).unwrap();
    ["--recipe".into(), path.display().to_string()]
}

/// The variable by which the processes of a run are known.
pub const MARK: &str = "FAM_BUILD_TEST_RUN=";

/// The program with root's cache, the machine's mirror and nothing else of the environment.
pub fn build(who: Who, output: &Path) -> Command {
    build_with_cache(who, output, &cache())
}

/// As [`build`], with another cache.
pub fn build_with_cache(who: Who, output: &Path, cache: &Path) -> Command {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let mut command = match who {
        Who::Root => Command::new("/usr/bin/env"),
        Who::User => support::as_user("/usr/bin/env"),
    };
    command.stdin(Stdio::null()).arg("--ignore-environment");
    let inherited = ["PATH", "http_proxy", "https_proxy", "all_proxy"];
    for (name, value) in inherited.iter().filter_map(|name| Some((name, std::env::var(name).ok()?))) {
        command.arg(format!("{name}={value}"));
    }
    let no_proxy = std::env::var("no_proxy").map_or_else(|_| "127.0.0.1".into(), |hosts| format!("{hosts},127.0.0.1"));
    command.arg(format!("no_proxy={no_proxy}"));
    command.arg(format!("XDG_CACHE_HOME={}", cache.display()));
    command.arg(format!("MIRROR={}", support::mirror()));
    command.arg(format!("TMPDIR={}", output.display()));
    command.arg(format!("{MARK}{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed)));
    command.arg(match who {
        Who::Root => PathBuf::from(support::FAM_BUILD),
        Who::User => support::public_binary(),
    });
    command
}

/// Names in a directory, sorted; none if it is not there.
pub fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Asserts that a failed build left nothing in its output directory but seed and log.
#[track_caller]
pub fn assert_nothing_left(output: &Path) {
    let left: Vec<_> = names(output).into_iter().filter(|name| !NO_ARTIFACTS.contains(&name.as_str())).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Runs a command that must fail with this exit code, a message that has all of `error`, and a hint that has `hint`.
#[track_caller]
pub fn assert_fails(command: &mut Command, code: i32, error: &[&str], hint: &str) {
    let output = command.output().unwrap();
    assert_failed(&output, code, error, hint);
}

/// As [`assert_fails`], of one that has ended.
#[track_caller]
pub fn assert_failed(output: &Output, code: i32, error: &[&str], hint: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{}\n{stderr}", output.status);
    assert!(!stderr.contains("panicked") && !stderr.contains("internal error"), "{stderr}");
    let starts = |word: &str| stderr.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!(starts("error: "), 1, "{stderr}");
    let (_, message) = stderr.split_once("error: ").unwrap();
    let (what, todo) = message.split_once("\nhint: ").unwrap_or_else(|| panic!("no hint: {stderr}"));
    for part in error {
        assert!(what.contains(part), "the error lacks {part:?}: {stderr}");
    }
    assert!(todo.contains(hint), "the hint lacks {hint:?}: {stderr}");
    assert!(!todo.trim_end().contains('\n'), "the hint is the last line: {stderr}");
}
