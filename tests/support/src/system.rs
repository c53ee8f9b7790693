//! The default system under test: the main job as a newcomer has it, done once for all tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::bare::{bare_root, command_in};
use crate::shared::shared;
use crate::{mirror, succeed, user};

/// What `fam-build --mirror MIRROR --nodes 4` made.
#[derive(Debug)]
pub struct DefaultSystem {
    /// The directory of the artifacts. They belong to [`user`], and no test changes them.
    pub artifacts: PathBuf,
    /// All packages that the build fetched, for `--cache-dir`.
    pub cache: PathBuf,
    /// What the build printed, on both streams.
    pub said: String,
}

/// Where the build writes: the directory that README's session names.
const OUTPUT: &str = "var/tmp/fabric";

/// The default recipe with four nodes from the machine's mirror, built by a normal user with an
/// empty cache, in a root that has none of Debian's tools. The first test that asks waits for the
/// build.
pub fn default_system() -> DefaultSystem {
    let place = shared("default-system", |place| {
        let root = place.join("root");
        bare_root(&root);
        fs_err::create_dir_all(root.join(OUTPUT)).unwrap();
        succeed(Command::new("chown").arg(user()).arg(root.join(OUTPUT)));
        let log = fs_err::File::create(place.join("said")).unwrap();
        let mut build = command_in(&root, "fam-build");
        build.args(["--mirror", &mirror(), "--nodes", "4", "--output", &format!("/{OUTPUT}")]);
        build.stdout(log.file().try_clone().unwrap()).stderr(log.file().try_clone().unwrap());
        let begin = Instant::now();
        let status = build.status().unwrap();
        let said = fs_err::read_to_string(place.join("said")).unwrap();
        assert!(status.success(), "{status}\n{said}");
        println!("four nodes by a normal user, from nothing: {:.1} s", begin.elapsed().as_secs_f64());
        fs_err::rename(root.join(OUTPUT), place.join("artifacts")).unwrap();
        fs_err::rename(root.join("output/.cache/fam-build"), place.join("cache")).unwrap();
    });
    DefaultSystem {
        artifacts: place.join("artifacts"),
        said: fs_err::read_to_string(place.join("said")).unwrap(),
        cache: place.join("cache"),
    }
}

impl DefaultSystem {
    /// The path of an artifact.
    pub fn artifact(&self, name: &str) -> PathBuf {
        self.artifacts.join(name)
    }

    /// Copies artifacts, which share their blocks with the originals where the file system can do
    /// that.
    pub fn copy(&self, names: impl IntoIterator<Item = String>, to: &Path) {
        for name in names {
            let mut copy = Command::new("cp");
            copy.args(["--preserve=mode,ownership", "--reflink=auto"]).arg(self.artifact(&name));
            succeed(copy.arg(to));
        }
    }
}
