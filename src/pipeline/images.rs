//! From the template to the disks: a tree for the template and one for each node, laid out and
//! written; of each node also what it has beside the disk that it boots from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fam_host::parallel::{both, parallel};
use fam_image::{BootCode, DiskMap, Identity, ImageSettings, lay_out, lay_out_further, qcow2, raw};
use fam_isolation::supervisor::Artifact;
use fam_plugin::Node;
use fam_progress::{Progress, Task};
use fam_tree::{Overlay, RootPath, Store, Tree};
use fs_err::File;

use super::Error;
use super::disk_ids::DiskIds;
use super::disk_turn::DiskTurn;
use super::image_record::{IMAGES_AT_ONCE, Image, ImageRecord, Inputs};
use super::job::Job;
use super::volume_sources::Sources;
use super::volumes;
use crate::fabric::image_of_disk;
use crate::recipe::Settings;

/// The raw image of the template.
pub(super) const TEMPLATE_IMAGE: &str = "fabric_template.img";
/// How many images that stay are named.
const MOST_NAMED: usize = 8;
/// The image on which the overlays of thin nodes lie.
pub(super) const BACKING_IMAGE: &str = "fabric_backing.qcow2";

/// Everything that the disks of a build are made of.
#[derive(Debug)]
pub(super) struct Disks<'a> {
    pub(super) job: &'a Job,
    /// The nodes, by number.
    pub(super) nodes: &'a [Node],
    pub(super) tree: &'a Tree,
    pub(super) store: Arc<dyn Store>,
    pub(super) disk_turn: DiskTurn,
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
#[derive(Debug, Clone, Copy, Hash)]
enum Which<'a> {
    /// The one that it boots from.
    Boot,
    /// One beside it.
    Further { index: usize, label: &'a str },
}

impl Which<'_> {
    /// The image on which those of thin nodes lie.
    fn backing_image(self) -> String {
        match self {
            Self::Boot => BACKING_IMAGE.to_owned(),
            Self::Further { label, .. } => backing_image(label),
        }
    }
}

/// The images of one of the disks, and which of them are to be written.
#[derive(Debug)]
struct Images<'a> {
    which: Which<'a>,
    /// What thin nodes' images lie on.
    backing: Option<Image>,
    backing_is_stale: bool,
    /// Of each node, by number.
    nodes: Vec<Image>,
    /// The positions in `nodes` of those that are to be written.
    stale_nodes: Vec<usize>,
}

impl Images<'_> {
    fn is_stale(&self) -> bool {
        self.backing_is_stale || !self.stale_nodes.is_empty()
    }
}

/// The maps of one of the disks: of the first node, and of the second if there is one. The second
/// node stands for all further ones: what it shares with the first, all share.
#[derive(Debug)]
struct Pair<'a> {
    images: Images<'a>,
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

