//! From the template to the disks: a tree for the template and one for each node, laid out and
//! written; of each node also what it has beside the disk that it boots from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fam_host::parallel::parallel;
use fam_image::{BootCode, DiskMap, Identity, ImageSettings, lay_out, lay_out_further, qcow2, raw};
use fam_isolation::supervisor::Artifact;
use fam_plugin::Node;
use fam_progress::{Progress, Task};
use fam_tree::{Overlay, RootPath, Tree};
use fs_err::File;

use super::Error;
use super::disk_ids::{self, DiskIds};
use super::job::Job;
use super::volume_sources::Sources;
use super::volumes;
use crate::fabric::image_of_disk;
use crate::recipe::Settings;

/// The raw image of the template.
pub(super) const TEMPLATE_IMAGE: &str = "fabric_template.img";
/// Nodes whose disks are written at the same time. Each takes some 30 MiB for the map of its disk.
const NODES_AT_ONCE: usize = 4;
/// The image on which the overlays of thin nodes lie.
pub(super) const BACKING_IMAGE: &str = "fabric_backing.qcow2";

/// Everything that the disks of a build are made of.
#[derive(Debug)]
pub(super) struct Disks<'a> {
    pub(super) job: &'a Job,
    /// The nodes, by number.
    pub(super) nodes: &'a [Node],
    pub(super) tree: &'a Tree,
    pub(super) tarball: Arc<File>,
    /// Seconds since 1970 for what has no time of its own.
    pub(super) timestamp: i64,
    /// What plugins made at the node stage of each node, by number.
    pub(super) overlays: Vec<Overlay>,
    pub(super) ids: DiskIds,
    /// What partitions and further disks get beside what the tree has for them.
    pub(super) sources: Sources,
    /// Whether file systems of nodes have the template's metadata, and their own UUID as a mere
    /// label on it.
    pub(super) one_layout: bool,
}

/// The image on which the overlays of thin nodes' further disk of this label lie.
pub(super) fn backing_image(label: &str) -> String {
    format!("fabric_backing-{label}.qcow2")
}

/// One of the disks that each node has.
#[derive(Debug, Clone, Copy)]
enum Which<'a> {
    /// The one that it boots from.
    Boot,
    /// One beside it.
    Further { index: usize, label: &'a str },
}

/// The maps of one of the disks: of the first node, and of the second if there is one. The second
/// node stands for all further ones: what it shares with the first, all share.
#[derive(Debug)]
struct Pair<'a> {
    which: Which<'a>,
    first: Arc<DiskMap>,
    second: Option<Arc<DiskMap>>,
}

fn image_settings(settings: &Settings, layout: &Identity, sources: &Sources, timestamp: i64) -> ImageSettings {
    let disk = &settings.recipe.disk;
    let (partitions, disks) = volumes::to_lay_out(disk, layout, sources);
    ImageSettings {
        size_bytes: disk.size.get().bytes(),
        sector_size: disk.sector_size.value,
        label: disk.label.to_string(),
        layout_uuid: layout.fs_uuid,
        timestamp,
        partitions,
        disks,
    }
}

