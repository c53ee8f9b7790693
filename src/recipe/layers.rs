//! The two layers above a recipe: environment and flags. Both are plain values, so that a test can
//! lay any.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::{
    Compression, Cpus, DiskSize, FabricKind, Initramfs, NodeCount, NodeMemory, PackageName, Security, Suite, Variant,
};
use crate::credentials::{MirrorUrl, ProxyUrl};

/// What was given on the command line. `None`, `false` and empty lists mean that it was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the flag of its name")]
pub struct Flags {
    pub recipe: Option<String>,
    pub mirror: Option<MirrorUrl>,
    pub security_mirror: Option<Security>,
    pub proxy: Option<ProxyUrl>,
    pub suite: Option<Suite>,
    pub include: Vec<PackageName>,
    pub debconf: Vec<PathBuf>,
    pub variant: Option<Variant>,
    pub initramfs: Option<Initramfs>,
    pub keyrings: Vec<PathBuf>,
    pub ca_certificates: Vec<PathBuf>,
    pub accept_expired: bool,
    pub seed: Option<PathBuf>,
    pub memory: Option<NodeMemory>,
    pub cpus: Option<Cpus>,
    pub fabric: Option<FabricKind>,
    pub output: Option<PathBuf>,
    pub size: Option<DiskSize>,
    pub compress: Option<Compression>,
    pub thin: bool,
    pub nodes: Option<NodeCount>,
    pub plugin_dirs: Vec<PathBuf>,
    pub cache_dir: Option<PathBuf>,
    pub from_tarball: Option<PathBuf>,
    pub locked: Option<PathBuf>,
    pub fresh: bool,
    pub jobs: Option<NonZeroUsize>,
    pub verbose: bool,
    pub json: bool,
}

/// The environment variables of the process. One that is empty counts as one that is not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The first of `names` that is set, with its value.
    pub(super) fn first(&self, names: &[&'static str]) -> Option<(&'static str, &OsString)> {
        names.iter().find_map(|name| {
            let value = self.0.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty())?;
            Some((*name, value))
        })
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
