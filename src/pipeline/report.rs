//! What a build will write, and what it wrote.

use std::collections::BTreeSet;
use std::time::Instant;

use fam_plugin::Provided;

use super::cluster_files::{LOCK, NETWORK_XML, SBOM, SSH_CONFIG};
use super::images::{BACKING_IMAGE, TEMPLATE_IMAGE, backing_image};
use super::job::Job;
use super::packages::Selection;
use super::template::TEMPLATE;
use crate::fabric::{Cluster, KEY_FILE, KNOWN_HOSTS_FILE, LAUNCH_SCRIPT, image_of_disk};
use crate::plugins::provided;
use crate::recipe::Settings;
use crate::report::{Artifact, BuildReport, PlanReport, PlannedLayer, PlannedPackage, Start};

/// Names of all artifacts, with what each is.
fn artifacts(settings: &Settings, provided: &BTreeSet<Provided>) -> Vec<Artifact> {
    let mut artifacts = Vec::new();
    let mut add = |name: &str, what: String| artifacts.push(Artifact { name: name.to_owned(), what, bytes: None });
    let cluster = Cluster::new(&settings.recipe);
    if settings.thin.value {
        add(BACKING_IMAGE, "disk image that the nodes' images lie on".into());
        for label in &cluster.machine.disks {
            add(&backing_image(label), format!("disk image that the nodes' images of {label} lie on"));
        }
    }
    for node in &cluster.nodes {
        add(&node.image(), format!("disk image of {}", node.name()));
        for label in &cluster.machine.disks {
            add(&image_of_disk(node.name(), label), format!("disk {label} of {}", node.name()));
        }
    }
    add(LAUNCH_SCRIPT, "starts, stops and shows the nodes".into());
    if settings.from_tarball.is_none() {
        add(TEMPLATE, "root file system of the template".into());
        add(LOCK, "exact package set".into());
    }
    add(SBOM, "bill of materials (SPDX)".into());
    add(TEMPLATE_IMAGE, "raw disk image of the template".into());
    add(NETWORK_XML, "libvirt network".into());
    for node in &cluster.nodes {
        add(&format!("{}.xml", node.name()), format!("libvirt domain of {}", node.name()));
    }
    if provided.contains(&Provided::SshKeys) {
        add(SSH_CONFIG, "for ssh -F to the nodes".into());
        add(KEY_FILE, "ssh key of the cluster".into());
        add(KNOWN_HOSTS_FILE, "ssh host keys of the nodes".into());
    }
    artifacts
}

/// What a build of this selection would do.
pub(super) fn plan(
    settings: &Settings,
    provided: &BTreeSet<Provided>,
    selection: &Selection,
    networked: Vec<String>,
    reuses_template: bool,
    layer: Option<PlannedLayer>,
) -> PlanReport {
    let packages = selection.lock().packages.iter().enumerate().map(|(position, package)| PlannedPackage {
        name: package.name.clone(),
        version: package.version.clone(),
        architecture: package.architecture.clone(),
        download_bytes: package.size,
        installed_bytes: package.installed_size.saturating_mul(1024),
        file: selection.file_of(position).map(|path| path.display().to_string()),
        is_cached: selection.is_cached(package),
    });
    PlanReport {
        settings: settings.rows(),
        packages: packages.collect(),
        artifacts: artifacts(settings, provided),
        networked,
        reuses_template,
        layer,
    }
}

/// Reports the build that began at `begin`, with the bytes that its artifacts take on disk.
pub(super) fn built(job: &Job, start: Start, begin: Instant) -> BuildReport {
    let mut artifacts = artifacts(&job.settings, &provided(&job.plugins));
    // A tree without packages has no bill of materials.
    artifacts.retain(|artifact| artifact.name != SBOM || job.artifact(SBOM).exists());
    for artifact in &mut artifacts {
        // Not the length: images and the raw disk have holes. Blocks of stat(2) are of 512 bytes.
        let metadata = fs_err::metadata(job.artifact(&artifact.name));
        artifact.bytes = metadata.ok().map(|metadata| std::os::unix::fs::MetadataExt::blocks(&metadata) * 512);
    }
    BuildReport {
        output: job.output.path().display().to_string(),
        artifacts,
        nodes: job.settings.recipe.nodes.count.get(),
        reused_template: start == Start::Template,
        reused_layer: matches!(start, Start::Layer | Start::Incremental),
        seconds: begin.elapsed().as_secs_f64(),
    }
}
