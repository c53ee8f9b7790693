//! The arguments, and the help that teaches them.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::credentials::{MirrorUrl, ProxyUrl};
use crate::customize::project::Language;
use crate::recipe::{
    Compression, Cpus, DiskSize, FabricKind, Flags, Initramfs, NodeCount, NodeMemory, OutOfBounds, PackageName,
    Security, Suite, Variant,
};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Environment (a flag beats it, and it beats the recipe):
  MIRROR             the mirror, as --mirror
  PROXY              the proxy, as --proxy; else http_proxy, https_proxy or all_proxy, but NO_PROXY
  NETRC              the file of logins for mirrors [default: ~/.netrc]
  TMPDIR             the directory for the artifacts, as --output
  VERBOSE            as --verbose, unless 0, no or false
  SOURCE_DATE_EPOCH  the time, in seconds since 1970, to which the times of files are clamped
  XDG_CACHE_HOME     the cache is fam-build in this directory
  NO_COLOR           no colours

Examples:
  fam-build                                        four nodes of Debian stable in /tmp
  fam-build 2 --output vms --include gdb,strace    two nodes with more tools, in ./vms
  fam-build plan --recipe ./mine.toml              what would be installed, fetched and written
  fam-build --locked fabric.lock                   exactly the packages of an earlier build
  fam-build --from-tarball rootfs.tar              disk images of any root file system
  /tmp/fabric_emulation.bash                       start what was built

Exit codes: 0 done; 1 the build failed, or the doctor found a fault; 2 the request was wrong";