impl Disks<'_> {
    fn settings(&self, layout: &Identity) -> ImageSettings {
        image_settings(&self.job.settings, layout, &self.sources, self.timestamp)
    }

    /// Lays out the template, without what plugins make of a node.
    fn template_map(&self) -> Result<DiskMap, Error> {
        let identity = &self.ids.template;
        let contents = self.sources.contents(&self.store);
        Ok(lay_out(self.tree, contents, &BTreeSet::new(), identity, &self.settings(identity))?)
    }

    /// Lays out a disk of the node at `index`. What any node changes comes last on each, so that
    /// all that comes before lies at the same place on all.
    fn node_map(&self, which: Which<'_>, index: usize, laid_last: &BTreeSet<RootPath>) -> Result<DiskMap, Error> {
        let tree = self.overlays[index].apply(self.tree);
        let identity = self.ids.of_node(self.nodes[index].number);
        let settings = self.settings(if self.one_layout { &self.ids.template } else { &identity });
        let contents = self.sources.contents(&self.store);
        Ok(match which {
            Which::Boot => lay_out(&tree, contents, laid_last, &identity, &settings)?,
            Which::Further { index, .. } => lay_out_further(index, &tree, contents, laid_last, &identity, &settings)?,
        })
    }

    fn pair<'b>(&self, images: Images<'b>, laid_last: &BTreeSet<RootPath>) -> Result<Pair<'b>, Error> {
        let map = |&index: &usize| self.node_map(images.which, index, laid_last).map(Arc::new);
        let first_two: Vec<usize> = (0..self.overlays.len().min(2)).collect();
        let mut maps = at_once(&first_two, map)?.into_iter();
        let first = maps.next().expect("there is at least one node");
        Ok(Pair { images, first, second: maps.next() })
    }

    /// What all images of one disk are made of, but for what nodes have of their own.
    fn inputs(&self, what: &str, which: Which<'_>) -> Result<Inputs, Error> {
        let template = &self.ids.template;
        let mut settings = self.settings(template);
        // Of volumes that are elsewhere only the place counts.
        for (index, volume) in settings.disks.iter_mut().enumerate() {
            volume.source.take_if(|_| !matches!(which, Which::Further { index: own, .. } if own == index));
        }
        for volume in &mut settings.partitions {
            volume.source.take_if(|_| !matches!(which, Which::Boot));
        }
        let volumes = settings.partitions.iter().chain(&settings.disks).filter(|volume| volume.source.is_some());
        let digests: Vec<_> = volumes.map(|volume| self.sources.digest(&volume.label)).collect();
        Ok(Inputs::new(what)?.with((template, &settings, which, digests)))
    }

    /// What the map of a node's disk is made of, beside that.
    fn of_node(&self, index: usize) -> (&Overlay, Identity) {
        (&self.overlays[index], self.ids.of_node(self.nodes[index].number))
    }

    /// The images of one of the disks. Each stands on the maps of the first two nodes, which decide what
    /// all have in common.
    fn images<'b>(
        &self,
        which: Which<'b>,
        laid_last: &BTreeSet<RootPath>,
        record: &ImageRecord<'_>,
    ) -> Result<Images<'b>, Error> {
        let (thin, compression) = (self.job.settings.thin.value, self.qcow2_options().compression);
        let common = self.inputs("node", which)?.with((thin, compression, self.one_layout, laid_last));
        let first_two = 0..self.overlays.len().min(2);
        let common = first_two.fold(common, |inputs, index| inputs.with((index, self.of_node(index))));
        let backing = thin.then(|| common.clone().with("backing").image(which.backing_image()));
        let node = |index| common.clone().with(("node", self.of_node(index))).image(self.image_name(which, index));
        let nodes: Vec<_> = (0..self.overlays.len()).map(node).collect();
        let stale_nodes = (0..nodes.len()).filter(|&index| !record.keeps(&nodes[index])).collect();
        let backing_is_stale = backing.as_ref().is_some_and(|backing| !record.keeps(backing));
        Ok(Images { which, backing, backing_is_stale, nodes, stale_nodes })
    }

    fn qcow2_options(&self) -> qcow2::Options {
        let default = qcow2::Options::default();
        let Settings { recipe, jobs, .. } = &self.job.settings;
        qcow2::Options { compression: recipe.disk.compress.value, jobs: jobs.unwrap_or(default.jobs) }
    }

    /// Says how the disks start.
    fn announce_boot(&self, progress: &Progress) -> Result<(), Error> {
        let sector_size = self.job.settings.recipe.disk.sector_size.value;
        match BootCode::of(self.tree, sector_size)? {
            BootCode::Grub => {}
            BootCode::UefiOnly => {
                progress.step(format!("Disks get sectors of {sector_size} bytes, and start by UEFI alone"));
            }
            BootCode::None => progress.warning(
                "the root tree has no GRUB in /boot/grub, so the disks do not start by themselves",
                Some(
                    "include grub2-common, grub-pc-bin and grub-efi-amd64-bin, or boot the kernel with QEMU's -kernel"
                        .into(),
                ),
            ),
        }
        Ok(())
    }

    /// Writes the template's raw image and, of each node, one qcow2 for each of its disks; those that
    /// `record` keeps stay as they are.
    ///
    /// # Errors
    /// When a tree does not fit its disk, or a file cannot be written.
    pub(super) fn write(&self, record: &ImageRecord<'_>, progress: &Progress) -> Result<(), Error> {
        let laid_last: BTreeSet<RootPath> =
            self.overlays.iter().flat_map(|overlay| overlay.iter().map(|(path, _)| path.clone())).collect();
        let image = self.inputs("template", Which::Boot)?.image(TEMPLATE_IMAGE.to_owned());
        let template = Some(image).filter(|image| !record.keeps(image));
        self.announce_boot(progress)?;
        let labels = volumes::disk_labels(&self.job.settings.recipe.disk);
        let further = labels.iter().enumerate().map(|(index, label)| Which::Further { index, label });
        let images = [Which::Boot].into_iter().chain(further).map(|which| self.images(which, &laid_last, record));
        let images = images.collect::<Result<Vec<_>, _>>()?;
        let stale = images.into_iter().filter(Images::is_stale);
        let (disks, template) = both(
            || stale.map(|images| self.pair(images, &laid_last)).collect::<Result<Vec<_>, _>>(),
            || template.map(|image| Ok::<_, Error>((self.template_map()?, image))).transpose(),
        );
        let (template, disks) = (template?, disks?);
        let kept = record.kept();
        if !kept.is_empty() {
            let which = if kept.len() <= MOST_NAMED { kept.join(", ") } else { format!("{} images", kept.len()) };
            progress.step(format!("Keeping {which}: neither they nor what they are made of changed"));
        }
        if template.is_none() && disks.is_empty() {
            return Ok(());
        }
        self.write_stale(template, disks, &laid_last, record, progress)
    }

    fn write_stale(
        &self,
        template: Option<(DiskMap, Image)>,
        disks: Vec<Pair<'_>>,
        laid_last: &BTreeSet<RootPath>,
        record: &ImageRecord<'_>,
        progress: &Progress,
    ) -> Result<(), Error> {
        let of_template = template.as_ref().map_or(0, |(map, _)| map.data_bytes());
        let of_nodes = disks.iter().map(|pair| {
            let whole = if self.job.settings.thin.value { 1 } else { pair.images.stale_nodes.len() as u64 };
            pair.first.data_bytes() * whole
        });
        let running = progress.task(Task::Images, of_template + of_nodes.sum::<u64>());
        let on_bytes = |count| running.advance(count);

        // The raw image waits for the disk, the compressed ones for processors, so they are written
        // at the same time. The tarball waits for the disk, too, and comes before the raw image.
        let write_raw = || {
            let Some((map, image)) = template else { return Ok(()) };
            let artifact = self.job.output.create_private(&image.name)?;
            let _turn = self.disk_turn.take();
            raw::write(&map, artifact.file(), &on_bytes)?;
            record.finish(vec![(artifact, image)])
        };
        let mut disks = disks.into_iter();
        let write_nodes = || {
            disks.try_for_each(|pair| {
                let artifacts = if self.job.settings.thin.value {
                    self.write_thin(pair, laid_last, &on_bytes)?
                } else {
                    self.write_whole(pair, laid_last, &on_bytes)?
                };
                record.finish(artifacts)
            })
        };
        let (nodes, raw_image) = both(write_nodes, write_raw);
        nodes.and(raw_image)
    }

    fn write_whole(
        &self,
        Pair { images, first, second }: Pair<'_>,
        laid_last: &BTreeSet<RootPath>,
        on_bytes: qcow2::OnBytes<'_>,
    ) -> Result<Vec<(Artifact, Image)>, Error> {
        let Images { which, nodes, stale_nodes, .. } = images;
        let create = |&index: &usize| {
            let image: &Image = &nodes[index];
            Ok((self.job.output.create_private(&image.name)?, image.clone()))
        };
        let artifacts = stale_nodes.iter().map(create).collect::<Result<Vec<_>, Error>>()?;
        let files: Vec<&File> = artifacts.iter().map(|(artifact, _)| artifact.file()).collect();
        let options = self.qcow2_options();
        let full = qcow2::FullImages::write_bulk(&first, second.as_deref(), &files, options, on_bytes)?;
        let maps = Maps { disks: self, which, laid_last, first, second };
        let nodes: Vec<_> = stale_nodes.into_iter().zip(files).collect();
        at_once(&nodes, |&(index, file)| Ok(full.write_node(&*maps.take(index)?, file, on_bytes)?))?;
        Ok(artifacts)
    }

    fn write_thin(
        &self,
        Pair { images, first, second }: Pair<'_>,
        laid_last: &BTreeSet<RootPath>,
        on_bytes: qcow2::OnBytes<'_>,
    ) -> Result<Vec<(Artifact, Image)>, Error> {
        let Images { which, backing, backing_is_stale, nodes, stale_nodes } = images;
        let backing_name = which.backing_image();
        let artifact = self.job.output.create_private(&backing_name)?;
        let options = self.qcow2_options();
        let thin = qcow2::OverlayImages::write_backing(&first, second.as_deref(), artifact.file(), options, on_bytes)?;
        let maps = Maps { disks: self, which, laid_last, first, second };
        let mut artifacts = at_once(&stale_nodes, |&index| {
            let node = self.job.output.create_private(&nodes[index].name)?;
            thin.write_node(&*maps.take(index)?, &backing_name, node.file(), on_bytes)?;
            Ok((node, nodes[index].clone()))
        })?;
        // Before the images that lie on it. One that is there already has the same bytes.
        let backing = backing.filter(|_| backing_is_stale).map(|image| (artifact, image));
        artifacts.splice(..0, backing);
        Ok(artifacts)
    }

    fn image_name(&self, which: Which<'_>, index: usize) -> String {
        let name = &self.nodes[index].name;
        match which {
            Which::Boot => format!("{name}.qcow2"),
            Which::Further { label, .. } => image_of_disk(name, label),
        }
    }
}

/// The maps of all nodes. Those of the first two are there, the others are made when needed.
struct Maps<'a> {
    disks: &'a Disks<'a>,
    which: Which<'a>,
    laid_last: &'a BTreeSet<RootPath>,
    first: Arc<DiskMap>,
    second: Option<Arc<DiskMap>>,
}

impl Maps<'_> {
    fn take(&self, index: usize) -> Result<Arc<DiskMap>, Error> {
        match (index, &self.second) {
            (0, _) => Ok(Arc::clone(&self.first)),
            (1, Some(second)) => Ok(Arc::clone(second)),
            _ => Ok(Arc::new(self.disks.node_map(self.which, index, self.laid_last)?)),
        }
    }
}

/// Works on several at once, as many as have room in memory with their maps.
fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R, Error> + Sync) -> Result<Vec<R>, Error> {
    parallel(IMAGES_AT_ONCE, &AtomicBool::new(false), items, work)
}
