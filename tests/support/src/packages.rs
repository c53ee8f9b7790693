//! The groups of `tests/packages.toml`, and what one may ask of any tree that packages were
//! installed in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::shared::shared;
use crate::{as_user, directory_of, mirror, public_program, succeed, user};

/// Packages that are installed together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The test's name.
    pub name: String,
    /// What its packages have in common that may go wrong.
    pub reason: String,
    /// Where it is built.
    pub suites: Vec<String>,
    /// Where its packages are.
    #[serde(default = "main_alone")]
    pub components: Vec<String>,
    /// The kernel; none is installed if none is named.
    pub kernel: Option<String>,
    /// What is asked for.
    pub packages: Vec<String>,
    /// Whether the tree is compared with mmdebstrap's.
    #[serde(default)]
    pub compare: bool,
    /// Why neither fam-build nor mmdebstrap can install it.
    pub fails: Option<String>,
    /// Directories whose files the packages' own scripts replace, as `dpkg --verify` notices.
    #[serde(default)]
    pub changes: Vec<String>,
    /// What its scripts do to the host, so that fam-build refuses, and mmdebstrap is not asked.
    pub refused: Option<String>,
}

fn main_alone() -> Vec<String> {
    vec!["main".to_owned()]
}

/// All groups, in the order of the file.
#[must_use]
pub fn groups() -> &'static [Group] {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        group: Vec<Group>,
    }
    static FILE: LazyLock<File> = LazyLock::new(|| toml::from_str(include_str!("../../packages.toml")).unwrap());
    &FILE.group
}

/// The variant of the systems that groups are installed into, which mmdebstrap has by the same
/// name.
pub const VARIANT: &str = "apt";

impl Group {
    /// The packages to ask for, with the kernel.
    #[must_use]
    pub fn include(&self) -> Vec<String> {
        self.packages.iter().chain(&self.kernel).cloned().collect()
    }

    /// A build of the group from the machine's mirror by a normal user, who is [`user`], into
    /// `directory`.
    #[must_use]
    pub fn build(&self, suite: &str, directory: &Path) -> Command {
        let recipe = directory.join("group.toml");
        // A recipe has a kernel, and any package will do as one.
        let kernel = self.kernel.as_deref().unwrap_or("hostname");
        let text = format!(
            "suite = {suite:?}\nvariant = {VARIANT:?}\ncomponents = {:?}\nupdates = false\nsecurity = false\n\
             include = {:?}\n[kernel]\npackage = {kernel:?}\n[disk]\nsize = \"32G\"\n[nodes]\ncount = 1\n",
            self.components, self.packages
        );
        fs_err::write(&recipe, text).unwrap();
        let mut build = as_user(public_program());
        build.args(["--mirror", &mirror(), "--compress", "none", "--recipe"]).arg(recipe);
        // Each group is installed, and layers of all would take the more room.
        build.arg("--cache-dir").arg(cache()).args(["--layers", "0"]).arg("--output").arg(directory);
        build
    }
}

/// The packages that groups have fetched, of all tests of a run.
#[must_use]
pub fn cache() -> PathBuf {
    shared("packages-cache", |place| {
        succeed(Command::new("chown").arg(user()).arg(place));
    })
}

/// A directory for [`Group::build`], removed at the end.
#[must_use]
pub fn output() -> tempfile::TempDir {
    directory_of(user())
}

/// Each package of a tree with its version and its state, a line each.
#[must_use]
pub fn installed(tree: &Path) -> String {
    succeed(
        Command::new("dpkg-query")
            .arg(format!("--admindir={}/var/lib/dpkg", tree.display()))
            .args(["--show", "--showformat=${Package}:${Architecture} ${Version} ${Status}\n"]),
    )
}

/// Asserts that each of these packages is installed, and that dpkg finds nothing to say about the
/// tree.
pub fn assert_installed(tree: &Path, packages: &[String], changes: &[String]) {
    let installed = installed(tree);
    let unfinished: Vec<&str> = installed.lines().filter(|line| !line.ends_with(" install ok installed")).collect();
    assert!(unfinished.is_empty(), "not installed to the end: {unfinished:#?}");
    let names: Vec<&str> = installed.lines().map(|line| line.split_once(':').unwrap().0).collect();
    let missing: Vec<&String> = packages.iter().filter(|package| !names.contains(&package.as_str())).collect();
    assert!(missing.is_empty(), "not installed: {missing:?}");
    for question in ["--audit", "--verify"] {
        let answer = succeed(Command::new("dpkg").arg(format!("--root={}", tree.display())).arg(question));
        let is_explained = |line: &&str| changes.iter().any(|directory| line.contains(&format!(" {directory}/")));
        let rest: Vec<&str> = answer.lines().filter(|line| !is_explained(line)).collect();
        assert!(rest.is_empty(), "dpkg {question}: {rest:#?}");
    }
}
