//! The arguments, and the help that teaches them.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::export::{Format, Registry};
use crate::plugins::scaffold::Language;
use crate::recipe::{Flags, NodeCount, OutOfBounds};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Environment (a flag beats it, and it beats the recipe):
  MIRROR             the mirror, as --mirror
  PROXY              the proxy, as --proxy; else http_proxy, https_proxy or all_proxy
  NO_PROXY           hosts to reach without a proxy
  NETRC              the file of logins for mirrors [default: ~/.netrc]
  TMPDIR             the directory for the artifacts, as --output [default: /tmp]
  VERBOSE            as --verbose, unless 0, no or false
  SOURCE_DATE_EPOCH  no file is younger, in seconds since 1970 [default: the newest index's date]
  SSL_CERT_FILE      authorities to trust for https instead of the host's, in PEM
  SSL_CERT_DIR       the same, as a directory that `openssl rehash` made
  XDG_CACHE_HOME     the cache is fam-build in this directory [default: ~/.cache]
  FAM_BUILD_LAYERS   room in the cache for installed packages, as --layers [default: 4G]
  XDG_DATA_HOME      your plugins are in fam-build/plugins there [default: ~/.local/share]
  NO_COLOR           no colours

Examples:
  fam-build                                        four nodes of Debian stable in /tmp
  fam-build 2 --output vms --include gdb,strace    two nodes with more tools, in ./vms
  fam-build plan --recipe ./mine.toml              what would be installed, fetched and written
  fam-build --locked fabric.lock                   exactly the packages of an earlier build
  fam-build --from-tarball rootfs.tar              disk images of any root file system
  fam-build up                                     start what was built
  fam-build export --format ova                    the same for VMware and VirtualBox

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
    /// Start the nodes that were built, or some of them
    Up(NodesRequest),
    /// Shut the nodes down, or some of them
    Stop(NodesRequest),
    /// Show which nodes run, and how to reach them
    Status(NodesRequest),
    /// Log in to a node, or run a command there
    Ssh(NodesRequest),
    /// Open the serial console of a node
    Console(NodesRequest),
    /// Show what a node wrote to its serial console; -f goes on as it grows
    Log(NodesRequest),
    /// Write the nodes for VMware, VirtualBox, Hyper-V, KubeVirt, Incus or Proxmox
    Export(ExportRequest),
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

/// Nodes that were built.
#[derive(Debug, Args)]
pub struct NodesRequest {
    /// The directory of their images [default: $TMPDIR, else /tmp]
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Numbers of nodes, and all else that the launch script takes: `fabric_emulation.bash help`
    #[arg(value_name = "N", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// Nodes that were built, for another hypervisor.
#[derive(Debug, Args)]
pub struct ExportRequest {
    /// What to write
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub format: Format,
    /// The numbers of the nodes [default: all]
    #[arg(value_name = "N")]
    pub nodes: Vec<u8>,
    /// The directory of their images, where the artifacts go, too [default: $TMPDIR, else /tmp]
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Where OCI images will be pushed, with the path there: the manifests name them by it
    #[arg(long, value_name = "HOST/PATH", default_value_t)]
    pub registry: Registry,
    /// How many threads compress [default: a thread a processor]
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Print events and the result as JSON lines
    #[arg(long)]
    pub json: bool,
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

/// Parses a setting of a plugin, `KEY=VALUE`. A value that is not valid TOML is taken as text.
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

/// A recipe, and the flags that override it.
#[derive(Debug, Clone, Default, Args)]
pub struct RecipeRequest {
    /// A recipe that is built in, or a TOML file [default: fabric]
    #[arg(value_name = "NAME|FILE", conflicts_with = "recipe")]
    pub name: Option<String>,
    /// The flags that override it.
    #[command(flatten)]
    pub options: Flags,
}

/// A build of so many nodes.
#[derive(Debug, Clone, Default, Args)]
pub struct BuildRequest {
    /// How many nodes, as --nodes
    #[arg(value_name = "NODES", conflicts_with = "nodes", value_parser = count_of_nodes)]
    pub count: Option<NodeCount>,
    /// The flags of the build.
    #[command(flatten)]
    pub options: Flags,
}

/// Parses the argument without a flag, the number of nodes. A verb behind a flag arrives here, too,
/// and gets an error that says where it belongs.
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
        Self { nodes: request.count.or(request.options.nodes), ..request.options }
    }
}

impl From<RecipeRequest> for Flags {
    fn from(request: RecipeRequest) -> Self {
        Self { recipe: request.name.or(request.options.recipe), ..request.options }
    }
}
