//! One run's settings: the recipe, with the environment laid over it, with the flags laid over
//! that.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::bounds::SharedMemory;
use super::extend::Loaded;
use super::layers::{Environment, Flags};
use super::load::{self, LoadError};
use super::model::{Fabric, FabricKind, Recipe, Source};
use super::names::PackageName;
use crate::credentials::{InvalidUrl, MirrorUrl, ProxyUrl};

/// Who decided a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "from", content = "name")]
pub enum Origin {
    /// Nobody: it is what the program does unless told otherwise.
    Default,
    /// The recipe of this name.
    Recipe(String),
    /// A file of the host, such as its apt sources.
    Host(String),
    /// This environment variable.
    Environment(String),
    /// This flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Recipe(name) => write!(f, "recipe {name}"),
            Self::Host(file) => write!(f, "host's {file}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Where security updates come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// Wherever the host takes them from, else the mirror's sibling if it answers.
    #[default]
    Find,
    /// Nowhere.
    None,
    /// This archive.
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
    pub recipe_name: String,
    /// The recipe and those that it extends, itself first.
    pub recipe_chain: Vec<Source>,
    /// The recipe, with everything laid over it that flags change of it.
    pub recipe: Recipe,
    /// The mirror, if one is named; else the pipeline finds one.
    pub mirror: Option<MirrorUrl>,
    /// The security archive. [`Security::None`] also when the recipe wants none.
    pub security: Security,
    /// The proxy for `http://`.
    pub http_proxy: Option<ProxyUrl>,
    /// The proxy for `https://`.
    pub https_proxy: Option<ProxyUrl>,
    /// Hosts that are reached without a proxy, as `NO_PROXY` lists them.
    pub no_proxy: Option<String>,
    /// The user's file of logins, which need not be there.
    pub netrc: Option<PathBuf>,
    /// Files of answers for debconf, beside those of the recipe.
    pub answer_files: Vec<PathBuf>,
    /// Keyrings beside the ones built in.
    pub keyrings: Vec<PathBuf>,
    /// Files with certificates of authorities to trust in addition to those of the recipe and of
    /// the host.
    pub ca_certificates: Vec<PathBuf>,
    /// Whether indexes out of date, and older than ones seen before, are taken.
    pub accept_expired: bool,
    /// The file of the seed, where it is not the output directory's own.
    pub seed: Option<PathBuf>,
    /// The directory for the artifacts.
    pub output: PathBuf,
    /// Whether nodes are overlays on a shared image.
    pub thin: bool,
    /// Directories of plugins.
    pub plugin_dirs: Vec<PathBuf>,
    /// The user's own directory of plugins, which need not be there.
    pub plugin_home: Option<PathBuf>,
    /// The directory of downloaded packages.
    pub cache_dir: PathBuf,
    /// The root tarball to make images of, instead of building one.
    pub from_tarball: Option<PathBuf>,
    /// The lock whose exact packages are to be used.
    pub locked: Option<PathBuf>,
    /// Whether a template that is there is built anew.
    pub fresh: bool,
    /// How many things are done at once, where that is limited.
    pub jobs: Option<NonZeroUsize>,
    /// Whether the screen shows what else only the log does.
    pub verbose: bool,
    /// Whether the output is JSON lines.
    pub json: bool,
    /// The time to which the times of files are clamped, in seconds since 1970, where one is given.
    pub source_date_epoch: Option<u64>,
    pub(super) origins: BTreeMap<String, Origin>,
    /// Who named each package that is included.
    pub(super) included_by: Vec<(PackageName, Origin)>,
}

/// The name of the setting that a key of a recipe decides: that of its flag, where it has one.
pub(super) fn setting_of(key: &str) -> &str {
    match key {
        "disk.size" => "size",
        "disk.compress" => "compress",
        "kernel.package" => "kernel",
        "fabric.kind" => "fabric",
        "nodes.count" => "nodes",
        "nodes.memory" => "memory",
        "nodes.cpus" => "cpus",
        key => key,
    }
}

/// One line of what a run will go by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingLine {
    /// The setting.
    pub name: String,
    /// Its value as people read it.
    pub value: String,
    /// Who decided it.
    pub origin: Origin,
}

