//! Packages that apt downloads from the machine's mirror, for the tests that install them.

use std::path::{Path, PathBuf};
use std::process::Command;

use fam_archive::digest::sha256;
use fam_rootfs::unpack::DebFile;
use support::succeed;

/// An apt that knows nothing of the host's packages.
pub struct Apt(PathBuf);

impl Apt {
    /// One for a suite, with its index, in a new directory.
    pub fn new(base: &Path, suite: &str) -> Self {
        for directory in ["lists/partial", "cache/archives/partial"] {
            fs_err::create_dir_all(base.join(directory)).unwrap();
        }
        let source = format!("deb [trusted=yes] {} {suite} main\n", support::mirror());
        fs_err::write(base.join("sources.list"), source).unwrap();
        fs_err::write(base.join("status"), "").unwrap();
        let apt = Self(base.to_owned());
        apt.run(base, &["update"]);
        apt
    }

    /// Runs `apt-get` in `directory`.
    pub fn run(&self, directory: &Path, arguments: &[&str]) {
        let Self(base) = self;
        let mut command = Command::new("apt-get");
        for (option, value) in [
            ("Dir::Etc::SourceList", base.join("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".into()),
            ("Dir::State::Lists", base.join("lists")),
            ("Dir::State::Status", base.join("status")),
            ("Dir::Cache", base.join("cache")),
            ("APT::Sandbox::User", "root".into()),
            ("APT::Architecture", "amd64".into()),
        ] {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        succeed(command.arg("-q").args(arguments).current_dir(directory));
    }
}

/// The packages in a directory, by the names of their files.
pub fn debs_in(directory: &Path) -> Vec<DebFile> {
    let entries = fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|it| it == "deb")).collect();
    paths.sort();
    paths.iter().map(|path| describe(path)).collect()
}

/// A package, as a signed index would describe it.
pub fn describe(path: &Path) -> DebFile {
    let format = "--showformat=${Package} ${Version} ${Architecture}";
    let fields = succeed(Command::new("dpkg-deb").args(["-W", format]).arg(path));
    let [name, version, architecture] = fields.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let bytes = fs_err::read(path).unwrap();
    DebFile {
        name: name.into(),
        version: version.into(),
        architecture: architecture.into(),
        path: path.into(),
        size: bytes.len() as u64,
        digest: sha256(&bytes),
    }
}
