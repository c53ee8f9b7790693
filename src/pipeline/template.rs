//! Makes the template, `fabric_template.tar`, from a base system. It is written while the build goes on.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use fam_host::regular;
use fam_image::write_stream;
use fam_isolation::sandbox::{self, Sandbox, StandIn};
use fam_plugin::Root;
use fam_progress::Progress;
use fam_rootfs::{bootloader, configure, growth};
use fam_tree::{Entry, Kind, RootPath, Store, Tree, tarball};
use fs_err::File;
use rustix::fs::{Mode, OFlags};

use super::base::{self, Base};
use super::base_tree::BaseTree;
use super::disk_turn::DiskTurn;
use super::file_state::{FileState, Watched};
use super::job::Job;
use super::layers::{Choice, Keeping};
use super::packages::Selection;
use super::preflight::check_room;
use super::system::System;
use super::template_key::key;
use super::unfinished::Unfinished;
use super::{Error, disk_ids, volumes};
use crate::plugins::{Build, PluginPlan};
use crate::recipe::Settings;
use crate::report::Start;

/// The root file system that all nodes share.
pub(super) const TEMPLATE: &str = "fabric_template.tar";
/// dpkg's database in a root tree.
pub(super) const DPKG_STATUS: &str = "var/lib/dpkg/status";
/// The longest file that is read whole.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// A root tree, and where the bytes of its files lie.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) tree: Arc<Tree>,
    /// The template itself, what it was decompressed to, or what it is made from: the tarball of a layer, or a
    /// staging tree.
    pub(super) store: Arc<dyn Store>,
    /// The file that has the template's name; `None` while there is none.
    named: Option<Watched>,
    /// What it was made from.
    pub(super) start: Start,
    /// A new tarball, which has no name yet.
    unfinished: Option<Unfinished>,
    /// The layer that is kept meanwhile.
    _keeping: Option<Keeping>,
}

impl Template {
    /// Gives a new tarball its name, as soon as it is durable.
    ///
    /// # Errors
    /// When the system fails to do so.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if let Some(unfinished) = self.unfinished.take() {
            self.named = Some(unfinished.finish()?);
        }
        Ok(())
    }

    /// A new tarball has this turn until it is durable; other large files wait for it.
    pub(super) fn disk_turn(&self) -> DiskTurn {
        self.unfinished.as_ref().map(|unfinished| unfinished.disk_turn().clone()).unwrap_or_default()
    }

    /// The state of the file that has the template's name, if nothing has changed it; `None` as well where that
    /// would not show, or no file has the name yet.
    pub(super) fn tarball(&self) -> Option<&FileState> {
        self.named.as_ref()?.unchanged()
    }

    /// The time that files of the build are given: `SOURCE_DATE_EPOCH`, else that of the newest
    /// entry.
    pub(super) fn time(&self, settings: &Settings) -> i64 {
        let newest = self.tree.iter().map(|(_, entry)| entry.mtime.seconds).max().unwrap_or(0);
        settings.source_date_epoch.and_then(|time| i64::try_from(time).ok()).unwrap_or(newest)
    }

    /// The text of a file of the tree; `None` where there is none. No link is followed.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let bytes = self.bytes_of(self.tree.get(&RootPath::new(path).ok()?)?)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The text of a file of this tree or of an overlay on it; `None` of anything else.
    pub(super) fn text_of(&self, entry: &Entry) -> Option<String> {
        String::from_utf8(self.bytes_of(entry)?).ok()
    }

    fn bytes_of(&self, entry: &Entry) -> Option<Vec<u8>> {
        match &entry.kind {
            Kind::File(content) if content.len() > MAX_TEXT_BYTES => None,
            Kind::File(content) => content.read(&*self.store).ok(),
            _ => None,
        }
    }
}

/// Reads the root tarball that `--from-tarball` names.
pub(super) fn from_tarball(path: &Path, job: &Job) -> Result<Template, Error> {
    let named = Watched::new(regular::open(path).map_err(std::io::Error::from)?)?;
    let (tree, tarball) = tarball::open(named.file().try_clone()?, || unnamed_file(&job.output.work()))?;
    let (tree, store) = (Arc::new(tree), Arc::new(tarball));
    Ok(Template { tree, store, named: Some(named), start: Start::Tarball, unfinished: None, _keeping: None })
}

/// Makes a file in `directory` whose space is freed when it is closed.
pub(super) fn unnamed_file(directory: &Path) -> std::io::Result<File> {
    let path = directory.join("tarball");
    let file = fs_err::OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    fs_err::remove_file(&path)?;
    Ok(file)
}

