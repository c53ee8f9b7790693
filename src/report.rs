//! What a run hands back: plain values, which the command line shows as text or JSON, and which
//! cross from worker to supervisor.

pub use fam_progress::Failure;
use serde::{Deserialize, Serialize};

use crate::recipe::SettingRow;

/// A package that a build installs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The architecture that it is of: the machine's, or `all`.
    pub architecture: String,
    /// Bytes of its `.deb`.
    pub download_bytes: u64,
    /// Bytes that it takes when it is installed, as its maintainer estimated.
    pub installed_bytes: u64,
    /// The file of this host that it is copied from, where it is not downloaded.
    pub file: Option<String>,
    /// Whether the cache holds its `.deb`.
    pub is_cached: bool,
}

/// A file that a build writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its name in the output directory.
    pub name: String,
    /// What it is, in a few words.
    pub what: String,
    /// Bytes that it takes on the disk, about, where that can be told beforehand.
    pub bytes: Option<u64>,
}

/// What a build would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReport {
    /// What it goes by, and who decided each.
    pub settings: Vec<SettingRow>,
    /// What it installs, in the order of the names.
    pub packages: Vec<PlannedPackage>,
    /// What it writes.
    pub artifacts: Vec<Artifact>,
    /// The plugins to which the recipe gives the network. With any, the build is not reproducible.
    #[serde(default)]
    pub networked: Vec<String>,
    /// Whether the template in the output directory is used again, so that nothing is installed.
    pub reuses_template: bool,
    /// The layer of the cache that is nearest to what is wanted, where there is one.
    #[serde(default)]
    pub layer: Option<PlannedLayer>,
}

/// Packages that an earlier build installed and configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedLayer {
    /// How many there are.
    pub packages: usize,
    /// Whether the build starts from them.
    pub is_start: bool,
    /// In what they are not what is wanted.
    pub differences: Option<String>,
}

/// What a build starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Packages, which it installs.
    Packages,
    /// A layer: packages as an earlier build installed and configured them.
    Layer,
    /// Such a layer, with more packages on top of it.
    Incremental,
    /// The template of an earlier build.
    Template,
    /// A root tarball that somebody named.
    Tarball,
}

impl PlanReport {
    /// Bytes that must be fetched: the packages that are not in the cache, nor in files of this host.
    #[must_use]
    pub fn bytes_to_fetch(&self) -> u64 {
        self.downloads().filter(|package| !package.is_cached).map(|package| package.download_bytes).sum()
    }

    /// Bytes of packages that the cache holds, and that need not be fetched for it.
    #[must_use]
    pub fn bytes_cached(&self) -> u64 {
        self.downloads().filter(|package| package.is_cached).map(|package| package.download_bytes).sum()
    }

    fn downloads(&self) -> impl Iterator<Item = &PlannedPackage> {
        self.packages.iter().filter(|package| package.file.is_none())
    }

    /// Bytes that the packages take when they are installed.
    #[must_use]
    pub fn bytes_installed(&self) -> u64 {
        self.packages.iter().map(|package| package.installed_bytes).sum()
    }
}

/// What a build did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildReport {
    /// The directory with the artifacts.
    pub output: String,
    /// What was written, with the bytes that each takes.
    pub artifacts: Vec<Artifact>,
    /// How many nodes there are.
    pub nodes: u8,
    /// Whether the template was used again instead of built.
    pub reused_template: bool,
    /// Whether packages were used again as an earlier build installed them, perhaps with more on top of them.
    #[serde(default)]
    pub reused_layer: bool,
    /// How long it took.
    pub seconds: f64,
}

/// What an export did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportReport {
    /// The directory with the artifacts.
    pub output: String,
    /// The format, as the command line names it.
    pub format: String,
    /// What was written, with the length of each.
    pub artifacts: Vec<Artifact>,
    /// The numbers of the nodes.
    pub nodes: Vec<u8>,
    /// How long it took.
    pub seconds: f64,
}

/// What a lock holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockReport {
    /// The file.
    pub path: String,
    /// How many packages it names.
    pub packages: usize,
}

/// What a host is examined for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Building images.
    Build,
    /// Running them.
    Run,
}

/// How much something found matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but slower, or not all of it.
    Warning,
    /// It does not work.
    Fault,
}

/// One thing found about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it matters for.
    pub purpose: Purpose,
    /// What was examined, in a word or two.
    pub check: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What was found about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorReport {
    /// All of it, in the order in which it is best changed.
    pub findings: Vec<Finding>,
}

impl DoctorReport {
    /// Whether nothing stands in the way of this purpose.
    #[must_use]
    pub fn allows(&self, purpose: Purpose) -> bool {
        !self.findings.iter().any(|finding| finding.purpose == purpose && finding.verdict == Verdict::Fault)
    }
}

/// A plugin that there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginReport {
    /// The name by which a recipe asks for it.
    pub name: String,
    /// What it does, in a line.
    pub summary: String,
    /// Its version, where it has one.
    pub version: Option<String>,
    /// `built-in`, `library` or `executable`.
    pub kind: String,
    /// The stages at which it acts: `system`, `node`.
    pub stages: Vec<String>,
    /// Names of those that must come before it.
    pub after: Vec<String>,
    /// What the host counts on it for: `node-identity`, `ssh-keys`.
    pub provides: Vec<String>,
    /// The file that it is in; nothing for one that is built in.
    pub path: Option<String>,
}

/// The plugins that there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginsReport {
    /// The built-in ones by name, then those in files in the order in which they are found.
    pub plugins: Vec<PluginReport>,
    /// What is wrong with the files that are none.
    pub faults: Vec<Failure>,
}
