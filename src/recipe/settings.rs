//! The settings of one run. A flag beats the environment, which beats the recipe; each value keeps
//! who decided it.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use fam_archive::credentials::{InvalidUrl, MirrorUrl, ProxyUrl};
use fam_progress::Hint;
use serde::{Deserialize, Serialize};

use super::bounds::{NodeCount, SharedMemory};
use super::environment::Environment;
use super::extend::Loaded;
use super::flags::Flags;
use super::include::Include;
use super::items::{Addresses, FabricKind, Source};
use super::load;
use super::model::{Fabric, Nodes, Recipe};
use super::rows;
use super::size::Size;
use super::sourced::{Origin, Sourced};
use super::volumes::{Clash, least_fat_mib};

/// Where security updates come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// The archive that the host's own apt uses, else the mirror's sibling if it answers.
    #[default]
    Find,
    /// No security updates are read.
    None,
    /// The archive at this URL.
    Archive(MirrorUrl),
}

impl FromStr for Security {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self::None) } else { text.parse().map(Self::Archive) }
    }
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Find => f.write_str("to be found"),
            Self::None => f.write_str("none"),
            Self::Archive(url) => url.fmt(f),
        }
    }
}

/// Everything that a run was asked to do. Made by [`Settings::new`]; crosses to the worker as JSON,
/// in which the URLs have no logins any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The name or file of the recipe.
    pub recipe_name: Sourced<String>,
    /// The recipe and those that it extends, itself first.
    pub recipe_chain: Vec<Source>,
    /// The recipe, with what flags change of it.
    pub recipe: Recipe,
    /// The mirror, if one is named; else the pipeline finds one.
    pub mirror: Sourced<Option<MirrorUrl>>,
    /// The security archive. [`Security::None`] also when the recipe wants none.
    pub security: Sourced<Security>,
    /// Files of apt's sources that name more archives than the recipe does.
    pub archive_files: Sourced<Vec<PathBuf>>,
    /// The proxy for `http://`.
    pub http_proxy: Sourced<Option<ProxyUrl>>,
    /// The proxy for `https://`.
    pub https_proxy: Sourced<Option<ProxyUrl>>,
    /// Hosts that are reached without a proxy, as `NO_PROXY` lists them.
    pub no_proxy: Sourced<Option<String>>,
    /// The user's file of logins, which need not be there.
    pub netrc: Sourced<Option<PathBuf>>,
    /// Files of answers for debconf, in addition to those of the recipe.
    pub answer_files: Sourced<Vec<PathBuf>>,
    /// Keyrings to trust in addition to the built-in ones.
    pub keyrings: Sourced<Vec<PathBuf>>,
    /// Files with certificates of authorities to trust in addition to those of the recipe and of
    /// the host.
    pub ca_certificates: Sourced<Vec<PathBuf>>,
    /// Whether indexes out of date, and older than ones seen before, are taken.
    pub accept_expired: Sourced<bool>,
    /// The file of the seed, where it is not the output directory's own.
    pub seed: Sourced<Option<PathBuf>>,
    /// The directory for the artifacts.
    pub output: Sourced<PathBuf>,
    /// Whether nodes are overlays on a shared image.
    pub thin: Sourced<bool>,
    /// Directories of plugins, searched before the usual ones.
    pub plugin_dirs: Sourced<Vec<PathBuf>>,
    /// The user's own directory of plugins, which need not be there.
    pub plugin_home: Sourced<Option<PathBuf>>,
    /// The directory of downloaded packages.
    pub cache_dir: Sourced<PathBuf>,
    /// The root tarball to make images of, instead of building one.
    pub from_tarball: Sourced<Option<PathBuf>>,
    /// The lock whose exact packages are to be used.
    pub locked: Sourced<Option<PathBuf>>,
    /// Whether a template that is there is built anew.
    pub fresh: Sourced<bool>,
    /// Whether packages may be installed on top of a layer.
    pub incremental: Sourced<bool>,
    /// How much all layers of the cache may take.
    pub layers: Sourced<Size>,
    /// How many things are done at once, where that is limited.
    pub jobs: Sourced<Option<NonZeroUsize>>,
    /// Whether the screen shows details, which otherwise only the log has.
    pub verbose: bool,
    /// Whether the output is JSON lines.
    pub json: bool,
    /// The time to which the times of files are clamped, in seconds since 1970, where one is given.
    pub source_date_epoch: Sourced<Option<u64>>,
}

