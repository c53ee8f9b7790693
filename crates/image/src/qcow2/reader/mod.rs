//! Images that are there already, as the disk that a guest sees: whatever QEMU has written since, of
//! versions 2 and 3, compressed or not, also on backing files beside it.
//!
//! Not read, and refused by name: encrypted images, those with a data file of their own, backing
//! files elsewhere. Of an image with internal snapshots it is the present state that is read.
//!
//! An image may come from anybody. No table is read before it is known to lie in the file, what is
//! in memory is bounded by the size of a cluster (2 MiB at most) and of the first table (32 MiB), and
//! a backing file is a plain name in the image's own directory: what an image says leads nowhere
//! else. [QEMU](https://www.qemu.org/docs/master/interop/qcow2.html) is the judge of what is in one.

mod error;
mod header;
mod layer;
mod locks;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fam_host::regular;
use fs_err::File;
use rustix::fs::{Mode, OFlags};

pub use error::Error;
pub use locks::has_writer;

use crate::sparse::SparseDisk;
use header::BackingFormat;
use layer::{Layer, Mapping, Qcow2, Run, SECTOR_BYTES};

/// How many images may stand on one another.
const MOST_LAYERS: usize = 16;
/// An image with all that it stands on.
#[derive(Debug)]
pub struct Image {
    /// The image itself, then what it stands on.
    layers: Vec<Layer>,
    /// The length of each file and its time when it was opened.
    states: Vec<(u64, SystemTime)>,
}

impl Image {
    /// Opens the image at `path`, and its backing files, which lie in the same directory.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_as(path, BackingFormat::Qcow2)
    }

    /// Opens a raw disk, which stands on no other. Zeros follow it up to the end of its last sector, as
    /// with QEMU.
    ///
    /// # Errors
    /// As there.
    pub fn open_raw(path: &Path) -> Result<Self, Error> {
        Self::open_as(path, BackingFormat::Raw)
    }

    fn open_as(path: &Path, format: BackingFormat) -> Result<Self, Error> {
        let mut layers = Vec::new();
        let mut states = Vec::new();
        let mut next = Some((path.to_owned(), format));
        while let Some((below, format)) = next.take() {
            if layers.len() == MOST_LAYERS {
                return Err(Error::TooDeep { path: path.to_owned(), most: MOST_LAYERS });
            }
            let file = open_file(&below)?;
            states.push(state(&file)?);
            layers.push(match format {
                BackingFormat::Raw => Layer::raw(file)?,
                BackingFormat::Qcow2 => {
                    let image = Qcow2::open(file)?;
                    if let Some((name, format)) = &image.header().backing {
                        next = Some((beside(&below, name)?, *format));
                    }
                    Layer::Qcow2(image)
                }
            });
        }
        Ok(Self { layers, states })
    }

    /// Checks that no file of it was written to since it was opened.
    ///
    /// # Errors
    /// [`Error::Changed`], [`Error::InUse`].
    pub fn require_unchanged(&self) -> Result<(), Error> {
        for (layer, before) in self.layers.iter().zip(&self.states) {
            let file = layer.file();
            require_unused(file)?;
            if state(file)? != *before {
                return Err(Error::Changed { path: file.path().to_owned() });
            }
        }
        Ok(())
    }

    /// The layer that decides on `offset`, and what it says.
    fn run(&mut self, offset: u64) -> Result<(usize, Run), Error> {
        let mut len = self.size_bytes() - offset;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            // Behind the end of a smaller disk there are zeros, whatever that one stands on.
            if offset >= layer.size_bytes() {
                break;
            }
            let run = layer.run(offset)?;
            len = len.min(run.len);
            if run.mapping != Mapping::Nothing {
                return Ok((index, Run { len, ..run }));
            }
        }
        Ok((0, Run { mapping: Mapping::Zeros, len }))
    }
}

impl SparseDisk for Image {
    fn size_bytes(&self) -> u64 {
        self.layers[0].size_bytes().next_multiple_of(SECTOR_BYTES)
    }

    fn zeros_from(&mut self, offset: u64) -> Result<u64, crate::Error> {
        let mut zeros = 0;
        while offset + zeros < self.size_bytes() {
            let (_, run) = self.run(offset + zeros)?;
            if run.mapping != Mapping::Zeros {
                break;
            }
            zeros += run.len;
        }
        Ok(zeros)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), crate::Error> {
        let mut done = 0;
        while done < buffer.len() {
            let (index, run) = self.run(offset + done as u64)?;
            let len = run.len.min((buffer.len() - done) as u64) as usize;
            self.layers[index].read(run.mapping, &mut buffer[done..done + len])?;
            done += len;
        }
        Ok(())
    }
}

/// The file of this name in the directory of `path`.
fn beside(path: &Path, name: &str) -> Result<PathBuf, Error> {
    // QEMU takes what stands before a colon for a protocol.
    let plain = Path::new(name).file_name().is_some_and(|last| last == name) && !name.contains(':');
    if !plain {
        return Err(Error::BackingName { path: path.to_owned(), name: name.to_owned() });
    }
    Ok(path.with_file_name(name))
}

/// Opens a file that no virtual machine writes to. A link is not followed: the directory may be
/// /tmp, where anybody can put one.
fn open_file(path: &Path) -> Result<File, Error> {
    let file = regular::open_with(path, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty());
    let file = file.map_err(std::io::Error::from)?;
    require_unused(&file)?;
    Ok(file)
}

fn require_unused(file: &File) -> Result<(), Error> {
    if locks::has_writer(file)? { Err(Error::InUse { path: file.path().to_owned() }) } else { Ok(()) }
}

fn state(file: &File) -> Result<(u64, SystemTime), Error> {
    let metadata = file.metadata()?;
    Ok((metadata.len(), metadata.modified()?))
}

#[cfg(test)]
mod tests;