/// Checks that a disk can hold what is in a new template. A disk that is only too small is reported
/// later, since the template is good for a larger one.
///
/// # Errors
/// [`Error::Image`] with the entry that no disk can hold.
pub(super) fn check(settings: &Settings, tree: &Tree, tarball: &Arc<File>, timestamp: i64) -> Result<(), Error> {
    let identity = disk_ids::of_template(&settings.recipe.disk);
    let settings = image_settings(settings, &identity, &Sources::default(), timestamp);
    let nothing_last = BTreeSet::new();
    let boot = [lay_out(tree, Arc::clone(tarball), &nothing_last, &identity, &settings)].into_iter();
    let further = (0..settings.disks.len())
        .map(|index| lay_out_further(index, tree, Arc::clone(tarball), &nothing_last, &identity, &settings));
    match boot.chain(further).filter_map(Result::err).find(|error| !error.is_lack_of_room()) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

impl Disks<'_> {
    fn settings(&self, layout: &Identity) -> ImageSettings {
        image_settings(&self.job.settings, layout, &self.sources, self.timestamp)
    }

    /// Lays out the template, without what plugins make of a node.
    fn template_map(&self) -> Result<DiskMap, Error> {
        let identity = &self.ids.template;
        let contents = self.sources.contents(&self.tarball);
        Ok(lay_out(self.tree, contents, &BTreeSet::new(), identity, &self.settings(identity))?)
    }

    /// Lays out a disk of the node at `index`. What any node changes comes last on each, so that
    /// all that comes before lies at the same place on all.
    fn node_map(&self, which: Which<'_>, index: usize, laid_last: &BTreeSet<RootPath>) -> Result<DiskMap, Error> {
        let tree = self.overlays[index].apply(self.tree);
        let identity = self.ids.of_node(self.nodes[index].number);
        let settings = self.settings(if self.one_layout { &self.ids.template } else { &identity });
        let contents = self.sources.contents(&self.tarball);
        Ok(match which {
            Which::Boot => lay_out(&tree, contents, laid_last, &identity, &settings)?,
            Which::Further { index, .. } => lay_out_further(index, &tree, contents, laid_last, &identity, &settings)?,
        })
    }

    fn pair<'b>(&self, which: Which<'b>, laid_last: &BTreeSet<RootPath>) -> Result<Pair<'b>, Error> {
        let map = |index| self.node_map(which, index, laid_last).map(Arc::new);
        Ok(Pair { which, first: map(0)?, second: (self.overlays.len() > 1).then(|| map(1)).transpose()? })
    }

    fn qcow2_options(&self) -> qcow2::Options {
        let default = qcow2::Options::default();
        let Settings { recipe, jobs, .. } = &self.job.settings;
        qcow2::Options { compression: recipe.disk.compress.value, jobs: jobs.unwrap_or(default.jobs) }
    }

    /// Writes the template's raw image and, of each node, one qcow2 for each of its disks.
    ///
    /// # Errors
    /// When a tree does not fit its disk, or a file cannot be written.
    pub(super) fn write(&self, progress: &Progress) -> Result<(), Error> {
        let template = self.template_map()?;
        match template.boot_code() {
            BootCode::Grub => {}
            BootCode::UefiOnly => progress.step(format!(
                "Disks get sectors of {} bytes, and start by UEFI alone",
                self.job.settings.recipe.disk.sector_size.value
            )),
            BootCode::None => progress.warning(
                "the root tree has no GRUB in /boot/grub, so the disks do not start by themselves",
                Some(
                    "include grub2-common, grub-pc-bin and grub-efi-amd64-bin, or boot the kernel with QEMU's -kernel"
                        .into(),
                ),
            ),
        }
        let laid_last: BTreeSet<RootPath> =
            self.overlays.iter().flat_map(|overlay| overlay.iter().map(|(path, _)| path.clone())).collect();
        let labels = volumes::disk_labels(&self.job.settings.recipe.disk);
        let further = labels.iter().enumerate().map(|(index, label)| Which::Further { index, label });
        let disks = [Which::Boot].into_iter().chain(further).map(|which| self.pair(which, &laid_last));
        let disks = disks.collect::<Result<Vec<_>, _>>()?;

        let nodes = self.overlays.len() as u64;
        let of_nodes: u64 = disks.iter().map(|pair| pair.first.data_bytes()).sum();
        let bytes = template.data_bytes() + if self.job.settings.thin.value { 1 } else { nodes } * of_nodes;
        let running = progress.task(Task::Images, bytes);
        let on_bytes = |count| running.advance(count);

        let output = &self.job.output;
        // The raw image waits for the disk, the compressed ones for processors, so they are written
        // at the same time.
        std::thread::scope(|scope| {
            let raw_image = scope.spawn(|| -> Result<(), Error> {
                let artifact = output.create_private(TEMPLATE_IMAGE)?;
                raw::write(&template, artifact.file(), &on_bytes)?;
                artifact.finish()?;
                Ok(())
            });
            let nodes = disks.into_iter().try_for_each(|pair| {
                if self.job.settings.thin.value {
                    self.write_thin(pair, &laid_last, &on_bytes)
                } else {
                    self.write_whole(pair, &laid_last, &on_bytes)
                }
            });
            let raw_image = raw_image.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            nodes.and(raw_image)
        })
    }

    fn write_whole(
        &self,
        Pair { which, first, second }: Pair<'_>,
        laid_last: &BTreeSet<RootPath>,
        on_bytes: qcow2::OnBytes<'_>,
    ) -> Result<(), Error> {
        let artifact = self.job.output.create_private(&self.image_name(which, 0))?;
        let options = self.qcow2_options();
        let images = qcow2::FullImages::write_first(&first, second.as_deref(), artifact.file(), options, on_bytes)?;
        let maps = Maps { disks: self, which, laid_last, second };
        let further: Vec<usize> = (1..self.overlays.len()).collect();
        let mut artifacts = at_once(&further, |&index| {
            let node = self.job.output.create_private(&self.image_name(which, index))?;
            images.write_next(&*maps.take(index)?, artifact.file(), node.file(), on_bytes)?;
            Ok(node)
        })?;
        artifacts.insert(0, artifact);
        finish_all(artifacts)
    }

    fn write_thin(
        &self,
        Pair { which, first, second }: Pair<'_>,
        laid_last: &BTreeSet<RootPath>,
        on_bytes: qcow2::OnBytes<'_>,
    ) -> Result<(), Error> {
        let backing_name = match which {
            Which::Boot => BACKING_IMAGE.to_owned(),
            Which::Further { label, .. } => backing_image(label),
        };
        let backing = self.job.output.create_private(&backing_name)?;
        let options = self.qcow2_options();
        let images = qcow2::OverlayImages::write_backing(&first, second.as_deref(), backing.file(), options, on_bytes)?;
        let maps = Maps { disks: self, which, laid_last, second };
        let nodes: Vec<usize> = (0..self.overlays.len()).collect();
        let mut artifacts = at_once(&nodes, |&index| {
            let map = if index == 0 { Arc::clone(&first) } else { maps.take(index)? };
            let node = self.job.output.create_private(&self.image_name(which, index))?;
            images.write_node(&map, &backing_name, node.file(), on_bytes)?;
            Ok(node)
        })?;
        artifacts.insert(0, backing);
        finish_all(artifacts)
    }

    fn image_name(&self, which: Which<'_>, index: usize) -> String {
        let name = &self.nodes[index].name;
        match which {
            Which::Boot => format!("{name}.qcow2"),
            Which::Further { label, .. } => image_of_disk(name, label),
        }
    }
}

/// The maps of all nodes but the first. That of the second is kept, the others are made when
/// needed.
struct Maps<'a> {
    disks: &'a Disks<'a>,
    which: Which<'a>,
    laid_last: &'a BTreeSet<RootPath>,
    second: Option<Arc<DiskMap>>,
}

impl Maps<'_> {
    fn take(&self, index: usize) -> Result<Arc<DiskMap>, Error> {
        match &self.second {
            Some(map) if index == 1 => Ok(Arc::clone(map)),
            _ => Ok(Arc::new(self.disks.node_map(self.which, index, self.laid_last)?)),
        }
    }
}

/// Works on several at once: most of it is waiting for the disk, not for a processor.
fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R, Error> + Sync) -> Result<Vec<R>, Error> {
    parallel(NODES_AT_ONCE, &AtomicBool::new(false), items, work)
}

/// Makes all durable, several at once, and only then gives them their names.
fn finish_all(artifacts: Vec<Artifact>) -> Result<(), Error> {
    at_once(&artifacts, |artifact| Ok(artifact.file().sync_all()?))?;
    // Each syncs once more, which finds nothing left to do.
    for artifact in artifacts {
        artifact.finish()?;
    }
    Ok(())
}