/// Turns a Debian mirror into virtual machines that share one memory: complete disk images, the
/// network, and the script that runs them. Needs no root and no Debian.
#[derive(Debug, Parser)]
#[command(
    name = "fam-build",
    version,
    styles = STYLES,
    max_term_width = 110,
    after_long_help = AFTER_HELP,
    after_help = "--help says more, with the environment, examples and exit codes",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// The verb; without one, build.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// What to build, where there is no verb.
    #[command(flatten)]
    pub options: Box<BuildRequest>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build the images and all that surrounds them (the default)
    Build(Box<BuildRequest>),
    /// Show what a build would install, fetch and write, and who decided what
    Plan(Box<BuildRequest>),
    /// Write the exact packages of a build to fabric.lock, without building
    Lock(Box<BuildRequest>),
    /// Look at recipes: those that are built in, or one of your own
    Recipe {
        /// What to do with them.
        #[command(subcommand)]
        verb: RecipeVerb,
    },
    /// Examine whether this host can build and run that, with a hint for each fault
    Doctor(Box<BuildRequest>),
    /// List plugins, begin a new one, or check one
    Plugin {
        /// What to do with plugins.
        #[command(subcommand)]
        verb: PluginVerb,
    },
    /// Print a script that completes this command line
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
    },
}

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub enum PluginVerb {
    /// List all plugins that a build would find
    List {
        /// The recipe in whose directory plugins are looked for, too
        #[arg(long, value_name = "NAME|FILE")]
        recipe: Option<String>,
        /// Directory of plugins (repeatable)
        #[arg(long, value_name = "DIR")]
        plugin_dir: Vec<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Begin a plugin: a project that builds, with a test, in a new directory
    New {
        /// Its name: small letters, digits and hyphens
        name: String,
        /// The language
        #[arg(long, value_name = "LANG", value_enum, default_value_t)]
        lang: Language,
        /// The directory to make [default: NAME]
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Load a plugin from its file, show what it says of itself, and have it check settings
    Check {
        /// The library (*.so) or executable
        file: PathBuf,
        /// Settings to check, as a recipe would have them: KEY=VALUE, the value in TOML or plain
        /// text (repeatable)
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
        settings: Vec<(String, Value)>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A setting of a plugin: what is no TOML value is text.
fn setting(text: &str) -> Result<(String, Value), &'static str> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("this is not KEY=VALUE")?;
    let parsed = toml::from_str::<serde_json::Map<String, Value>>(&format!("value = {value}"));
    let value = parsed.ok().and_then(|mut map| map.remove("value")).unwrap_or_else(|| Value::String(value.to_owned()));
    Ok((key.to_owned(), value))
}

/// What to do with recipes.
#[derive(Debug, Subcommand)]
pub enum RecipeVerb {
    /// List the recipes that are built in
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a recipe with what it extends, and with environment and flags laid over it: each
    /// value, and who decided it
    Show(Box<RecipeRequest>),
    /// Check a recipe: its keys, its plugins and their settings, and the files that it names
    Check(Box<RecipeRequest>),
    /// Print the JSON Schema of recipes, by which editors complete and check them
    Schema,
}

/// A recipe, and what is laid over it.
#[derive(Debug, Clone, Default, Args)]
pub struct RecipeRequest {
    /// A recipe that is built in, or a TOML file [default: fabric]
    #[arg(value_name = "NAME|FILE", conflicts_with = "recipe")]
    pub name: Option<String>,
    /// What is laid over it.
    #[command(flatten)]
    pub options: BuildOptions,
}

/// A build of so many nodes.
#[derive(Debug, Clone, Default, Args)]
pub struct BuildRequest {
    /// How many nodes, as --nodes
    #[arg(value_name = "NODES", conflicts_with = "nodes", value_parser = count_of_nodes)]
    pub count: Option<NodeCount>,
    /// All else.
    #[command(flatten)]
    pub options: BuildOptions,
}

/// Everything that a build can be told.
#[derive(Debug, Clone, Default, Args)]
#[allow(missing_docs, reason = "each field's comment is its help")]
pub struct BuildOptions {
    /// A shipped recipe (fabric, minimal, cloud, bookworm, sid), or a TOML file [default: fabric]
    #[arg(long, value_name = "NAME|FILE", help_heading = "What to build")]
    pub recipe: Option<String>,
    /// How many nodes, 1 to 253 [default: the recipe's; fabric: 4]
    #[arg(long, value_name = "N", help_heading = "What to build")]
    pub nodes: Option<NodeCount>,
    /// The suite, as trixie or sid [default: the recipe's; fabric: trixie]
    #[arg(long, value_name = "NAME", help_heading = "What to build")]
    pub suite: Option<Suite>,
    /// The packages to begin with [default: the recipe's; fabric: buildd]
    #[arg(
        long,
        value_name = "NAME",
        value_enum,
        hide_possible_values = true,
        help_heading = "What to build",
        long_help = "The packages to begin with: essential, apt, minbase, buildd, important or standard, as mmdebstrap \
                       names them [default: the recipe's; fabric: buildd]"
    )]
    pub variant: Option<Variant>,
    /// More packages, beside the recipe's (repeatable)
    #[arg(long, value_name = "PKG,…", value_delimiter = ',', help_heading = "What to build")]
    pub include: Vec<PackageName>,
    /// Answers to questions of packages, as debconf-set-selections reads them, after the recipe's
    /// (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "What to build")]
    pub debconf: Vec<PathBuf>,
    /// Drivers in the initramfs: vm or most [default: the recipe's; fabric: vm]
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        hide_possible_values = true,
        help_heading = "What to build",
        long_help = "Drivers in the initramfs: vm, those of virtual machines' disks, small and quick to boot; or most, \
                       those of most hardware [default: the recipe's; fabric: vm]"
    )]
    pub initramfs: Option<Initramfs>,
    /// Directory of plugins, searched before the usual ones (repeatable)
    #[arg(long, value_name = "DIR", help_heading = "What to build")]
    pub plugin_dir: Vec<PathBuf>,
    /// Make images of this root tarball, whoever made it, and install nothing
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["locked", "include", "debconf", "variant", "suite", "fresh"],
        help_heading = "What to build",
        long_help = "Make images of this root tarball, whoever made it, and install nothing. There is no fabric.lock then, \
                       and fabric.spdx.json says what the tarball's own dpkg knows"
    )]
    pub from_tarball: Option<PathBuf>,
    /// Install exactly the packages of this lock
    #[arg(long, value_name = "FILE", conflicts_with_all = ["include", "variant", "suite"],
          help_heading = "What to build")]
    pub locked: Option<PathBuf>,

    #[arg(
        long,
        value_name = "URL",
        help_heading = "Where packages come from",
        help = "The Debian mirror [default: the one of this host's apt, else http://ftp.us.debian.org/debian]"
    )]
    pub mirror: Option<MirrorUrl>,
    /// The archive of security updates [default: the one of this host's apt, else MIRROR-security]
    #[arg(long, value_name = "URL|none", help_heading = "Where packages come from")]
    pub security_mirror: Option<Security>,
    /// The HTTP proxy [default: none]
    #[arg(long, value_name = "URL", help_heading = "Where packages come from")]
    pub proxy: Option<ProxyUrl>,
    /// Keys to trust beside the Debian archive's, which are built in (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "Where packages come from")]
    pub keyring: Vec<PathBuf>,
    /// Certificates of authorities to trust in addition to the host's, for https mirrors
    /// (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "Where packages come from")]
    pub ca_certificate: Vec<PathBuf>,
    /// Take indexes that are past their date, or older than ones seen before, as snapshots are
    #[arg(long, help_heading = "Where packages come from")]
    pub accept_expired: bool,
    /// Directory of downloaded packages [default: ~/.cache/fam-build]
    #[arg(long, value_name = "DIR", help_heading = "Where packages come from")]
    pub cache_dir: Option<PathBuf>,

    /// The disk of each node as the guest sees it [default: the recipe's; fabric: 8G]
    #[arg(long, value_name = "SIZE", help_heading = "The machines")]
    pub size: Option<DiskSize>,
    /// The memory of each node [default: the recipe's; fabric: 1G]
    #[arg(long, value_name = "SIZE", help_heading = "The machines")]
    pub memory: Option<NodeMemory>,
    /// The processors of each node [default: the recipe's; fabric: 2]
    #[arg(long, value_name = "N", help_heading = "The machines")]
    pub cpus: Option<Cpus>,
    /// The device that shows the shared memory: ivshmem, nvdimm or cxl [default: the recipe's;
    /// fabric: ivshmem]
    #[arg(long, value_name = "KIND", value_enum, hide_possible_values = true, help_heading = "The machines")]
    pub fabric: Option<FabricKind>,

    /// The directory for the artifacts [default: TMPDIR, else /tmp]
    #[arg(short, long, value_name = "DIR", help_heading = "What is written")]
    pub output: Option<PathBuf>,
    /// Nodes as small overlays on one shared image, instead of images that are whole by themselves
    #[arg(long, help_heading = "What is written")]
    pub thin: bool,
    /// Compression of the images: zstd or none [default: the recipe's; fabric: zstd]
    #[arg(long, value_name = "KIND", value_enum, hide_possible_values = true, help_heading = "What is written")]
    pub compress: Option<Compression>,
    /// The seed of keys and identities [default: fabric.seed beside the artifacts, made once]
    #[arg(long, value_name = "FILE", help_heading = "What is written")]
    pub seed: Option<PathBuf>,

    /// Build anew, even if nothing changed since the template was built
    #[arg(long, help_heading = "How it runs")]
    pub fresh: bool,
    /// How many downloads and threads at once [default: 8 downloads, a thread a processor]
    #[arg(short, long, value_name = "N", help_heading = "How it runs")]
    pub jobs: Option<NonZeroUsize>,
    /// Show what else only the log has: details, and the output of maintainer scripts
    #[arg(short, long, help_heading = "How it runs")]
    pub verbose: bool,
    /// Print events and results as JSON lines
    #[arg(long, help_heading = "How it runs")]
    pub json: bool,
}

