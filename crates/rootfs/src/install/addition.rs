//! Installs packages on top of a system that is configured already, by that system's own dpkg.
//!
//! Nothing of it is done on several cores, and initramfs and lists of modules are made whenever scripts
//! ask for them: it is for a few packages. What comes of it need not be the bytes of a system that was
//! installed at once, since scripts run in another order: users get other numbers, for one.

use fam_progress::Progress;
use fam_tree::RootPath;

use super::schedule::{self, Node, Step};
use super::{Error, node_of};
use crate::configure::{Configuration, OnTop};
use crate::dpkg::Package;
use crate::staging::Staging;
use crate::unpack::{self, DebFile};

/// Where the packages lie in the new system while they are installed: in a directory that no system has, so that
/// nothing is left of it.
const DIRECTORY: &str = ".fam-build-packages";

/// What to install in addition, and how.
#[derive(Debug)]
pub struct Addition<'a> {
    /// The packages, whose files are there.
    pub debs: &'a [DebFile],
    /// How to configure. Answers are not given again: the system has them already.
    pub configuration: &'a Configuration,
}

impl Addition<'_> {
    /// Installs the packages into the system in `staging`.
    ///
    /// # Errors
    /// [`Error`]. The staging tree is of no use then.
    pub fn run(&self, staging: &Staging, progress: &Progress) -> Result<(), Error> {
        let directory = RootPath::new(DIRECTORY).unwrap_or_default();
        let place = staging.create_dir_all(&directory).map_err(unpack::Error::Tree)?;
        let packages = self.debs.iter().map(|deb| deb.copy(&place, file_name(&deb.name).as_bytes()));
        let packages: Vec<Package> = packages.collect::<Result<_, _>>()?;
        let mut nodes: Vec<Node> = packages.iter().map(|package| node_of(package, false)).collect::<Result<_, _>>()?;
        // dpkg unpacks none before what it pre-depends on is configured.
        nodes.iter_mut().for_each(|node| node.preinst = true);

        let mut on_top = OnTop::begin(staging, self.configuration, &packages, progress)?;
        for step in schedule::second_stage(&nodes, &Default::default(), false).steps {
            let names = |positions: &[usize]| positions.iter().map(|&it| packages[it].name.clone()).collect::<Vec<_>>();
            match step {
                Step::Place(positions) => {
                    let files = names(&positions).into_iter().map(|name| format!("/{DIRECTORY}/{}", file_name(&name)));
                    on_top.unpack(files)?;
                }
                Step::Configure(positions) => on_top.configure(names(&positions))?,
                // dpkg runs it when it unpacks the package. There are no answers to give.
                Step::Preinst(_) | Step::Preseed => {}
            }
        }
        on_top.finish()?;
        staging.remove(&directory).map_err(unpack::Error::Tree)?;
        Ok(())
    }
}

fn file_name(package: &str) -> String {
    format!("{package}.deb")
}
