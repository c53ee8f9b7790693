//! Makes the template, `fabric_template.tar`, from the packages. The staging tree exists only while
//! this module works.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

use fam_archive::digest::sha256;
use fam_archive::fetch;
use fam_archive::lock::Lock;
use fam_host::regular;
use fam_host::space::{available_memory, require_space};
use fam_image::ROOT_PARTITION;
use fam_isolation::sandbox::{self, Sandbox, StandIn, TimeLimits};
use fam_progress::Progress;
use fam_rootfs::configure::{self, Answers, Configuration};
use fam_rootfs::install::Installation;
use fam_rootfs::staging::Staging;
use fam_rootfs::tmpfs;
use fam_rootfs::unpack::{Filters, UnpackOptions};
use fam_rootfs::{apt, bootloader, growth};
use fam_tree::{Content, Entry, Kind, RootPath, Tree, tarball};
use fs_err::File;
use fs_err::os::unix::fs::FileExt;
use rustix::fs::{Mode, OFlags};

use super::file_state::Watched;
use super::job::Job;
use super::packages::Selection;
use super::preflight::check_room;
use super::{Error, disk_ids, images, network, volumes};
use crate::plugins::{Build, PluginPlan, StagingRoot};
use crate::recipe::{Recipe, Settings};

/// The root file system that all nodes share.
pub(super) const TEMPLATE: &str = "fabric_template.tar";
/// dpkg's database in a root tree.
pub(super) const DPKG_STATUS: &str = "var/lib/dpkg/status";
/// The longest file that is read whole.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// Memory that a build takes in addition to the staging tree.
const WORKING_MEMORY_BYTES: u64 = 700 << 20;

/// A root tree and the tarball that its files' bytes lie in.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) tree: Tree,
    pub(super) tarball: Arc<File>,
    /// The file under the tarball's name: the tarball itself, or what that was decompressed from.
    pub(super) named: Watched,
    /// Whether it was there already.
    pub(super) reused: bool,
}

impl Template {
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
    Ok(Template { tree, tarball: Arc::new(tarball), named, reused: false })
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
    plugin_plan: &PluginPlan,
    build: &Build,
    progress: &Progress,
) -> Result<Template, Error> {
    let key = key(&job.settings, &job.answers, selection, plugin_plan, build)?;
    let path = job.artifact(TEMPLATE);
    if !job.settings.fresh.value
        && let Some(template) = reuse(&path, &key)
    {
        progress.step(format!("Reusing {}: packages, recipe and plugins are unchanged", path.display()));
        return Ok(template);
    }
    let place = StagingPlace::prepare(job, selection, plugin_plan.copied_files().bytes(), progress)?;
    let staging = Staging::open(&place.root)?;
    populate(job, selection, &place, &staging, plugin_plan, build, progress)?;

    let root = File::open(staging.host_path())?;
    let survey = tarball::Survey::of(root.as_fd())?;
    check_room(job, &survey)?;
    progress.step(format!("Writing {}", path.display()));
    let artifact = job.output.create_private(TEMPLATE)?;
    let devices: BTreeMap<_, _> = staging.devices().into_iter().collect();
    let latest = build.facts().source_date_epoch;
    let summary = survey.write(&devices, latest, Some(&key), artifact.file())?;
    progress.detail(format!("{} entries, {} bytes", summary.entries, summary.bytes));
    // Frees the memory of the tree before the images need it.
    drop(place);
    // The tarball gets its name only once a disk could be laid out from it: later builds reuse it.
    let written = File::open(artifact.unfinished_path())?;
    let tree = tarball::index(&written)?;
    images::check(&job.settings, &tree, &Arc::new(written), latest)?;
    artifact.finish()?;
    let named = Watched::new(File::open(&path)?)?;
    Ok(Template { tree, tarball: Arc::clone(named.file()), named, reused: false })
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
    Some(Template { tree, tarball: Arc::clone(named.file()), named, reused: true })
}

/// The SHA-256 of this program: another version may make something else of the same parts.
pub(super) fn program() -> std::io::Result<&'static str> {
    static DIGEST: OnceLock<String> = OnceLock::new();
    match DIGEST.get() {
        Some(digest) => Ok(digest),
        None => {
            let digest = sha256(&fs_err::read("/proc/self/exe")?).to_string();
            Ok(DIGEST.get_or_init(|| digest))
        }
    }
}

