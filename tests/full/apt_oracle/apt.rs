//! An apt of its own: isolated configuration, state and cache in a temporary directory, real lists
//! from the real mirror.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use fam_archive::local::LocalDeb;
use fam_archive::packages::{Origin, PackageIndex};
use fam_archive::resolve::Recommends;

/// Names with the versions apt would install.
pub type Choice = BTreeMap<String, String>;

/// One release of Debian, with its updates and security suites or other suites.
pub struct Release {
    pub suite: &'static str,
    pub index: PackageIndex,
    /// Mirror and suite of each source.
    sources: Vec<(String, String)>,
    root: tempfile::TempDir,
}

/// The mirror of this machine's apt sources.
pub fn mirror() -> String {
    if let Ok(mirror) = std::env::var("MIRROR") {
        return mirror.trim_end_matches('/').to_owned();
    }
    let path = "/etc/apt/sources.list.d/debian.sources";
    let sources = fs_err::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let uri = sources.lines().find_map(|line| line.strip_prefix("URIs:")).expect("a field URIs in debian.sources");
    uri.trim().trim_end_matches('/').to_owned()
}

impl Release {
    /// A release with its updates and security suites.
    pub fn fetch(suite: &'static str) -> Self {
        Self::fetch_all(&[suite, &format!("{suite}-updates"), &format!("{suite}-security")], suite)
    }

    /// Downloads the lists of suites with apt and reads the very same files. `suite` is the one
    /// that makes up the base set.
    pub fn fetch_all(suites: &[&str], suite: &'static str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/dpkg", "var/lib/apt/lists/partial"] {
            fs_err::create_dir_all(root.path().join(directory)).unwrap();
        }
        let mirror = mirror();
        let sources = suites.iter().map(|&suite| {
            let is_security = suite.ends_with("-security");
            (if is_security { format!("{mirror}-security") } else { mirror.clone() }, suite.to_owned())
        });
        let sources: Vec<_> = sources.collect();
        let lines = sources.iter().map(|(mirror, suite)| format!("deb [trusted=yes] {mirror} {suite} main\n"));
        fs_err::write(root.path().join("etc/apt/sources.list"), lines.collect::<String>()).unwrap();
        for (name, force) in [("essential", "pkgCacheGen::ForceEssential \",\";\n"), ("apt", "")] {
            // The settings that mmdebstrap gives apt; a cache for each, so that both stay valid. A
            // mirror may be held back, and its rolling suites out of date.
            let settings = format!(
                "Dir \"{root}\";\nDir::Cache \"{root}/cache-{name}\";\nAPT::Architecture \"amd64\";\n\
                 APT::Architectures {{ \"amd64\"; }};\nAPT::Install-Recommends \"false\";\n\
                 Acquire::Languages \"none\";\nAcquire::GzipIndexes \"false\";\nAPT::Sandbox::User \"root\";\n\
                 Acquire::Check-Valid-Until \"false\";\nDebug::NoLocking \"true\";\n{force}",
                root = root.path().display(),
            );
            fs_err::create_dir_all(root.path().join(format!("cache-{name}/archives/partial"))).unwrap();
            fs_err::write(root.path().join(format!("{name}.conf")), settings).unwrap();
        }
        fs_err::write(root.path().join("var/lib/dpkg/status"), "").unwrap();

