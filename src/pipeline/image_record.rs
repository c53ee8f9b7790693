//! Which images of an earlier build stay as they are: those that are made of the same, and that nothing
//! has touched since.
//!
//! A build leaves a record beside the images. For each it has a digest of all that the image was made
//! of, and the [state](FileState) of its file; and of the tarball, where the contents of all images come
//! from, the state alone. An image is a pure function of what the digest is of, so one that would be the
//! same, and still has the bytes that were written, is not written again. A node that was started has
//! changed its disks, and gets fresh ones.
//!
//! What is not known is written anew: nothing depends on a record that is there, whole, or true.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::thread;

use fam_host::parallel::parallel;
use fam_host::regular;
use fam_image::qcow2;
use fam_isolation::supervisor::Artifact;
use fam_progress::Progress;
use fs_err::File;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Error;
use super::file_state::{FileState, PAUSE};
use super::job::Job;
use super::template::Template;
use super::template_key::program;

/// The record in the output directory.
pub(super) const RECORD: &str = ".fabric_images.json";
/// The form of the record. One of another form is passed over.
const FORMAT: u32 = 1;
/// 253 nodes with a hundred disks each have a third of it.
const MAX_RECORD_BYTES: u64 = 16 << 20;
/// Images that are synced, or nodes whose disks are written, at the same time. A disk takes some 30 MiB
/// for its map.
pub(super) const IMAGES_AT_ONCE: usize = 4;

/// A digest of all that an image is made of, but for the tarball. Values are added by [`Hash`], which is
/// derived: so a field that a type gets later is part of it.
#[derive(Debug, Clone)]
pub(super) struct Inputs(Sha256);

impl Inputs {
    /// Begins with this program. `what` tells one kind of image from another.
    pub(super) fn new(what: &str) -> Result<Self, Error> {
        let mut inputs = Self(Sha256::new());
        (program()?, what).hash(&mut inputs);
        Ok(inputs)
    }

    /// With one more value.
    pub(super) fn with(mut self, value: impl Hash) -> Self {
        value.hash(&mut self);
        self
    }

    /// The image of these inputs that is called `name`.
    pub(super) fn image(self, name: String) -> Image {
        Image { name, made_of: hex::encode(self.0.finalize()) }
    }
}

impl Hasher for Inputs {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        u64::from_le_bytes(std::array::from_fn(|index| digest[index]))
    }
}

/// An image of this build.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) name: String,
    made_of: String,
}

/// What the record says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    format: u32,
    tarball: FileState,
    images: BTreeMap<String, RecordedImage>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedImage {
    made_of: String,
    file: FileState,
}

/// The record of the build before, and what this build makes of it.
#[derive(Debug)]
pub(super) struct ImageRecord<'a> {
    job: &'a Job,
    before: BTreeMap<String, RecordedImage>,
    after: Mutex<After>,
}

#[derive(Debug, Default)]
struct After {
    kept: BTreeMap<String, RecordedImage>,
    /// With the state of each file before it got its name.
    written: BTreeMap<String, RecordedImage>,
}

impl<'a> ImageRecord<'a> {
    /// Reads the record in the output directory, as far as it is of images of this very tarball.
    pub(super) fn read(job: &'a Job, template: &Template) -> Self {
        let before = if job.settings.fresh.value { None } else { read(job) };
        let of_this_tarball = |record: &Recorded| template.tarball() == Some(&record.tarball);
        let before = before.filter(of_this_tarball).map(|record| record.images).unwrap_or_default();
        Self { job, before, after: Mutex::default() }
    }

    /// Whether the image is there as this build would write it. If so it stays, and is recorded again.
    pub(super) fn keeps(&self, image: &Image) -> bool {
        let Some(recorded) = self.before.get(&image.name).filter(|recorded| recorded.made_of == image.made_of) else {
            return false;
        };
        let is_there = open(self.job, &image.name).is_some_and(|(file, state)| {
            // What a running machine has not changed yet, it will.
            state == recorded.file && state.is_own() && qcow2::has_writer(&file).is_ok_and(|has_writer| !has_writer)
        });
        if is_there {
            let mut after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
            after.kept.insert(image.name.clone(), recorded.clone());
        }
        is_there
    }

    /// Makes images durable, several at once, and only then gives them their names.
    ///
    /// # Errors
    /// When the system fails to do so.
    pub(super) fn finish(&self, artifacts: Vec<(Artifact, Image)>) -> Result<(), Error> {
        let states = parallel(IMAGES_AT_ONCE, &AtomicBool::new(false), &artifacts, |(artifact, _)| {
            artifact.file().sync_all()?;
            Ok::<_, Error>(FileState::of(artifact.file())?)
        })?;
        // From its name on anybody may open a file: what is written to it then has another time.
        if !artifacts.is_empty() {
            thread::sleep(PAUSE);
        }
        // Each syncs once more, which finds nothing left to do.
        for ((artifact, image), file) in artifacts.into_iter().zip(states) {
            artifact.finish()?;
            let mut after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
            after.written.insert(image.name, RecordedImage { made_of: image.made_of, file });
        }
        Ok(())
    }

    /// The names of the images that stay.
    pub(super) fn kept(&self) -> Vec<String> {
        let after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
        after.kept.keys().cloned().collect()
    }

    /// Writes the record of all images that this build kept or wrote, for the next one. Without it that
    /// one takes longer, so this fails no build. The tarball has its name by now.
    pub(super) fn write(self, template: &Template, progress: &Progress) {
        if let Err(error) = self.try_write(template) {
            progress.detail(format!("no record of the images, so the next build writes them anew: {error}"));
        }
    }

    fn try_write(self, template: &Template) -> Result<(), Error> {
        let After { kept: mut images, written } = self.after.into_inner().unwrap_or_else(PoisonError::into_inner);
        // They, and the tarball as well, may have got their names just now.
        if !written.is_empty() {
            thread::sleep(PAUSE);
        }
        let Some(tarball) = template.tarball() else { return Ok(self.job.remove_artifact(RECORD)?) };
        let mut artifact = self.job.output.create_private(RECORD)?;
        // The time at which it was made is that of the clock by which the images have theirs.
        let now = FileState::of(artifact.file())?.modified();
        for (name, RecordedImage { made_of, file: before }) in written {
            let Some((_, file)) = open(self.job, &name) else { continue };
            if file.is_settled(now) && file.has_bytes_of(&before) {
                images.insert(name, RecordedImage { made_of, file });
            }
        }
        let record = Recorded { format: FORMAT, tarball: tarball.clone(), images };
        serde_json::to_writer_pretty(&mut artifact, &record).map_err(std::io::Error::from)?;
        artifact.write_all(b"\n")?;
        artifact.finish_if_changed()?;
        Ok(())
    }
}

/// Opens an artifact, and looks at it; `None` where there is no regular file of that name.
fn open(job: &Job, name: &str) -> Option<(File, FileState)> {
    let file = regular::open_with(&job.artifact(name), OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty()).ok()?;
    let state = FileState::of(&file).ok()?;
    Some((file, state))
}

/// The record, if it is one, and this user's: in a shared directory anyone may have put one there.
fn read(job: &Job) -> Option<Recorded> {
    let (file, _) = open(job, RECORD).filter(|(_, state)| state.is_own())?;
    let mut text = Vec::new();
    file.take(MAX_RECORD_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok().filter(|record: &Recorded| record.format == FORMAT)
}