/// The settings cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The recipe cannot be had.
    #[error(transparent)]
    Recipe(#[from] LoadError),
    /// An environment variable does not have the form it needs.
    #[error("environment variable {name}: {reason}")]
    Environment {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The device that is to show the shared memory cannot have so little.
    #[error("the shared memory has {size}, but on a fabric of kind {kind} it takes 256M at the least")]
    FabricTooSmall {
        /// The device.
        kind: FabricKind,
        /// The memory.
        size: SharedMemory,
    },
}

impl SettingsError {
    /// What the user should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Recipe(error) => error.hint(),
            Self::FabricTooSmall { .. } => Some("in the recipe, under [fabric]: size = \"256M\"".into()),
            Self::Environment { name, .. } => Some(format!("correct it, or run without it: env -u {name} fam-build …")),
        }
    }
}

/// Linux gives direct access to whole sections of a module only, and keeps some of it; CXL counts
/// memory in units of 256 MiB.
fn check_fabric(fabric: &Fabric) -> Result<(), SettingsError> {
    match fabric.kind {
        FabricKind::Nvdimm | FabricKind::Cxl if fabric.size.get().mebibytes() < 256 => {
            Err(SettingsError::FabricTooSmall { kind: fabric.kind, size: fabric.size })
        }
        _ => Ok(()),
    }
}

/// Notes who decided what, while the layers are laid.
struct Layers<'a> {
    environment: &'a Environment,
    origins: BTreeMap<String, Origin>,
}

impl Layers<'_> {
    fn flag(&mut self, name: &'static str) {
        self.origins.insert(name.to_owned(), Origin::Flag(format!("--{name}")));
    }

    /// Puts the flag's value, if it was given, over what the recipe says.
    fn over<T>(&mut self, name: &'static str, place: &mut T, flag: Option<T>) {
        if let Some(value) = flag {
            *place = value;
            self.flag(name);
        }
    }

    /// The flag's value, else the environment's.
    fn either<T: FromStr<Err: fmt::Display>>(
        &mut self,
        name: &'static str,
        flag: Option<T>,
        variables: &[&'static str],
    ) -> Result<Option<T>, SettingsError> {
        if flag.is_some() {
            self.flag(name);
            return Ok(flag);
        }
        let Some((variable, value)) = self.environment.first(variables) else { return Ok(None) };
        let text = value.to_str().ok_or("it is not UTF-8".to_owned());
        let value = text.and_then(|text| text.trim().parse().map_err(|error: T::Err| error.to_string()));
        let value = value.map_err(|reason| SettingsError::Environment { name: variable, reason })?;
        self.origins.insert(name.to_owned(), Origin::Environment(variable.to_owned()));
        Ok(Some(value))
    }

    /// The flag's path, else the environment's with something appended.
    fn path(&mut self, name: &'static str, flag: Option<PathBuf>, from: &[(&'static str, &str)]) -> Option<PathBuf> {
        if flag.is_some() {
            self.flag(name);
            return flag;
        }
        from.iter().find_map(|(variable, below)| {
            let (_, value) = self.environment.first(&[variable])?;
            self.origins.insert(name.to_owned(), Origin::Environment((*variable).to_owned()));
            Some(if below.is_empty() { PathBuf::from(value) } else { PathBuf::from(value).join(below) })
        })
    }
}

impl Settings {
    /// Loads the recipe that `flags` name and lays environment and flags over it. Only the recipe
    /// is read; whether files and directories are there is for the pipeline to find out.
    ///
    /// # Errors
    /// The recipe cannot be read, an environment variable is malformed, or the values contradict
    /// each other.
    pub fn new(flags: Flags, environment: &Environment) -> Result<Self, SettingsError> {
        let recipe_name = flags.recipe.clone().unwrap_or_else(|| load::DEFAULT.to_owned());
        let loaded = Loaded::load(&recipe_name)?;
        Self::lay(recipe_name, loaded, flags, environment)
    }