        let mut release = Self { suite, sources, index: PackageIndex::new("amd64"), root };
        let update = release.command(Base::Essential, Path::new("var/lib/dpkg/status")).arg("update").output().unwrap();
        assert!(update.status.success(), "apt-get update: {}", String::from_utf8_lossy(&update.stderr));
        release.index = release.with_files(&[]);
        release
    }

    /// The same lists, and packages in files.
    pub fn with_files(&self, files: &[LocalDeb]) -> PackageIndex {
        let mut index = PackageIndex::new("amd64");
        for (mirror, suite) in &self.sources {
            let origin = self.origin(mirror.clone(), suite.clone());
            index.add(self.list(mirror, suite), origin).unwrap();
        }
        files.iter().for_each(|file| file.add_to(&mut index).unwrap());
        index
    }

    /// The suite alone, without updates: what mmdebstrap reads when it is given a suite and a
    /// mirror.
    pub fn suite_alone(&self) -> PackageIndex {
        let mut index = PackageIndex::new("amd64");
        index.add(self.list(&mirror(), self.suite), self.origin(mirror(), self.suite.to_owned())).unwrap();
        index
    }

    fn origin(&self, mirror: String, suite: String) -> Origin {
        // apt keeps the InRelease file where it has the keys, and else its text alone.
        let files = ["InRelease", "Release"].map(|name| self.file(&mirror, &suite, name));
        let file = files.into_iter().find(|path| path.exists()).expect("a Release file among apt's lists");
        let text = fs_err::read_to_string(file).unwrap();
        let begin = text.find("\nOrigin: ").map_or(0, |begin| begin + 1);
        let end = text.find("-----BEGIN PGP SIGNATURE").unwrap_or(text.len());
        let release = fam_archive::release::Release::parse(&text[begin..end], jiff::Timestamp::now()).unwrap().names();
        Origin { mirror, suite, component: "main".into(), release }
    }

    fn list(&self, mirror: &str, suite: &str) -> String {
        fs_err::read_to_string(self.file(mirror, suite, "main_binary-amd64_Packages")).unwrap()
    }

    /// One of apt's lists.
    fn file(&self, mirror: &str, suite: &str, name: &str) -> PathBuf {
        let mirror = mirror.split_once("://").unwrap().1.replace('/', "_");
        self.root.path().join(format!("var/lib/apt/lists/{mirror}_dists_{suite}_{name}"))
    }

    /// Writes a preferences file, and returns the option by which apt takes it.
    pub fn preferences(&self, name: &str, text: &str) -> String {
        let path = self.root.path().join(format!("preferences-{name}"));
        fs_err::write(&path, text).unwrap();
        format!("-oDir::Etc::preferences={}", path.display())
    }

    /// What `apt-get` with `arguments` would leave installed where `installed` is. `--print-uris`
    /// decides as an installation does, and spares what `--simulate` spends on the order of
    /// unpacking, which is most of its time.
    ///
    /// # Errors
    /// With what apt says, where it refuses.
    pub fn simulate(
        &self,
        base: Base,
        recommends: &Recommends,
        installed: &Installed,
        arguments: &[String],
    ) -> Result<Choice, String> {
        let mut command = self.command(base, &installed.status);
        if *recommends == Recommends::All {
            command.arg("-oAPT::Install-Recommends=true");
        }
        let output = command.arg("--print-uris").args(arguments).output().unwrap();
        self.read(&output, installed)
    }

    fn read(&self, output: &Output, installed: &Installed) -> Result<Choice, String> {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if !output.status.success() {
            return Err(text(&output.stdout) + &text(&output.stderr));
        }
        let mut choice = installed.choice.clone();
        let mut is_removing = false;
        for line in text(&output.stdout).lines() {
            if let Some(names) = line.strip_prefix("  ").filter(|_| is_removing) {
                names.split_whitespace().for_each(|name| drop(choice.remove(name)));
                continue;
            }
            is_removing = line == "The following packages will be REMOVED:";
            // 'http://.../vim_9.1_amd64.deb' vim_2%3a9.1_amd64.deb 1567756 SHA256:...
            if let Some(file) = line.strip_prefix('\'').and_then(|line| line.split(' ').nth(1)) {
                let [name, version, _] = file.split('_').collect::<Vec<_>>()[..] else { panic!("{line}") };
                choice.insert(name.to_owned(), version.replace("%3a", ":"));
            }
        }
        Ok(choice)
    }

    /// A dpkg database in which `choice` is installed, by dpkg and not by apt.
    pub fn install(&self, choice: Choice) -> Installed {
        static DATABASES: AtomicUsize = AtomicUsize::new(0);
        let path = self.root.path().join(format!("status-{}", DATABASES.fetch_add(1, Ordering::Relaxed)));
        let mut text = String::new();
        for (name, version) in &choice {
            let mut versions = self.index.versions(name);
            let package = versions.find(|package| package.version() == version).expect("a version apt has too");
            text += &format!("{}\nStatus: install ok installed\n\n", package.stanza());
        }
        fs_err::write(&path, text).unwrap();
        Installed { choice, status: path }
    }

    /// Nothing installed.
    pub fn nothing(&self) -> Installed {
        Installed { choice: Choice::new(), status: self.root.path().join("var/lib/dpkg/status") }
    }

    fn command(&self, base: Base, status: &Path) -> Command {
        let mut command = Command::new("apt-get");
        let settings = match base {
            Base::Essential => "essential.conf",
            Base::Apt => "apt.conf",
        };
        let status = self.root.path().join(status);
        command.env("APT_CONFIG", self.root.path().join(settings)).env("LC_ALL", "C");
        // Distinct cache files for the two stages; with one file, each run would build it anew.
        let cache = format!("{}.bin", status.file_name().unwrap().display());
        command.arg(format!("-oDir::Cache::pkgcache={cache}"));
        command.arg(format!("-oDir::State::status={}", status.display())).arg("-y");
        command
    }
}

/// Which packages apt holds to be essential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Those that say so.
    Essential,
    /// These and apt itself, its own view.
    Apt,
}

/// A dpkg database.
#[derive(Clone)]
pub struct Installed {
    pub choice: Choice,
    status: PathBuf,
}
