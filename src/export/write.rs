//! Writes the artifacts of one node in a format.

use std::io::{self, Seek, SeekFrom, Write};
use std::num::NonZero;

use fam_image::{OnBytes, Stream, qcow2, vdi, vhdx, vmdk};
use fam_isolation::supervisor::{self, OutputDir};
use fs_err::File;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::disk::Disk;
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
        disk: &mut Disk<'_>,
        on_bytes: OnBytes<'_>,
    ) -> Result<Vec<Artifact>, Error> {
        let name = &machine.name;
        let (suffix, what) = match self.request.format {
            Format::Vmdk => ("vmdk", "disk for VMware"),
            Format::Vdi => ("vdi", "disk for VirtualBox"),
            Format::Vhdx => ("vhdx", "disk for Hyper-V"),
            Format::Ova => ("ova", "machine for VMware and VirtualBox"),
            Format::Oci => ("oci.tar", "OCI image with its disk for KubeVirt"),
            Format::Incus => ("incus.tar", "image for Incus"),
            Format::Proxmox => return Ok(Vec::new()),
        };
        let file_name = format!("{name}.{suffix}");
        // It holds the node's private keys, as its image does.
        let artifact = self.output.create_private(&file_name)?;
        let file = artifact.file();
        let id = disk.id(self.request.format, name)?;
        match self.request.format {
            Format::Vmdk => self.vmdk(disk, &mut Stream::new(file), &file_name, id, on_bytes)?,
            Format::Vdi => vdi::write(disk, file, id, on_bytes)?,
            Format::Vhdx => vhdx::write(disk, file, id, on_bytes)?,
            Format::Ova => self.ova(machine, disk, file, id, on_bytes)?,
            Format::Oci | Format::Incus => self.around_qcow2(machine, disk, file, on_bytes)?,
            Format::Proxmox => {}
        }
        disk.require_unchanged()?;
        artifact.finish()?;
        let mut written = vec![self.written(&file_name, format!("{what}: {name}"))];
        if self.request.format == Format::Oci {
            let manifest = kubevirt::manifest(self.facts, machine, &self.request.registry);
            written.push(self.text(
                &format!("{name}.kubevirt.yaml"),
                0o644,
                &manifest,
                format!("machine for KubeVirt: {name}"),
            )?);
        }
        Ok(written)
    }

    /// Writes the script for all nodes.
    pub(super) fn proxmox(&self, machines: &[Machine]) -> Result<Vec<Artifact>, Error> {
        let script = proxmox::script(self.facts, machines);
        Ok(vec![self.text(proxmox::SCRIPT, 0o755, &script, "makes machines of Proxmox VE of the images".to_owned())?])
    }

    fn jobs(&self) -> NonZero<usize> {
        self.request.jobs.unwrap_or_else(|| qcow2::Options::default().jobs)
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

    fn ova(
        &self,
        machine: &Machine,
        disk: &mut Disk<'_>,
        file: &File,
        id: Uuid,
        on_bytes: OnBytes<'_>,
    ) -> Result<(), Error> {
        let name = ova::disk_name(machine);
        let mut unfinished = self.unfinished(&name)?;
        let mut hashing = Hashing { output: &mut unfinished, digest: Sha256::new(), bytes: 0 };
        self.vmdk(disk, &mut hashing, &name, id, on_bytes)?;
        let (bytes, sha256) = (hashing.bytes, hex::encode(hashing.digest.finalize()));
        let vmdk = ova::Vmdk { bytes, sha256, disk_bytes: disk.bytes() };
        unfinished.seek(SeekFrom::Start(0))?;
        Ok(ova::write(Stream::new(file), self.facts, machine, &vmdk, &mut unfinished, self.time)?)
    }

    /// Writes the disk anew, since an image may stand on another one, and then what has it in it.
    fn around_qcow2(
        &self,
        machine: &Machine,
        disk: &mut Disk<'_>,
        file: &File,
        on_bytes: OnBytes<'_>,
    ) -> Result<(), Error> {
        let mut unfinished = self.unfinished(&format!("{}.qcow2", machine.name))?;
        let options = qcow2::Options { jobs: self.jobs(), ..qcow2::Options::default() };
        qcow2::write_disk(disk, unfinished.file(), options, on_bytes)?;
        let bytes = unfinished.seek(SeekFrom::End(0))?;
        unfinished.seek(SeekFrom::Start(0))?;
        let output = Stream::new(file);
        match self.request.format {
            Format::Oci => oci::write(output, machine, &mut unfinished, bytes, self.time)?,
            _ => incus::write(output, machine, &mut unfinished, bytes, self.time)?,
        }
        Ok(())
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