/// Reuses the template in the output directory if its key is that of this build, else makes a new
/// one.
pub(super) fn obtain(
    job: &Job,
    selection: &Selection,
    choice: &Choice,
    plugin_plan: &PluginPlan,
    build: &Build,
    progress: &Progress,
) -> Result<Template, Error> {
    let key = key(&job.settings, &job.answers, selection, plugin_plan, choice, build)?;
    let path = job.artifact(TEMPLATE);
    if !job.settings.fresh.value
        && let Some(template) = reuse(&path, &key)
    {
        progress.step(format!("Reusing {}: packages, recipe and plugins are unchanged", path.display()));
        return Ok(template);
    }
    let copied_bytes = plugin_plan.copied_files().bytes();
    let maker = base::Maker { job, selection, choice, copied_bytes, progress };
    let Base { tree, start, keeping } = maker.make()?;
    let (tree, store) = complete(&maker, tree, plugin_plan, build)?;
    check_room(job, tree.bytes(), tree.largest())?;
    progress.step(format!("Writing {}", path.display()));
    let (tree, artifact) = (Arc::new(tree), job.output.create_private(TEMPLATE)?);
    let unfinished = Unfinished::new(artifact, {
        let (tree, store, progress) = (Arc::clone(&tree), Arc::clone(&store), progress.clone());
        move |file| {
            let written = write_stream(file, |stream| tarball::write(&tree, &*store, Some(&key), stream))?;
            progress.detail(format!("{} entries, {} bytes", written.entries, written.bytes));
            Ok(())
        }
    })?;
    Ok(Template { tree, store, named: None, start, unfinished: Some(unfinished), _keeping: keeping })
}

/// The tarball at `path`, if this user made it of what `key` names. The output directory may be
/// /tmp, where others may put something of that name.
pub(super) fn current(path: &Path, key: &str) -> Option<File> {
    let tarball = regular::open_with(path, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty()).ok()?;
    if tarball.metadata().ok()?.uid() != rustix::process::geteuid().as_raw() {
        return None;
    }
    (tarball::comment(&tarball).ok()?? == key).then_some(tarball)
}

fn reuse(path: &Path, key: &str) -> Option<Template> {
    let named = Watched::new(current(path, key)?).ok()?;
    let tree = Arc::new(tarball::index(named.file()).ok()?);
    let store = named.file().clone();
    Some(Template { tree, store, named: Some(named), start: Start::Template, unfinished: None, _keeping: None })
}

/// Makes a base system the one of the recipe: applies its settings and its plugins, and removes what
/// belongs to the build alone.
fn complete(
    maker: &base::Maker<'_>,
    base: BaseTree,
    plugin_plan: &PluginPlan,
    build: &Build,
) -> Result<(Tree, Arc<dyn Store>), Error> {
    let base::Maker { job, progress, .. } = *maker;
    let (recipe, source_date_epoch) = (&job.settings.recipe, build.facts().source_date_epoch);
    let ids = disk_ids::of_template(&recipe.disk);
    let root_uuid = disk_ids::root_uuid(&ids);
    let mut stand_ins = StandIn::no_services();
    stand_ins.extend(bootloader::stand_ins(&root_uuid, recipe.disk.label.as_str()));
    let inside = sandbox::Settings { source_date_epoch: Some(source_date_epoch), stand_ins, network: None };
    let mut system = System::new(base, maker, inside.clone(), plugin_plan.copied_files(), source_date_epoch);

    let mut root = Root::new(&mut system);
    for mount in volumes::mount_points(&recipe.disk) {
        root.create_dir_all(mount.as_str())?;
    }
    let settings = bootloader::Settings {
        root_uuid: &root_uuid,
        esp_uuid: &disk_ids::esp_uuid(&ids),
        grows: recipe.disk.grow.value && growth::prepare(&mut root, progress)?,
        more_fstab: &volumes::fstab(&recipe.disk, &ids),
        command_line: recipe.kernel.cmdline.as_str(),
    };
    bootloader::configure(&mut root, &settings)?;

    progress.step(format!("Applying {} plugins to the system", recipe.plugins.len()));
    let applied = plugin_plan.apply_system(&mut system, build);
    applied.map_err(|error| system.take_failure().unwrap_or(error.into()))?;

    // Plugins may have changed /etc/fstab and the settings of GRUB.
    let root = Root::new(&mut system);
    bootloader::check_fstab(&root, &settings)?;
    if bootloader::has_further_settings(&root, &settings)? {
        let staging = system.staging()?;
        bootloader::make_config(|| Sandbox::enter(staging.host_path(), &inside), progress)?;
    }
    configure::clean(&mut system)?;
    // Last: systemd updates /etc and /var at boot where the marks are older than /usr.
    configure::mark_up_to_date(&mut Root::new(&mut system))?;
    system.complete()
}