/// The settings of a run are wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recipe cannot be loaded.
    #[error("{0}")]
    Recipe(#[from] load::Error),
    /// An environment variable does not have the form it needs.
    #[error("environment variable {name}: {reason}")]
    Environment {
        /// The name of the variable.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A package for machines of another architecture.
    #[error("include: {package} is a package for {architecture}, and the system is one of {own} alone")]
    ForeignPackage {
        /// The package, as it is written.
        package: String,
        /// What it is for.
        architecture: String,
        /// The architecture of the recipe.
        own: String,
    },
    /// Partitions or disks contradict each other.
    #[error("{0}")]
    Volumes(#[from] Clash),
    /// The device that is to show the shared memory cannot have so little.
    #[error("the shared memory has {size}, but on a fabric of kind {kind} it takes 256M at the least")]
    FabricTooSmall {
        /// The device of the recipe.
        kind: FabricKind,
        /// The size that is too small for it.
        size: SharedMemory,
    },
    /// There are too many nodes for static addresses.
    #[error("{count} nodes are more than can have static addresses: the last of the network are the host's then")]
    TooManyStatic {
        /// How many there are.
        count: NodeCount,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Recipe(_) => None,
            Self::Volumes(Clash::TooMany { .. }) => Some("put what is in several of them into one".into()),
            Self::Volumes(Clash::FatTooSmall { sector_size, .. }) => {
                Some(format!("give it size = \"{}M\", or type = \"ext4\"", least_fat_mib(*sector_size)))
            }
            Self::Volumes(_) => {
                Some("each has a label and a mount point of its own; the root file system has `label` of [disk]".into())
            }
            Self::ForeignPackage { .. } => {
                Some("packages of a second architecture are not installed: leave it out".into())
            }
            Self::TooManyStatic { .. } => {
                Some(format!("build {MOST_STATIC} at the most, or in the recipe, under [nodes]: addresses = \"dhcp\""))
            }
            Self::FabricTooSmall { .. } => Some("in the recipe, under [fabric]: size = \"256M\"".into()),
            Self::Environment { name, .. } => Some(format!("correct it, or run without it: env -u {name} fam-build …")),
        }
    }
}

/// There is one architecture in a system.
fn check_include(recipe: &Recipe) -> Result<(), Error> {
    let own = recipe.architecture.to_string();
    let is_foreign = |architecture: &String| *architecture != own && architecture != "native";
    for item in &recipe.include {
        if let Include::Package(package) = &item.value
            && let Some(architecture) = package.architecture.as_ref().filter(|it| is_foreign(it))
        {
            let (package, architecture) = (package.to_string(), architecture.clone());
            return Err(Error::ForeignPackage { package, architecture, own });
        }
    }
    Ok(())
}

/// Linux gives direct access to whole sections of a module only, and keeps some of it; CXL counts
/// memory in units of 256 MiB.
fn check_fabric(fabric: &Fabric) -> Result<(), Error> {
    let (kind, size) = (fabric.kind.value, fabric.size.value);
    match kind {
        FabricKind::Nvdimm | FabricKind::Cxl if size.get().mebibytes() < 256 => {
            Err(Error::FabricTooSmall { kind, size })
        }
        _ => Ok(()),
    }
}

/// How much layers take by default: five or six systems as the default recipe has them.
const LAYERS: Size = Size::from_bytes(4 * Size::GIB.bytes());

/// The addresses above these are the host's in QEMU's user-mode network, and nodes with static
/// addresses have the same in every network.
const MOST_STATIC: u8 = 247;

fn check_nodes(nodes: &Nodes) -> Result<(), Error> {
    let count = nodes.count.value;
    if nodes.addresses.value == Addresses::Static && count.get() > MOST_STATIC {
        return Err(Error::TooManyStatic { count });
    }
    Ok(())
}

impl Settings {
    /// Loads the recipe that `flags` name, and overrides it with the environment and the flags.
    /// Only the recipe is read; whether files and directories are there is for the pipeline to find
    /// out.
    ///
    /// # Errors
    /// The recipe cannot be read, an environment variable is malformed, or the values contradict
    /// each other.
    pub fn new(mut flags: Flags, environment: &Environment) -> Result<Self, Error> {
        let recipe_name = Sourced::of_flag("recipe", flags.recipe.take()).unwrap_or(load::DEFAULT);
        let Loaded { mut recipe, chain } = Loaded::load(&recipe_name)?;
        rows::override_with_flags(&mut recipe, &mut flags);
        check_fabric(&recipe.fabric)?;
        check_nodes(&recipe.nodes)?;
        check_include(&recipe)?;
        recipe.disk.check()?;
        let security = match flags.security_mirror {
            Some(security) => Sourced { value: security, origin: Origin::flag("security-mirror") },
            None if *recipe.security => Sourced::built_in(Security::Find),
            None => Sourced { value: Security::None, origin: recipe.security.origin.clone() },
        };
        let data = [("XDG_DATA_HOME", "fam-build/plugins"), ("HOME", ".local/share/fam-build/plugins")];
        let cache = [("XDG_CACHE_HOME", "fam-build"), ("HOME", ".cache/fam-build")];
        let verbose = environment.first(&["VERBOSE"]);
        let verbose = verbose.is_some_and(|(_, value)| !["0", "no", "false"].map(OsString::from).contains(value));
        // Upper-case HTTP_PROXY is not read: a CGI program's client can set it by a header of that
        // name.
        let http = ["PROXY", "http_proxy", "all_proxy", "ALL_PROXY"];
        let https = ["PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
        Ok(Self {
            recipe_name,
            recipe_chain: chain,
            recipe,
            mirror: Sourced::of_flag("mirror", flags.mirror).or_else(|| environment.value(&["MIRROR"]))?,
            security,
            https_proxy: Sourced::of_flag("proxy", flags.proxy.clone()).or_else(|| environment.value(&https))?,
            http_proxy: Sourced::of_flag("proxy", flags.proxy).or_else(|| environment.value(&http))?,
            no_proxy: environment.value(&["no_proxy", "NO_PROXY"])?,
            source_date_epoch: environment.source_date_epoch()?,
            output: environment.output_directory(flags.output),
            cache_dir: Sourced::of_flag("cache-dir", flags.cache_dir)
                .or(environment.path(&cache))
                // Without HOME, as in a service of the system.
                .unwrap_or("/var/cache/fam-build"),
            netrc: environment.path(&[("NETRC", ""), ("HOME", ".netrc")]),
            plugin_home: environment.path(&data),
            answer_files: Sourced::of_flag("debconf", flags.debconf),
            archive_files: Sourced::of_flag("archive", flags.archive),
            keyrings: Sourced::of_flag("keyring", flags.keyring),
            ca_certificates: Sourced::of_flag("ca-certificate", flags.ca_certificate),
            accept_expired: Sourced::of_flag("accept-expired", flags.accept_expired),
            seed: Sourced::of_flag("seed", flags.seed),
            thin: Sourced::of_flag("thin", flags.thin),
            plugin_dirs: Sourced::of_flag("plugin-dir", flags.plugin_dir),
            from_tarball: Sourced::of_flag("from-tarball", flags.from_tarball),
            locked: Sourced::of_flag("locked", flags.locked),
            fresh: Sourced::of_flag("fresh", flags.fresh),
            incremental: Sourced::of_flag("incremental", flags.incremental),
            layers: Sourced::of_flag("layers", flags.layers)
                .or_else(|| environment.value(&["FAM_BUILD_LAYERS"]))?
                .unwrap_or(LAYERS),
            jobs: Sourced::of_flag("jobs", flags.jobs),
            verbose: flags.verbose || verbose,
            json: flags.json,
        })
    }
}
