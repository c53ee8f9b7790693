//! Builds of a small system from an archive of the tests' own: a place for them, the command, and
//! how their ends are judged.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use support::archive::{Archive, Mirror, base};
use support::{directory_of, succeed, user};

/// What a failed build may leave in its output directory.
pub const NO_ARTIFACTS: [&str; 3] = ["fabric.seed", "fabric_emulation.log", "fabric_emulation.log.old"];

/// Who builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Root,
    User,
}

/// The suite of [`archive`] and [`Bench::recipe`].
pub const SUITE: &str = "tiny";

/// An archive whose essential packages make a usable system. A test adds its own.
pub fn archive() -> Archive {
    Archive::new(SUITE).with(base())
}

/// A mirror, and a directory with a cache and an output directory for builds from it.
pub struct Bench {
    pub mirror: Mirror,
    pub directory: tempfile::TempDir,
    who: Who,
}

impl Bench {
    /// A place for builds by root.
    pub fn new(archive: Archive) -> Self {
        Self::of(Who::Root, archive.serve())
    }

    /// A place for builds by `who`.
    pub fn of(who: Who, mirror: Mirror) -> Self {
        let owner = if who == Who::User { user() } else { "root" };
        let bench = Self { mirror, directory: directory_of(owner), who };
        support::allow_everyone_through(bench.directory.path());
        bench.write("tiny.toml", &recipe_with(""));
        bench
    }

    /// Where builds put their artifacts.
    pub fn output(&self) -> PathBuf {
        self.directory.path().join("output")
    }

    /// Where builds keep packages.
    pub fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// The artifacts that are there now.
    pub fn artifacts(&self) -> Vec<String> {
        let is_artifact = |name: &String| !NO_ARTIFACTS.contains(&name.as_str()) && name != "fabric.lock";
        names(&self.output()).into_iter().filter(is_artifact).collect()
    }

    /// Writes a file into the directory, as the one who builds; returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs_err::write(&path, text).unwrap();
        if self.who == Who::User {
            succeed(Command::new("chown").arg(user()).arg(&path));
        }
        path
    }

    /// A seed for builds, for the one who builds alone; returns its path.
    pub fn seed(&self) -> String {
        let seed = self.write("seed", &format!("{}\n", "5".repeat(64)));
        fs_err::set_permissions(&seed, PermissionsExt::from_mode(0o600)).unwrap();
        seed.display().to_string()
    }

    /// A build of the small system from this place's mirror, with this place's cache and output, or
    /// what the arguments say instead; a verb comes first in them.
    pub fn build(&self, arguments: &[&str]) -> Command {
        let mut command = program_with(self.who, &self.output(), &self.cache());
        command.args(arguments).arg("--keyring").arg(self.mirror.keyring());
        if !arguments.contains(&"--mirror") {
            command.args(["--mirror", self.mirror.url()]);
        }
        if !arguments.contains(&"--recipe") {
            command.arg("--recipe").arg(self.directory.path().join("tiny.toml"));
        }
        command
    }
}

/// The recipe of the small system: what is essential in [`archive`], without a kernel and a boot
/// loader.
pub fn recipe_with(plugins: &str) -> String {
    format!(
        "suite = \"{SUITE}\"\nvariant = \"essential\"\nupdates = false\nsecurity = false\n[kernel]\npackage = \"base\"\n\
         [disk]\nsize = \"1G\"\n[nodes]\ncount = 1\n[[plugin]]\nname = \"hostname\"\n{plugins}"
    )
}

/// The variable by which the processes of a run are known.
pub const MARK: &str = "FAM_BUILD_TEST_RUN=";

/// `fam-build` with an output directory and a cache, and nothing else of the environment.
pub fn program_with(who: Who, output: &Path, cache: &Path) -> Command {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let mut command = match who {
        Who::Root => Command::new("/usr/bin/env"),
        Who::User => support::as_user("/usr/bin/env"),
    };
    command.stdin(Stdio::null()).arg("--ignore-environment").arg("PATH=/usr/sbin:/usr/bin:/sbin:/bin");
    command.arg(format!("XDG_CACHE_HOME={}", cache.display()));
    command.arg(format!("TMPDIR={}", output.display()));
    command.arg(format!("{MARK}{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed)));
    command.arg(match who {
        Who::Root => support::program(),
        Who::User => support::public_program(),
    });
    command
}

/// How many packages a cache has.
pub fn packages_in(cache: &Path) -> usize {
    let files = succeed(Command::new("find").arg(cache).args(["-type", "f"]));
    files.lines().filter(|path| fs_err::read(path).unwrap().starts_with(b"!<arch>\n")).count()
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

/// Runs a command that must fail with this exit code, a message that has all of `error`, and a hint
/// that has `hint`.
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