/// What stands alone is a number of nodes, or a verb in the wrong place.
fn count_of_nodes(text: &str) -> Result<NodeCount, String> {
    if Verb::has_subcommand(text) {
        return Err(format!("a verb comes first, as in: fam-build {text} --nodes 4"));
    }
    text.parse().map_err(|error| match text.parse::<u64>() {
        Ok(_) => OutOfBounds::to_string(&error),
        Err(_) => "this is neither a verb nor a number of nodes (1 to 253)".to_owned(),
    })
}

impl From<BuildRequest> for Flags {
    fn from(request: BuildRequest) -> Self {
        let flags = Self::from(request.options);
        Self { nodes: request.count.or(flags.nodes), ..flags }
    }
}

impl From<RecipeRequest> for Flags {
    fn from(request: RecipeRequest) -> Self {
        let flags = Self::from(request.options);
        Self { recipe: request.name.or(flags.recipe), ..flags }
    }
}

impl From<BuildOptions> for Flags {
    fn from(options: BuildOptions) -> Self {
        Self {
            recipe: options.recipe,
            mirror: options.mirror,
            security_mirror: options.security_mirror,
            proxy: options.proxy,
            suite: options.suite,
            include: options.include,
            debconf: options.debconf,
            variant: options.variant,
            initramfs: options.initramfs,
            keyrings: options.keyring,
            ca_certificates: options.ca_certificate,
            accept_expired: options.accept_expired,
            seed: options.seed,
            memory: options.memory,
            cpus: options.cpus,
            fabric: options.fabric,
            output: options.output,
            size: options.size,
            compress: options.compress,
            thin: options.thin,
            nodes: options.nodes,
            plugin_dirs: options.plugin_dir,
            cache_dir: options.cache_dir,
            from_tarball: options.from_tarball,
            locked: options.locked,
            fresh: options.fresh,
            jobs: options.jobs,
            verbose: options.verbose,
            json: options.json,
        }
    }
}
