//! What integration tests share: the program under test, another user, a list of tests with a main
//! function, archives of their own, the machine's mirror, the default system and its cluster,
//! virtual machines.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that cannot go on has failed")]

pub mod apt;
pub mod archive;
pub mod bare;
pub mod c_library;
pub mod cluster;
pub mod dialogue;
pub mod disk;
pub mod documents;
pub mod files;
pub mod gnupg;
pub mod handmade;
pub mod harness;
pub mod mounted;
pub mod packages;
pub mod qemu;
pub mod room;
pub mod root;
pub mod server;
pub mod shared;
pub mod socks;
pub mod system;
pub mod vectors;
pub mod workshop;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program under test, of which cargo-nextest and cargo tell where it is.
pub fn program() -> PathBuf {
    let told = ["NEXTEST_BIN_EXE_fam-build", "CARGO_BIN_EXE_fam-build"].iter().find_map(std::env::var_os);
    PathBuf::from(told.expect("these tests are run by tests/run or cargo nextest"))
}

/// A recipe of the smallest real system with apt, without kernel and boot loader, which takes
/// seconds. `include` may be written before it, and plugins behind it.
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

/// The Debian mirror of this machine's apt sources: `MIRROR`, else the first `URIs:` that a deb822
/// source names.
pub fn mirror() -> String {
    if let Ok(mirror) = std::env::var("MIRROR") {
        return mirror;
    }
    let sources =
        fs_err::read_to_string("/etc/apt/sources.list.d/debian.sources").expect("an apt source, or MIRROR set");
    let uris = sources.lines().find_map(|line| line.strip_prefix("URIs:")).expect("a URIs field");
    uris.split_whitespace().next().unwrap().trim_end_matches('/').to_owned()
}

/// Writes a program that everyone may execute.
pub fn write_executable(path: &Path, text: impl AsRef<[u8]>) {
    fs_err::write(path, text).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a command and asserts that it succeeded; returns its standard output.
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

/// Runs a command and returns its exit code and what it wrote to standard error.
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

/// Where tests put large files: a disk, not a memory file system. `tests/run` makes it and removes
/// it.
pub fn scratch() -> PathBuf {
    static SCRATCH: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    SCRATCH
        .get_or_init(|| {
            let given = std::env::var_os("FAM_BUILD_SCRATCH").map(PathBuf::from);
            let scratch = given.unwrap_or_else(scratch_of_this_program);
            fs_err::create_dir_all(&scratch).unwrap();
            allow_everyone_through(&scratch);
            scratch
        })
        .clone()
}

/// Without `tests/run`: what was made with one program is not used with another.
fn scratch_of_this_program() -> PathBuf {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let made = fs_err::metadata(program()).unwrap().modified().unwrap();
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((program(), made));
    PathBuf::from(format!("/var/tmp/fam-build-tests.{hash:016x}"))
}

/// Lets all users read a directory and pass through it.
pub fn allow_everyone_through(directory: &Path) {
    if rustix::process::geteuid().as_raw() == std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(directory).unwrap())
    {
        fs_err::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// The program under test where any user can execute it, whatever the permissions above the build
/// directory.
pub fn public_program() -> PathBuf {
    public_copy(&program(), "program")
}

/// The command lines of all processes, with a blank behind each word.
pub fn command_lines() -> Vec<String> {
    let lines = fs_err::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = fs_err::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.collect()
}

/// A copy of a program in a directory `name` that everyone may pass through, made once.
pub fn public_copy(program: &Path, name: &str) -> PathBuf {
    let file = program.file_name().unwrap();
    shared::shared(name, |place| {
        fs_err::copy(program, place.join(file)).unwrap();
    })
    .join(file)
}

/// The recipe that the project has for this suite, with what it extends.
fn recipe_of(suite: &str) -> toml::Table {
    let name = if suite == "trixie" { "fabric" } else { suite };
    let shown = succeed(Command::new(program()).args(["recipe", "show", name]));
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

/// The default recipe with these packages from the suite alone, Debian's own kind of initramfs, and
/// no plugins: the system that its packages make.
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