/// Names everything that a template is made of: the packages, what the recipe says of the system,
/// the facts that the plugins get, and this program itself.
pub(super) fn key(
    settings: &Settings,
    answers: &Answers,
    selection: &Selection,
    plugin_plan: &PluginPlan,
    build: &Build,
) -> Result<String, Error> {
    let recipe = &settings.recipe;
    let parts = serde_json::json!({
        "program": program()?,
        "packages": selection.lock().to_toml(),
        "debconf": answers.reveal(),
        "paths": recipe.paths.iter().map(|listed| &listed.what).collect::<Vec<_>>(),
        "initramfs": recipe.initramfs.value,
        "kernel": recipe.kernel.cmdline.value,
        "label": recipe.disk.label.value,
        "fstab": volumes::fstab(&recipe.disk, &disk_ids::of_template(&recipe.disk)),
        "grow": recipe.disk.grow.value,
        "plugins": plugin_plan.system_key(build),
        "time": build.facts().source_date_epoch,
    });
    Ok(format!("fam-build template {}", sha256(parts.to_string().as_bytes())))
}

/// The rules of the recipe for paths of packages.
fn filters(recipe: &Recipe) -> Filters {
    recipe.paths.iter().map(|listed| listed.what.map(ToString::to_string)).collect()
}

/// Warns of answers that no package will ask for, since a name is wrong or a package is not
/// installed.
fn warn_of_idle_answers(answers: &Answers, lock: &Lock, progress: &Progress) {
    let is_installed = |name: &str| lock.packages.iter().any(|package| package.name == name);
    for package in answers.packages().into_iter().filter(|name| !is_installed(name)) {
        let hint = "the first word of an answer is the name of the package that asks".to_owned();
        progress.warning(format!("there are answers for the package {package}, which is not installed"), Some(hint));
    }
}

/// Fetches the packages and installs them at the same time: fetching waits for the network,
/// installing for processors.
fn fetch_and_install(
    job: &Job,
    selection: &Selection,
    place: &StagingPlace,
    staging: &Staging,
    source_date_epoch: i64,
    progress: &Progress,
) -> Result<(), Error> {
    let recipe = &job.settings.recipe;
    let installation = Installation {
        debs: &selection.debs(),
        first: &selection.first_stage(),
        unpack: &UnpackOptions {
            architecture: recipe.architecture.to_string(),
            // In every suite: from bookworm on packages count on it, and debootstrap does so for
            // bullseye, too.
            merged_usr: true,
            filters: filters(recipe),
            jobs: job.settings.jobs.value,
        },
        configuration: &Configuration {
            initramfs: recipe.initramfs.value,
            source_date_epoch,
            answers: job.answers.clone(),
            limits: TimeLimits::default(),
        },
    };
    let aside = Staging::open(&place.aside)?;
    let stop = AtomicBool::new(false);
    let (sender, arrivals) = mpsc::channel();
    let (fetched, installed) = thread::scope(|scope| {
        let fetching = scope.spawn(|| {
            let sender = sender;
            // Fails only after installing has ended, when arrivals no longer matter.
            selection.fetch(&stop, &|index| {
                let _ = sender.send(index);
            })
        });
        let installed = installation.run(arrivals, &stop, staging, &aside, progress);
        (fetching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), installed)
    });
    match (fetched, installed) {
        // Fetching stops where installing failed first: that error is the cause.
        (Err(fetch::Error::Stopped) | Ok(()), installed) => Ok(installed?),
        (Err(error), _) => Err(selection.not_fetched(error)),
    }
}

