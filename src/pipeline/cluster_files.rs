//! The artifacts around the disks: lock, bill of materials, libvirt XML, launch script, ssh
//! configuration.

use std::io::Write;
use std::path::{Path, PathBuf};

use fam_archive::lock::Lock;
use fam_isolation::supervisor::OutputDir;
use fam_plugin::SshKeys;
use fam_progress::Progress;

use super::Error;
use super::job::Job;
use super::template::{DPKG_STATUS, Template};
use crate::fabric::{
    Cluster, Hypervisor, KEY_FILE, KNOWN_HOSTS_FILE, LAUNCH_SCRIPT, Seed, domain_xml, known_hosts, launch_script,
    network_xml, ssh_config,
};
use crate::sbom;

pub(super) const LOCK: &str = "fabric.lock";
pub(super) const SBOM: &str = "fabric.spdx.json";
pub(super) const NETWORK_XML: &str = "fabric_network.xml";
pub(super) const SSH_CONFIG: &str = "fabric_ssh_config";

/// apt's record of the packages that are installed only because others need them.
const EXTENDED_STATES: &str = "var/lib/apt/extended_states";
const OS_RELEASE: &str = "usr/lib/os-release";

fn write_artifact(output: &OutputDir, name: &str, mode: u32, text: &str) -> Result<PathBuf, Error> {
    let mut artifact = output.create_with_mode(name, mode)?;
    artifact.write_all(text.as_bytes())?;
    Ok(artifact.finish_if_changed()?)
}

/// Writes down the exact packages of the template.
pub(super) fn write_lock(output: &OutputDir, lock: &Lock) -> Result<PathBuf, Error> {
    write_artifact(output, LOCK, 0o644, &lock.to_toml())
}

/// Writes the bill of materials of the template, from its own dpkg database. Without packages in
/// it, as in a tarball of another distribution, removes the document of an earlier build instead.
pub(super) fn write_sbom(
    job: &Job,
    template: &Template,
    lock: Option<&Lock>,
    time: i64,
    progress: &Progress,
) -> Result<(), Error> {
    let text = template.text(DPKG_STATUS).and_then(|status| {
        sbom::render(&sbom::Known {
            status: &status,
            extended_states: &template.text(EXTENDED_STATES).unwrap_or_default(),
            os_release: &template.text(OS_RELEASE).unwrap_or_default(),
            lock,
            suite: lock.map(|_| job.settings.recipe.suite.as_str()),
            time,
        })
    });
    let Some(text) = text else {
        progress.detail(format!("no {SBOM}: the root tree has no packages in /{DPKG_STATUS}"));
        return Ok(job.remove_artifact(SBOM)?);
    };
    write_artifact(&job.output, SBOM, 0o644, &text).map(drop)
}

/// Writes everything that runs the disks. What ssh needs is there only where a plugin provides the
/// nodes' keys.
pub(super) fn write(job: &Job, ssh_keys: Option<&SshKeys>) -> Result<(), Error> {
    let cluster = Cluster::new(&job.settings.recipe);
    let seed = Seed::from_bytes(job.seed);
    let directory = job.output.path();
    write_artifact(&job.output, NETWORK_XML, 0o644, &network_xml(&cluster, &seed))?;
    for node in &cluster.nodes {
        let xml = domain_xml(&cluster, node, &seed, directory, hypervisor());
        write_artifact(&job.output, &format!("{}.xml", node.name()), 0o644, &xml)?;
    }
    write_artifact(&job.output, LAUNCH_SCRIPT, 0o755, &launch_script(&cluster, &seed))?;
    let Some(SshKeys { private_key, host_keys }) = ssh_keys else { return Ok(()) };
    // ssh refuses a private key that others can read.
    write_artifact(&job.output, KEY_FILE, 0o600, private_key)?;
    let keys = cluster.nodes.iter().flat_map(|node| {
        let keys = host_keys.get(node.name()).into_iter().flatten();
        keys.map(move |key| (node, key.as_str()))
    });
    let known = known_hosts(keys);
    write_artifact(&job.output, KNOWN_HOSTS_FILE, 0o644, &known)?;
    write_artifact(&job.output, SSH_CONFIG, 0o644, &ssh_config(&cluster, directory))?;
    Ok(())
}

/// What libvirt would run the nodes with on this host. It is a guess, which the launch script
/// replaces by what it finds when it defines the domains.
fn hypervisor() -> Hypervisor {
    if Path::new("/dev/kvm").exists() { Hypervisor::Kvm } else { Hypervisor::Qemu }
}
