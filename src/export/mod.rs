//! The disks of nodes that were built, in the formats of other hypervisors, with what those need to
//! run them.
//!
//! [`export`] works on an output directory: the launch script in it tells what the nodes are
//! ([`Facts`]), and their images are read as a guest sees them, whatever has run on them since. What
//! is written are artifacts like those of a build. The same images give the same bytes.
//!
//! The formats of disks are [`fam_image`]'s; what surrounds a disk (archives, descriptions of
//! machines) is here, and is text made from the facts.

mod disk;
mod error;
mod facts;
mod incus;
mod kubevirt;
mod member;
mod oci;
mod ova;
mod proxmox;
mod write;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use fam_isolation::supervisor::{Interrupts, Isolation, OutputLock};
use fam_progress::{Progress, Task};

pub use error::Error;
pub use facts::{Facts, Machine};
pub use kubevirt::Registry;

use crate::recipe::SectorSize;
use crate::report::ExportReport;
use disk::{Disk, build_time, require_room};
use write::Writer;

/// What nodes are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum Format {
    /// VMware: disks as vSphere imports them (stream-optimized)
    Vmdk,
    /// VirtualBox: disks
    Vdi,
    /// Hyper-V: disks
    Vhdx,
    /// VMware and VirtualBox: machine and disks in one file
    Ova,
    /// KubeVirt: an OCI image with each disk (containerDisk), and the manifest of the machine
    Oci,
    /// Incus: an image of a virtual machine, and its further disks beside it
    Incus,
    /// Proxmox VE: a script that makes machines of the images that are there
    Proxmox,
}

impl Format {
    /// Whether what reads it can be told that a disk has such sectors. VMware and VirtualBox have
    /// disks of 512 alone; Incus has no setting for it.
    fn takes(self, sector_size: SectorSize) -> bool {
        match self {
            Self::Vmdk | Self::Vdi | Self::Ova | Self::Incus => sector_size == SectorSize::Bytes512,
            Self::Vhdx | Self::Oci | Self::Proxmox => true,
        }
    }
}

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// For what.
    pub format: Format,
    /// The directory of the nodes' images, where the artifacts go, too.
    pub output: PathBuf,
    /// The numbers of the nodes; none means all.
    pub nodes: Vec<u8>,
    /// Where the OCI images will be pushed, as the manifests of KubeVirt name it.
    pub registry: Registry,
    /// How many threads compress, where that is limited.
    pub jobs: Option<NonZeroUsize>,
    /// The time of what is written, in seconds since 1970, where one is given; else it is that of
    /// the build.
    pub time: Option<u64>,
}

/// Writes what was asked for.
///
/// # Errors
/// [`Error`]; no artifact is incomplete then. An interruption is one, too.
pub fn export(request: &Request, progress: &Progress, interrupts: &Interrupts) -> Result<ExportReport, Error> {
    let begin = Instant::now();
    // Before the lock, which would make a directory that is not there.
    let facts = Facts::of_directory(&request.output)?;
    let machines = facts.machines(&request.nodes)?;
    if !request.format.takes(facts.sector_size) {
        return Err(Error::SectorSize { format: request.format, sector_size: facts.sector_size });
    }
    let lock = OutputLock::acquire(&request.output, &Isolation::none())?;
    // An interruption ends the reading of the disk, so that what is unfinished is removed.
    let _shield = interrupts.shield();
    let written = write(request, &facts, &machines, &lock, progress, interrupts);
    let released = lock.release();
    if let (Err(_), Some(signal)) = (&written, interrupts.received()) {
        return Err(Error::Interrupted(fam_isolation::supervisor::Error::Interrupted { signal }));
    }
    let artifacts = written?;
    released?;
    Ok(ExportReport {
        output: request.output.display().to_string(),
        format: request.format.to_string(),
        artifacts,
        nodes: machines.iter().map(|machine| machine.number).collect(),
        seconds: begin.elapsed().as_secs_f64(),
    })
}

fn write(
    request: &Request,
    facts: &Facts,
    machines: &[Machine],
    lock: &OutputLock,
    progress: &Progress,
    interrupts: &Interrupts,
) -> Result<Vec<crate::report::Artifact>, Error> {
    let output = lock.directory();
    let writer = Writer {
        request,
        facts,
        output,
        time: request.time.and_then(|time| i64::try_from(time).ok()).unwrap_or_else(|| build_time(output.path())),
    };
    if request.format == Format::Proxmox {
        progress.step(format!("Writing {}", proxmox::SCRIPT));
        return writer.proxmox(machines);
    }
    // All of them first: what is wrong with the last one is not found out after minutes.
    let nodes = machines.iter().map(|machine| Disk::all_of(output.path(), facts, machine, interrupts));
    let mut nodes = nodes.collect::<Result<Vec<_>, Error>>()?;
    require_room(output.path(), request.format, &mut nodes)?;
    let written = nodes.iter().flatten().filter(|disk| disk.is_written_for(request.format));
    let running = progress.task(Task::Images, written.map(Disk::bytes).sum());
    let mut artifacts = Vec::new();
    for (machine, disks) in machines.iter().zip(&mut nodes) {
        progress.step(format!("Writing {} for {}", machine.name, request.format));
        artifacts.extend(writer.node(machine, disks, &|count| running.advance(count))?);
    }
    Ok(artifacts)
}
