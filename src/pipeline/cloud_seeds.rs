//! Disks by which cloud-init makes nodes part of their cluster, where the system has it. They are no
//! part of the nodes' images: in a cloud, the cloud's own data counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fam_image::{Format, ImageSettings, SectorSize, Volume, VolumeIdentity, lay_out_further, raw};
use fam_isolation::supervisor::Artifact;
use fam_progress::Progress;
use fam_tree::{Content, Entry, Kind, RootPath, Timestamp, Tree};
use ssh_key::PrivateKey;

use super::Error;
use super::disk_ids;
use super::image_record::{Image, ImageRecord, Inputs};
use super::job::Job;
use super::template::Template;
use crate::fabric::{Cluster, Node, Seed, cloud_init};

/// The program that reads a seed.
const CLOUD_INIT: &str = "usr/bin/cloud-init";
/// The least that a FAT32 has; the file has holes.
const SIZE_BYTES: u64 = 64 << 20;

/// Writes a seed for each node, if the template has cloud-init and a plugin provides the cluster's
/// key, `private_key`. Else removes those of an earlier build, which would not fit.
///
/// # Errors
/// [`Error`]
pub(super) fn write(
    job: &Job,
    template: &Template,
    private_key: Option<&str>,
    time: i64,
    record: &ImageRecord<'_>,
    progress: &Progress,
) -> Result<(), Error> {
    let cluster = Cluster::new(&job.settings.recipe);
    let seed = Seed::from_bytes(job.seed);
    let wanted = template.tree.get(&RootPath::new(CLOUD_INIT)?).is_some();
    let public_key = private_key.filter(|_| wanted).and_then(public_key);
    if wanted && public_key.is_none() {
        progress.detail("no seeds for cloud-init: no plugin provides an ssh key of the cluster".to_owned());
    }
    let mut artifacts = Vec::new();
    for node in &cluster.nodes {
        let name = cloud_init::image(node.name());
        match &public_key {
            Some(key) => {
                let files = cloud_init::files(&cluster, node, &seed, key);
                artifacts.extend(write_one(job, template, name, &files, node, time, record)?);
            }
            None => job.remove_artifact(&name)?,
        }
    }
    record.finish(artifacts)
}

/// The public half of a private key, as a line of `authorized_keys`.
fn public_key(private: &str) -> Option<String> {
    let key = PrivateKey::from_openssh(private).ok()?;
    key.public_key().to_openssh().ok().map(|line| line.trim_end().to_owned())
}

/// Writes the seed of one node, unless it is there already.
fn write_one(
    job: &Job,
    template: &Template,
    name: String,
    files: &[(&'static str, String)],
    node: &Node,
    time: i64,
    record: &ImageRecord<'_>,
) -> Result<Option<(Artifact, Image)>, Error> {
    let mut tree = Tree::default();
    for (name, text) in files {
        let kind = Kind::File(Content::Inline(Arc::from(text.as_bytes())));
        let mtime = Timestamp { seconds: time, nanoseconds: 0 };
        tree.insert(RootPath::new(name)?, Entry { kind, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() });
    }
    let identity = disk_ids::of_template(&job.settings.recipe.disk);
    let fs_uuid = Seed::from_bytes(job.seed).uuid(&format!("seed {}", node.name()));
    let volume = Volume {
        label: cloud_init::LABEL.to_owned(),
        size_bytes: SIZE_BYTES,
        format: Format::Vfat,
        mount: None,
        source: Some(Arc::new(tree)),
        layout_uuid: fs_uuid,
    };
    let settings = ImageSettings {
        size_bytes: SIZE_BYTES,
        // Whatever the other disks have: the launch script adds it as one of such sectors.
        sector_size: SectorSize::Bytes512,
        label: String::new(),
        layout_uuid: fs_uuid,
        timestamp: time,
        partitions: Vec::new(),
        disks: vec![volume],
    };
    let identity = fam_image::Identity { disks: vec![VolumeIdentity { guid: fs_uuid, fs_uuid }], ..identity };
    let image = Inputs::new("seed")?.with((&identity, &settings)).image(name);
    if record.keeps(&image) {
        return Ok(None);
    }
    let nothing = Tree::default();
    let map = lay_out_further(0, &nothing, Arc::clone(&template.store), &BTreeSet::new(), &identity, &settings)?;
    // A key that opens the node is in it, if only the public half; the image beside it has as much.
    let artifact = job.output.create_private(&image.name)?;
    raw::write(&map, artifact.file(), &|_| {})?;
    Ok(Some((artifact, image)))
}
