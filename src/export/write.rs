//! Writes the artifacts of one node in a format.

use std::io::{self, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::slice;

use fam_image::{OnBytes, qcow2, raw, vdi, vhdx, vmdk, write_stream};
use fam_isolation::supervisor::{self, OutputDir};
use fs_err::File;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::disk::{Disk, Role};
use super::error::Error;
use super::facts::{Facts, Machine};
use super::{Format, Request, incus, kubevirt, oci, ova, proxmox};
use crate::report::Artifact;

/// Where artifacts are written, and what all of them have in common.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) request: &'a Request,
    pub(super) facts: &'a Facts,
    pub(super) output: &'a OutputDir,
    /// The time of what is written, in seconds since 1970.
    pub(super) time: i64,
}

impl Writer<'_> {
    /// Writes one node, and says what was written.
    pub(super) fn node(
        &self,
        machine: &Machine,
        disks: &mut [Disk<'_>],
        on_bytes: OnBytes<'_>,
    ) -> Result<Vec<Artifact>, Error> {
        match self.request.format {
            Format::Vmdk => self.disks(disks, "vmdk", "disk for VMware", on_bytes),
            Format::Vdi => self.disks(disks, "vdi", "disk for VirtualBox", on_bytes),
            Format::Vhdx => self.disks(disks, "vhdx", "disk for Hyper-V", on_bytes),
            Format::Ova => self.ova(machine, disks, on_bytes),
            Format::Oci => self.oci(machine, disks, on_bytes),
            Format::Incus => self.incus(machine, disks, on_bytes),
            Format::Proxmox => Ok(Vec::new()),
        }
    }

    /// Writes the script for all nodes.
    pub(super) fn proxmox(&self, machines: &[Machine]) -> Result<Vec<Artifact>, Error> {
        let script = proxmox::script(self.facts, machines);
        Ok(vec![self.text(proxmox::SCRIPT, 0o755, &script, "makes machines of Proxmox VE of the images".to_owned())?])
    }

    fn jobs(&self) -> NonZero<usize> {
        self.request.jobs.unwrap_or_else(|| qcow2::Options::default().jobs)
    }

    /// A file with what `write` makes of these disks.
    fn private<'d>(
        &self,
        name: &str,
        what: String,
        disks: &mut [Disk<'d>],
        write: impl FnOnce(&File, &mut [Disk<'d>]) -> Result<(), Error>,
    ) -> Result<Artifact, Error> {
        // It holds the node's private keys, as its images do.
        let artifact = self.output.create_private(name)?;
        write(artifact.file(), disks)?;
        for disk in disks {
            disk.require_unchanged()?;
        }
        artifact.finish()?;
        Ok(self.written(name, what))
    }

    /// Each disk as a file of its own.
    fn disks(
        &self,
        disks: &mut [Disk<'_>],
        suffix: &str,
        what: &str,
        on_bytes: OnBytes<'_>,
    ) -> Result<Vec<Artifact>, Error> {
        let write = |disk: &mut Disk<'_>| {
            let (name, what) = (format!("{}.{suffix}", disk.stem()), format!("{what}: {}", disk.stem()));
            self.private(&name, what, slice::from_mut(disk), |file, disks| {
                let disk = &mut disks[0];
                let id = disk.id(self.request.format)?;
                let sector_size = disk.role.sector_size(self.facts.sector_size);
                match self.request.format {
                    Format::Vmdk => write_stream(file, |stream| self.vmdk(disk, stream, &name, id, on_bytes))?,
                    Format::Vdi => vdi::write(disk, file, id, on_bytes)?,
                    _ => vhdx::write(disk, sector_size, file, id, on_bytes)?,
                }
                Ok(())
            })
        };
        disks.iter_mut().map(write).collect()
    }

    fn vmdk(
        &self,
        disk: &mut Disk<'_>,
        output: &mut dyn Write,
        name: &str,
        id: Uuid,
        on_bytes: OnBytes<'_>,
    ) -> Result<(), Error> {
        // With the highest bit unset, it is never one of the numbers that mean none.
        let content_id = id.as_fields().0 >> 1;
        Ok(vmdk::write(disk, output, vmdk::Options { name, content_id, jobs: self.jobs() }, on_bytes)?)
    }

    fn ova(&self, machine: &Machine, disks: &mut [Disk<'_>], on_bytes: OnBytes<'_>) -> Result<Vec<Artifact>, Error> {
        let name = &machine.name;
        let what = format!("machine for VMware and VirtualBox: {name}");
        let written = self.private(&format!("{name}.ova"), what, disks, |file, disks| {
            let parts = disks.iter_mut().zip(1..).map(|(disk, number)| self.part(machine, number, disk, on_bytes));
            let mut parts = parts.collect::<Result<Vec<_>, Error>>()?;
            Ok(write_stream(file, |stream| ova::write(stream, self.facts, machine, &mut parts, self.time))?)
        });
        Ok(vec![written?])
    }

    /// The disk of this number, counted from 1, as it is in an OVA.
    fn part(
        &self,
        machine: &Machine,
        number: usize,
        disk: &mut Disk<'_>,
        on_bytes: OnBytes<'_>,
    ) -> Result<ova::Vmdk<supervisor::Artifact>, Error> {
        let name = ova::disk_name(machine, number);
        let id = disk.id(self.request.format)?;
        let mut unfinished = self.unfinished(&name)?;
        let mut hashing = Hashing { output: &mut unfinished, digest: Sha256::new(), bytes: 0 };
        self.vmdk(disk, &mut hashing, &name, id, on_bytes)?;
        let (bytes, sha256) = (hashing.bytes, hex::encode(hashing.digest.finalize()));
        unfinished.seek(SeekFrom::Start(0))?;
        let label = disk.role.label().map(str::to_owned);
        Ok(ova::Vmdk { name, label, bytes, sha256, disk_bytes: disk.bytes(), file: unfinished })
    }

    /// An image with each disk, and the manifest that names them.
    fn oci(&self, machine: &Machine, disks: &mut [Disk<'_>], on_bytes: OnBytes<'_>) -> Result<Vec<Artifact>, Error> {
        let mut written = Vec::new();
        for disk in &mut *disks {
            let stem = disk.stem().to_owned();
            let what = format!("OCI image with its disk for KubeVirt: {stem}");
            written.push(self.private(&oci::archive_name(&stem), what, slice::from_mut(disk), |file, disks| {
                let (mut qcow2, bytes) = self.qcow2(&mut disks[0], on_bytes)?;
                Ok(write_stream(file, |stream| oci::write(stream, &stem, &mut qcow2, bytes, self.time))?)
            })?);
        }
        let of_machine: Vec<_> = disks.iter().map(|disk| (disk.stem(), &disk.role)).collect();
        let manifest = kubevirt::manifest(self.facts, machine, &of_machine, &self.request.registry);
        let (name, what) =
            (format!("{}.kubevirt.yaml", machine.name), format!("machine for KubeVirt: {}", machine.name));
        written.push(self.text(&name, 0o644, &manifest, what)?);
        Ok(written)
    }

    /// An image of the disk that the machine boots from, and further ones as files that are attached.
    fn incus(&self, machine: &Machine, disks: &mut [Disk<'_>], on_bytes: OnBytes<'_>) -> Result<Vec<Artifact>, Error> {
        let name = &machine.name;
        let mut written = Vec::new();
        for disk in disks {
            let what = match &disk.role {
                Role::Boot => format!("image for Incus: {name}"),
                Role::Further(_) => format!("disk for Incus, attached beside the image: {}", disk.stem()),
                Role::Seed => {
                    let what = format!("seed for cloud-init, attached as it is: {}", disk.stem());
                    written.push(self.written(&disk.file_name, what));
                    continue;
                }
            };
            let is_boot = disk.role == Role::Boot;
            let file_name = format!("{}.incus.{}", disk.stem(), if is_boot { "tar" } else { "img" });
            written.push(self.private(&file_name, what, slice::from_mut(disk), |file, disks| {
                let disk = &mut disks[0];
                if !is_boot {
                    return Ok(raw::write_disk(disk, file, on_bytes)?);
                }
                let (mut qcow2, bytes) = self.qcow2(disk, on_bytes)?;
                Ok(write_stream(file, |stream| incus::write(stream, machine, &mut qcow2, bytes, self.time))?)
            })?);
        }
        Ok(written)
    }

    /// Writes the disk anew, since an image may stand on another one; with its length.
    fn qcow2(&self, disk: &mut Disk<'_>, on_bytes: OnBytes<'_>) -> Result<(supervisor::Artifact, u64), Error> {
        let mut unfinished = self.unfinished(&format!("{}.qcow2", disk.stem()))?;
        let options = qcow2::Options { jobs: self.jobs(), ..qcow2::Options::default() };
        qcow2::write_disk(disk, unfinished.file(), options, on_bytes)?;
        let bytes = unfinished.seek(SeekFrom::End(0))?;
        unfinished.seek(SeekFrom::Start(0))?;
        Ok((unfinished, bytes))
    }

    /// A file that is put into another one. It never gets its name, and is removed when it is
    /// dropped.
    fn unfinished(&self, name: &str) -> Result<supervisor::Artifact, Error> {
        Ok(self.output.create_private(&format!("{name}.inner"))?)
    }

    fn text(&self, name: &str, mode: u32, text: &str, what: String) -> Result<Artifact, Error> {
        let mut artifact = self.output.create_with_mode(name, mode)?;
        artifact.write_all(text.as_bytes())?;
        artifact.finish()?;
        Ok(self.written(name, what))
    }

    fn written(&self, name: &str, what: String) -> Artifact {
        let metadata = fs_err::metadata(self.output.path().join(name));
        Artifact { name: name.to_owned(), what, bytes: metadata.ok().map(|metadata| metadata.len()) }
    }
}

/// Passes bytes on, and notes their digest and their number.
struct Hashing<W> {
    output: W,
    digest: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.digest.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
