//! The real apt as a judge of archives: `apt-get update` with a configuration, a state and a cache
//! of its own, so that the host's apt is neither asked nor changed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::succeed;

/// An apt that is installed somewhere.
#[derive(Debug)]
pub struct Apt {
    /// The system that it is in, if not the host.
    root: Option<PathBuf>,
    major: u32,
}

impl Apt {
    /// The host's.
    pub fn host() -> Self {
        Self::of(None)
    }

    /// That of a system in a directory, run by chroot.
    pub fn in_root(root: &Path) -> Self {
        Self::of(Some(root.to_owned()))
    }

    fn of(root: Option<PathBuf>) -> Self {
        let mut apt = Self { root, major: 0 };
        // apt 2.6.1 (amd64)
        let version = succeed(apt.command("apt-get").arg("--version"));
        let number = version.split([' ', '.']).nth(1).and_then(|major| major.parse().ok());
        apt.major = number.unwrap_or_else(|| panic!("{version}"));
        apt
    }

    /// The first number of its version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    fn command(&self, program: &str) -> Command {
        let mut command = match &self.root {
            None => Command::new(program),
            Some(root) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg(program);
                command
            }
        };
        command.env_clear().envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C")]);
        command
    }

    /// Makes an apt that has seen nothing yet, with one source, whose Release file a key in
    /// `keyring` is to sign. `ending` is that of a keyring's name: `gpg` or `asc`.
    #[must_use]
    pub fn subscribe(&self, mirror: &str, suite: &str, keyring: &[u8], ending: &str) -> Subscriber<'_> {
        self.subscribe_to(&[format!("{mirror} {suite} main")], keyring, ending)
    }

    /// As [`subscribe`](Self::subscribe), with several sources, each as mirror, suite and components.
    #[must_use]
    pub fn subscribe_to(&self, sources: &[String], keyring: &[u8], ending: &str) -> Subscriber<'_> {
        let above = self.root.as_ref().map_or_else(crate::scratch, |root| root.join("tmp"));
        let directory = tempfile::Builder::new().prefix("apt.").tempdir_in(above).unwrap();
        let path = directory.path();
        for name in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "var/lib/dpkg",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
        ] {
            fs_err::create_dir_all(path.join(name)).unwrap();
        }
        let seen = match &self.root {
            None => path.to_owned(),
            Some(root) => Path::new("/").join(path.strip_prefix(root).unwrap()),
        };
        let settings = format!(
            "Dir \"{seen}\";\nDir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\nAPT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"root\";\nAPT::Update::Error-Mode \"any\";\n\
             Acquire::Languages \"none\";\nAcquire::Retries \"0\";\nDebug::NoLocking \"true\";\n",
            seen = seen.display(),
        );
        fs_err::write(path.join("apt.conf"), settings).unwrap();
        fs_err::write(path.join("var/lib/dpkg/status"), "").unwrap();
        fs_err::write(path.join(format!("key.{ending}")), keyring).unwrap();
        let lines = sources.iter().map(|source| format!("deb [signed-by={}/key.{ending}] {source}\n", seen.display()));
        fs_err::write(path.join("etc/apt/sources.list"), lines.collect::<String>()).unwrap();
        Subscriber { apt: self, directory, seen }
    }
}

/// An apt with one source.
#[derive(Debug)]
pub struct Subscriber<'a> {
    apt: &'a Apt,
    directory: tempfile::TempDir,
    /// The directory as apt sees it.
    seen: PathBuf,
}

impl Subscriber<'_> {
    /// Runs `apt-get update`: the text of the package index that is in use now.
    ///
    /// # Errors
    /// With what apt says, if it fails or says that it does not take what is there now.
    pub fn update(&self) -> Result<String, String> {
        let said = self.run(&["update"])?;
        self.index().ok_or(said)
    }

    /// Runs `apt-get update`, then asks what would be fetched to install `packages`: sorted URLs.
    ///
    /// # Errors
    /// With what apt says, if it fails.
    pub fn urls(&self, packages: &[&str]) -> Result<Vec<String>, String> {
        self.run(&["update"])?;
        let arguments = ["install", "--print-uris", "--quiet=2", "--no-install-recommends"];
        let printed = self.run(&[&arguments, packages].concat())?;
        let mut urls: Vec<_> = printed.lines().filter_map(|line| Some(line.split('\'').nth(1)?.to_owned())).collect();
        urls.sort();
        Ok(urls)
    }

    /// What apt says.
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.apt.command("apt-get");
        let Output { status, stdout, stderr } =
            command.env("APT_CONFIG", self.seen.join("apt.conf")).args(arguments).output().unwrap();
        let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        if status.success() { Ok(said) } else { Err(said) }
    }

    /// The text of the package index that is in use.
    fn index(&self) -> Option<String> {
        let lists = fs_err::read_dir(self.directory.path().join("var/lib/apt/lists")).unwrap();
        let mut paths = lists.map(|entry| entry.unwrap().path());
        let path = paths.find(|path| path.to_str().unwrap().ends_with("_Packages"))?;
        Some(fs_err::read_to_string(path).unwrap())
    }
}