    fn lay(
        recipe_name: String,
        loaded: Loaded,
        flags: Flags,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let Loaded { mut recipe, chain, written_by, included_by } = loaded;
        let mut layers = Layers { environment, origins: BTreeMap::new() };
        for (key, recipe) in written_by {
            layers.origins.insert(setting_of(&key).to_owned(), Origin::Recipe(recipe));
        }
        let mut included_by: Vec<_> =
            included_by.into_iter().map(|(package, recipe)| (package, Origin::Recipe(recipe))).collect();
        if flags.recipe.is_some() {
            layers.flag("recipe");
        }
        layers.over("suite", &mut recipe.suite, flags.suite);
        layers.over("variant", &mut recipe.variant, flags.variant);
        layers.over("initramfs", &mut recipe.initramfs, flags.initramfs);
        layers.over("size", &mut recipe.disk.size, flags.size);
        layers.over("compress", &mut recipe.disk.compress, flags.compress);
        layers.over("fabric", &mut recipe.fabric.kind, flags.fabric);
        check_fabric(&recipe.fabric)?;
        layers.over("nodes", &mut recipe.nodes.count, flags.nodes);
        layers.over("memory", &mut recipe.nodes.memory, flags.memory);
        layers.over("cpus", &mut recipe.nodes.cpus, flags.cpus);
        for package in flags.include {
            if !recipe.include.contains(&package) {
                recipe.include.push(package.clone());
                included_by.push((package, Origin::Flag("--include".to_owned())));
                layers.flag("include");
            }
        }

        let mirror = layers.either("mirror", flags.mirror, &["MIRROR"])?;
        let wants_security = recipe.security;
        let security = match flags.security_mirror {
            Some(security) => {
                layers.flag("security-mirror");
                security
            }
            None if wants_security => Security::Find,
            None => {
                if let Some(origin) = layers.origins.get("security").cloned() {
                    layers.origins.insert("security-mirror".to_owned(), origin);
                }
                Security::None
            }
        };
        // Upper-case HTTP_PROXY is not read: a CGI program's client can set it by a header of that
        // name.
        let http = ["PROXY", "http_proxy", "all_proxy", "ALL_PROXY"];
        let https = ["PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
        let https_proxy = layers.either("https-proxy", flags.proxy.clone(), &https)?;
        let http_proxy = layers.either("proxy", flags.proxy, &http)?;
        if let Some(origin @ Origin::Flag(_)) = layers.origins.get_mut("https-proxy") {
            *origin = Origin::Flag("--proxy".to_owned());
        }
        let no_proxy = layers.either::<String>("no-proxy", None, &["no_proxy", "NO_PROXY"])?;
        let source_date_epoch = layers.either("source-date-epoch", None, &["SOURCE_DATE_EPOCH"])?;

        let output = layers.path("output", flags.output, &[("TMPDIR", "")]).unwrap_or_else(|| "/tmp".into());
        let cache = [("XDG_CACHE_HOME", "fam-build"), ("HOME", ".cache/fam-build")];
        let cache_dir = layers.path("cache-dir", flags.cache_dir, &cache);
        let cache_dir = cache_dir.unwrap_or_else(|| "/var/cache/fam-build".into());
        let data = [("XDG_DATA_HOME", "fam-build/plugins"), ("HOME", ".local/share/fam-build/plugins")];
        let plugin_home = layers.path("plugin-home", None, &data);
        let netrc = layers.path("netrc", None, &[("NETRC", ""), ("HOME", ".netrc")]);
        let verbose = match environment.first(&["VERBOSE"]) {
            _ if flags.verbose => true,
            Some((_, value)) => !["0", "no", "false"].map(OsString::from).contains(value),
            None => false,
        };
        for (name, given) in [("thin", flags.thin), ("fresh", flags.fresh), ("accept-expired", flags.accept_expired)] {
            if given {
                layers.flag(name);
            }
        }
        for (name, given) in [
            ("debconf", !flags.debconf.is_empty()),
            ("keyring", !flags.keyrings.is_empty()),
            ("ca-certificate", !flags.ca_certificates.is_empty()),
            ("plugin-dir", !flags.plugin_dirs.is_empty()),
            ("seed", flags.seed.is_some()),
            ("from-tarball", flags.from_tarball.is_some()),
            ("locked", flags.locked.is_some()),
            ("jobs", flags.jobs.is_some()),
        ] {
            if given {
                layers.flag(name);
            }
        }
        Ok(Self {
            recipe_name,
            recipe_chain: chain,
            recipe,
            included_by,
            mirror,
            security,
            http_proxy,
            https_proxy,
            no_proxy,
            netrc,
            answer_files: flags.debconf,
            keyrings: flags.keyrings,
            ca_certificates: flags.ca_certificates,
            accept_expired: flags.accept_expired,
            seed: flags.seed,
            output,
            thin: flags.thin,
            plugin_dirs: flags.plugin_dirs,
            plugin_home,
            cache_dir,
            from_tarball: flags.from_tarball,
            locked: flags.locked,
            fresh: flags.fresh,
            jobs: flags.jobs,
            verbose,
            json: flags.json,
            source_date_epoch,
            origins: layers.origins,
        })
    }
}