/// Fills an empty staging tree: installs the packages, makes it bootable, applies plugins, and
/// removes what belongs to the build alone.
fn populate(
    job: &Job,
    selection: &Selection,
    place: &StagingPlace,
    staging: &Staging,
    plugin_plan: &PluginPlan,
    build: &Build,
    progress: &Progress,
) -> Result<(), Error> {
    let recipe = &job.settings.recipe;
    let lock = selection.lock();
    warn_of_idle_answers(&job.answers, lock, progress);
    progress.step(format!("Fetching and unpacking {} packages", lock.packages.len()));
    let source_date_epoch = build.facts().source_date_epoch;
    fetch_and_install(job, selection, place, staging, source_date_epoch, progress)?;
    // The dpkg of the guest has to leave out the same paths.
    filters(recipe).configure_dpkg(staging)?;
    // `apt autoremove` in the guest asks for this record.
    let automatic = lock.packages.iter().filter(|package| package.automatic).map(|package| package.name.as_str());
    apt::record(staging, &lock.architecture, automatic)?;

    for mount in volumes::mount_points(&recipe.disk) {
        staging.create_dir_all(&RootPath::new(mount.as_str())?)?;
    }
    let grows = recipe.disk.grow.value && growth::prepare(staging, progress)?;
    let ids = disk_ids::of_template(&recipe.disk);
    let settings = bootloader::Settings {
        root_uuid: &disk_ids::root_uuid(&ids),
        esp_uuid: &disk_ids::esp_uuid(&ids),
        root_label: recipe.disk.label.as_str(),
        root_partition: ROOT_PARTITION,
        grows,
        more_fstab: &volumes::fstab(&recipe.disk, &ids),
        command_line: recipe.kernel.cmdline.as_str(),
    };
    let mut stand_ins = StandIn::no_services();
    stand_ins.extend(bootloader::stand_ins(&settings));
    let inside = sandbox::Settings { source_date_epoch: Some(source_date_epoch), stand_ins, network: None };
    let enter_sandbox = || Sandbox::enter(staging.host_path(), &inside);
    let mut sandbox = enter_sandbox()?;
    bootloader::install(staging, &mut sandbox, &settings, progress)?;
    sandbox.leave()?;

    progress.step(format!("Applying {} plugins to the system", recipe.plugins.len()));
    let root = StagingRoot::new(staging, inside.clone(), progress.clone(), source_date_epoch);
    let mut root = root.with_copied_files(plugin_plan.copied_files()).with_network(network::of_host(&job.settings));
    plugin_plan.apply_system(&mut root, build)?;
    // Once more, since plugins may have changed /etc/fstab and the settings of GRUB.
    bootloader::apply_settings(staging, enter_sandbox, &settings, progress)?;
    configure::clean(staging)?;
    // Last: systemd updates /etc and /var at boot where the marks are older than /usr.
    configure::mark_up_to_date(staging)?;
    Ok(())
}

/// A directory for the staging tree.
#[derive(Debug)]
struct StagingPlace {
    path: PathBuf,
    /// The root of the tree, empty.
    root: PathBuf,
    /// For files that do not belong to the tree yet; on the same file system, so that they can be
    /// renamed into it.
    aside: PathBuf,
}

impl StagingPlace {
    /// Takes memory if there is enough: nothing of the tree has to last, and the mount ends with
    /// the worker's namespace. Else takes the disk of the output directory. Plugins will copy
    /// `copied_bytes` into it.
    fn prepare(job: &Job, selection: &Selection, copied_bytes: u64, progress: &Progress) -> Result<Self, Error> {
        let path = job.output.work().join("staging");
        fs_err::create_dir(&path)?;
        // A quarter more than the packages: scripts and plugins make files, too.
        let packages = selection.installed_bytes();
        let needed = packages.saturating_add(packages / 4).saturating_add(copied_bytes);
        if available_memory().is_some_and(|available| available > needed.saturating_add(WORKING_MEMORY_BYTES)) {
            tmpfs::mount(&path, needed + WORKING_MEMORY_BYTES)
                .map_err(|source| Error::Staging { path: path.clone(), source })?;
            progress.detail("the staging tree is in memory");
        } else {
            require_space(&path, "the staging tree", needed)?;
            progress.detail("the staging tree is on disk: memory is short");
        }
        let (root, aside) = (path.join("root"), path.join("aside"));
        let place = Self { path, root, aside };
        fs_err::create_dir(&place.aside)?;
        fs_err::create_dir(&place.root)?;
        // Whatever the umask: other users of the new system must reach the tree, too.
        for directory in [&place.path, &place.root] {
            fs_err::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
        Ok(place)
    }
}

impl Drop for StagingPlace {
    /// Frees the memory of the tree. What cannot be removed here is removed with the work
    /// directory.
    fn drop(&mut self) {
        if rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH).is_ok() {
            let _ = fs_err::remove_dir(&self.path);
        } else {
            let _ = fs_err::remove_dir_all(&self.path);
        }
    }
}
