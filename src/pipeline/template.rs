//! Makes the template, `fabric_template.tar`, from a base system. The staging tree exists only while
//! this module works.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use fam_host::regular;
use fam_isolation::sandbox::{self, Sandbox, StandIn};
use fam_progress::Progress;
use fam_rootfs::{bootloader, configure, growth};
use fam_tree::{Content, Entry, Kind, RootPath, Tree, tarball};
use fs_err::File;
use fs_err::os::unix::fs::FileExt;
use rustix::fs::{Mode, OFlags};

use super::base::{self, Base};
use super::file_state::Watched;
use super::job::Job;
use super::layers::Choice;
use super::packages::Selection;
use super::preflight::check_room;
use super::staging_place::StagingPlace;
use super::template_key::key;
use super::unfinished::Unfinished;
use super::{Error, disk_ids, network, volumes};
use crate::plugins::{Build, PluginPlan, StagingRoot};
use crate::recipe::Settings;
use crate::report::Start;

/// The root file system that all nodes share.
pub(super) const TEMPLATE: &str = "fabric_template.tar";
/// dpkg's database in a root tree.
pub(super) const DPKG_STATUS: &str = "var/lib/dpkg/status";
/// The longest file that is read whole.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// A root tree and the tarball that its files' bytes lie in.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) tree: Tree,
    pub(super) tarball: Arc<File>,
    /// The file that has the tarball's name or will have it: the tarball itself, or what that was
    /// decompressed from.
    pub(super) named: Watched,
    /// What it was made from.
    pub(super) start: Start,
    /// A new tarball, which has no name yet.
    unfinished: Option<Unfinished>,
}

impl Template {
    /// Gives a new tarball its name, as soon as it is durable.
    ///
    /// # Errors
    /// When the system fails to do so.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if let Some(unfinished) = self.unfinished.take() {
            unfinished.finish()?;
            self.named.was_renamed();
        }
        Ok(())
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
            Kind::File(Content::Inline(bytes)) => Some(bytes.to_vec()),
            Kind::File(Content::InTarball { offset, len }) => {
                let mut bytes = vec![0; usize::try_from(*len).ok()?];
                self.tarball.read_exact_at(&mut bytes, *offset).ok()?;
                Some(bytes)
            }
            _ => None,
        }
    }
}

/// Reads the root tarball that `--from-tarball` names.
pub(super) fn from_tarball(path: &Path, job: &Job) -> Result<Template, Error> {
    let named = Watched::new(regular::open(path).map_err(std::io::Error::from)?)?;
    let (tree, tarball) = tarball::open(named.file().try_clone()?, || unnamed_file(&job.output.work()))?;
    Ok(Template { tree, tarball: Arc::new(tarball), named, start: Start::Tarball, unfinished: None })
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
    let (copied_bytes, time) = (plugin_plan.copied_files().bytes(), build.facts().source_date_epoch);
    let maker = base::Maker { job, selection, choice, copied_bytes, progress };
    let Base { place, start, keeping } = maker.make()?;
    let template = complete(job, place, plugin_plan, build, progress)
        .and_then(|place| write(job, place, &key, time, start, progress));
    // Also where a plugin failed: the next build is to go on from here.
    keeping.wait(progress);
    template
}

/// Writes the tree as the tarball of the template, which begins with `key`. It has no name yet.
fn write(
    job: &Job,
    place: StagingPlace,
    key: &str,
    latest: i64,
    start: Start,
    progress: &Progress,
) -> Result<Template, Error> {
    let path = job.artifact(TEMPLATE);
    let root = File::open(place.staging.host_path())?;
    let survey = tarball::Survey::of(root.as_fd())?;
    check_room(job, &survey)?;
    progress.step(format!("Writing {}", path.display()));
    let artifact = job.output.create_private(TEMPLATE)?;
    let summary = survey.write(&place.staging.devices(), latest, Some(key), artifact.file())?;
    progress.detail(format!("{} entries, {} bytes", summary.entries, summary.bytes));
    // Frees the memory of the tree before the images need it.
    drop(place);
    let tarball = File::open(artifact.unfinished_path())?;
    let unfinished = Unfinished::new(artifact)?;
    let tree = tarball::index(&tarball)?;
    let named = Watched::new(tarball)?;
    Ok(Template { tree, tarball: Arc::clone(named.file()), named, start, unfinished: Some(unfinished) })
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
    let tree = tarball::index(named.file()).ok()?;
    Some(Template { tree, tarball: Arc::clone(named.file()), named, start: Start::Template, unfinished: None })
}

/// Makes a base system the one of the recipe: applies its settings and its plugins, and removes what
/// belongs to the build alone.
fn complete(
    job: &Job,
    place: StagingPlace,
    plugin_plan: &PluginPlan,
    build: &Build,
    progress: &Progress,
) -> Result<StagingPlace, Error> {
    let (recipe, staging) = (&job.settings.recipe, &place.staging);
    let source_date_epoch = build.facts().source_date_epoch;
    for mount in volumes::mount_points(&recipe.disk) {
        staging.create_dir_all(&RootPath::new(mount.as_str())?)?;
    }
    let grows = recipe.disk.grow.value && growth::prepare(staging, progress)?;
    let ids = disk_ids::of_template(&recipe.disk);
    let settings = bootloader::Settings {
        root_uuid: &disk_ids::root_uuid(&ids),
        esp_uuid: &disk_ids::esp_uuid(&ids),
        root_label: recipe.disk.label.as_str(),
        grows,
        more_fstab: &volumes::fstab(&recipe.disk, &ids),
        command_line: recipe.kernel.cmdline.as_str(),
    };
    bootloader::configure(staging, &settings)?;

    let mut stand_ins = StandIn::no_services();
    stand_ins.extend(bootloader::stand_ins(&settings));
    let inside = sandbox::Settings { source_date_epoch: Some(source_date_epoch), stand_ins, network: None };
    progress.step(format!("Applying {} plugins to the system", recipe.plugins.len()));
    let root = StagingRoot::new(staging, inside.clone(), progress.clone(), source_date_epoch);
    let mut root = root.with_copied_files(plugin_plan.copied_files()).with_network(network::of_host(&job.settings));
    plugin_plan.apply_system(&mut root, build)?;
    // Once more, since plugins may have changed /etc/fstab and the settings of GRUB.
    bootloader::apply_settings(staging, || Sandbox::enter(staging.host_path(), &inside), &settings, progress)?;
    configure::clean(staging)?;
    // Last: systemd updates /etc and /var at boot where the marks are older than /usr.
    configure::mark_up_to_date(staging)?;
    Ok(place)
}
