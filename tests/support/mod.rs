//! What several integration tests need: the machine's mirror, the program under test, another user, virtual machines.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

pub mod bare;
pub mod cluster;
pub mod dialogue;
pub mod files;
pub mod qemu;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program under test.
pub const FAM_BUILD: &str = env!("CARGO_BIN_EXE_fam-build");

/// A recipe of the smallest system with apt, without kernel and boot loader, which takes seconds; `include` and plugins may be
/// written before and behind it.
pub const SMALL_SYSTEM: &str = r#"
suite = "trixie"
variant = "apt"
updates = false
security = false
[kernel]
package = "hostname"
[disk]
size = "1G"
[nodes]
count = 1
"#;

/// The Debian mirror of this machine's apt sources: `MIRROR`, else the first `URIs:` that a deb822 source names.
pub fn mirror() -> String {
    if let Ok(mirror) = std::env::var("MIRROR") {
        return mirror;
    }
    let sources =
        fs_err::read_to_string("/etc/apt/sources.list.d/debian.sources").expect("an apt source, or MIRROR set");
    let uris = sources.lines().find_map(|line| line.strip_prefix("URIs:")).expect("a URIs field");
    uris.split_whitespace().next().unwrap().trim_end_matches('/').to_owned()
}

/// Whether it is the turn of `one` among `all`, which take minutes each: every day, by the calendar of UTC, is that of
/// another, and `tests/run --all` runs them all. Where it is not, the test is told to be left out.
pub fn has_its_turn(one: &str, all: &[&str]) -> bool {
    assert!(all.contains(&one), "{one} is not in the list, and would never be run");
    if std::env::var_os("FAM_BUILD_ALL").is_some() {
        return true;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let days = usize::try_from(now.as_secs() / (24 * 60 * 60)).unwrap();
    let turn = all[days % all.len()];
    if turn != one {
        println!("SKIPPED: {one}, since today is the turn of {turn}; tests/run --all runs both");
    }
    turn == one
}

/// As [`has_its_turn`], among the tests of whole clusters.
pub fn cluster_has_its_turn(test: &str) -> bool {
    let all = ["four_of_sixteen_thin_nodes_run", "domains_and_processes_share_the_bridge", "the_session_of_the_readme"];
    has_its_turn(test, &all)
}

/// Runs a command and asserts that it succeeded; gives back its standard output.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command and gives back its exit code and what it wrote to standard error.
#[track_caller]
pub fn fail(command: &mut Command) -> (i32, String) {
    let Output { status, stderr, .. } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "{command:?} succeeded:\n{stderr}");
    (status.code().unwrap_or_else(|| panic!("{command:?}: {status}\n{stderr}")), stderr)
}

/// A normal user with ranges of subordinate ids, made on first use; the tests run as root.
pub fn user() -> &'static str {
    const USER: &str = "fam-build-test";
    static MADE: std::sync::Once = std::sync::Once::new();
    MADE.call_once(|| {
        if !Command::new("id").arg(USER).output().unwrap().status.success() {
            succeed(Command::new("useradd").args(["--create-home", "--shell", "/bin/bash", USER]));
        }
        let ranges = fs_err::read_to_string("/etc/subuid").unwrap();
        assert!(ranges.lines().any(|line| line.starts_with(USER)), "useradd gives subordinate ids");
    });
    USER
}

/// A command that runs as [`user`], with nothing of root's environment.
pub fn as_user(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    let id = |flag: &str| succeed(Command::new("id").args([flag, user()])).trim().to_owned();
    command.args(["--reuid", &id("-u"), "--regid", &id("-g"), "--init-groups", "--reset-env", "--"]);
    command.arg(program.as_ref());
    command
}

/// A fresh directory that everyone may pass through and `owner` may write, removed at the end.
pub fn directory_of(owner: &str) -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("fam-build-test.").tempdir_in(scratch()).unwrap();
    succeed(Command::new("chown").arg(owner).arg(directory.path()));
    directory
}

/// Where tests put large files: a disk, not a memory file system.
pub fn scratch() -> PathBuf {
    PathBuf::from(std::env::var_os("FAM_BUILD_SCRATCH").unwrap_or_else(|| "/var/tmp".into()))
}

/// The program under test where any user can execute it, whatever the permissions above the build directory.
pub fn public_binary() -> PathBuf {
    static COPY: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    COPY.get_or_init(|| {
        let copy = of_this_checkout("fam-build-under-test");
        // Another test of this checkout may be running the one that is there.
        let unfinished = copy.with_extension(std::process::id().to_string());
        fs_err::copy(FAM_BUILD, &unfinished).unwrap();
        fs_err::rename(unfinished, &copy).unwrap();
        copy
    })
    .clone()
}

/// A path in [`scratch`] that only tests of this checkout use, one run after another.
pub fn of_this_checkout(name: &str) -> PathBuf {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(env!("CARGO_MANIFEST_DIR"));
    scratch().join(format!("{name}-{hash:016x}"))
}

/// The recipe that the project has for this suite, with what it extends.
fn recipe_of(suite: &str) -> toml::Table {
    let name = if suite == "trixie" { "fabric" } else { suite };
    let shown = succeed(Command::new(FAM_BUILD).args(["recipe", "show", name]));
    let recipe: toml::Table = shown.parse().unwrap();
    assert_eq!(recipe["suite"].as_str(), Some(suite));
    recipe
}

/// What the default recipe installs beside its variant (which is buildd), the kernel included.
pub fn default_include(suite: &str) -> Vec<String> {
    let recipe = recipe_of(suite);
    assert_eq!(recipe["variant"].as_str(), Some("buildd"));
    let kernel = recipe.get("kernel").and_then(|kernel| kernel["package"].as_str()).unwrap_or("linux-image-amd64");
    let include = recipe["include"].as_array().unwrap().iter().map(|package| package.as_str().unwrap());
    include.chain([kernel]).map(str::to_owned).collect()
}

/// The default recipe with these packages from the suite alone, Debian's own kind of initramfs, and no customization: the
/// system that its packages make.
pub fn packages_only_recipe(suite: &str, include: &[String]) -> String {
    let mut recipe = recipe_of(suite);
    recipe.remove("plugin");
    recipe.remove("nodes");
    recipe.insert("updates".into(), false.into());
    recipe.insert("security".into(), false.into());
    recipe.insert("initramfs".into(), "most".into());
    recipe.insert("include".into(), include.to_vec().into());
    recipe.to_string()
}
