//! The flags of a build, with their help. This is a plain value, so that a test can set any; what
//! reads and shows them is the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use fam_archive::credentials::{MirrorUrl, ProxyUrl};

use super::{
    Compression, Cpus, DiskSize, FabricKind, Include, Initramfs, NodeCount, NodeMemory, Recommends, Security, Size,
    Snapshot, Suite, Variant,
};

/// What was given on the command line. `None`, `false` and empty lists mean that it was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[allow(missing_docs, reason = "each field's comment is its help")]
pub struct Flags {
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
    /// More packages, beside the recipe's: by name, or ./FILE.deb (repeatable)
    #[arg(
        long,
        value_name = "PKG,…",
        value_delimiter = ',',
        help_heading = "What to build",
        long_help = "More packages, beside the recipe's: NAME, NAME=VERSION or NAME/SUITE, a .deb file, or a directory with such \
                       files, by a path that begins with /, ./ or ../ (repeatable)"
    )]
    pub include: Vec<Include>,
    /// Whose Recommends are installed: all, none or names [default: the recipe's; fabric: none]
    #[arg(
        long,
        value_name = "PKG,…",
        help_heading = "What to build",
        long_help = "Whose Recommends are installed: `all`, those of every package, as apt has it; `none`; or those of the \
                       packages that are named, but not of what these bring in [default: the recipe's; fabric: none]"
    )]
    pub recommends: Option<Recommends>,
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
        conflicts_with_all = ["locked", "include", "recommends", "debconf", "variant", "suite", "fresh"],
        help_heading = "What to build",
        long_help = "Make images of this root tarball, whoever made it, and install nothing. There is no fabric.lock then, \
                       and fabric.spdx.json says what the tarball's own dpkg knows"
    )]
    pub from_tarball: Option<PathBuf>,
    /// Install exactly the packages of this lock
    #[arg(long, value_name = "FILE", conflicts_with_all = ["include", "recommends", "variant", "suite"],
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
    /// More archives: a file of apt's sources, .list or .sources, with the keys that it names
    /// (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "Where packages come from")]
    pub archive: Vec<PathBuf>,
    /// The state of the archive at a time, as 20261101T000000Z, from --mirror, a snapshot service
    /// [default: the recipe's; fabric: none]
    #[arg(
        long,
        value_name = "TIME",
        help_heading = "Where packages come from",
        long_help = "The state of the archive at a time, as 20261101T000000Z, from the snapshot service that --mirror names by its \
                       directory with one directory for each time. Its dates are judged as of then [default: the recipe's; \
                       fabric: none]"
    )]
    pub snapshot: Option<Snapshot>,
    /// The proxy, by http:// or socks5h:// [default: none]
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
    /// Install what the nearest layer lacks on top of it: quicker, but the bytes may differ from a fresh build's
    #[arg(
        long,
        help_heading = "How it runs",
        long_help = "Where no layer has all packages, install the rest on top of the nearest one (see --layers). Scripts run in \
                       another order then, so the bytes may differ from those of a fresh build; the plan, the lock and the log say so"
    )]
    pub incremental: bool,
    /// Room in the cache for installed packages, from which later builds start; 0 for none [default: 4G]
    #[arg(
        long,
        value_name = "SIZE",
        help_heading = "How it runs",
        long_help = "Room in the cache for layers: packages as a build installed and configured them, from which later builds \
                       with the same packages start. Those not used for the longest time make room. 0 keeps and takes \
                       none [default: 4G]"
    )]
    pub layers: Option<Size>,
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
