//! OCI images with one disk, as KubeVirt takes them for a `containerDisk`: a file in `/disk`, owned by
//! the user of its QEMU (107). Format: the OCI image specification 1.0, "Image Layout", in one archive,
//! which skopeo calls `oci-archive`.
//!
//! The layer is not compressed, since the disk in it is.

use std::io::{self, Read, Seek, SeekFrom, Write};

use fam_tree::tar::TarWriter;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::member::{Attributes, add_text, directory, file};

/// The user and the group of QEMU in KubeVirt's pods.
const QEMU: u32 = 107;
/// The tag under which the archive has the image.
const TAG: &str = "latest";

/// The name of the archive with the disk of this name.
pub(super) fn archive_name(disk: &str) -> String {
    format!("{disk}.oci.tar")
}

/// Writes the image with the disk of this name, a qcow2 file of `disk_bytes`. It is read twice: the
/// layer's name in the archive is its digest.
pub(super) fn write(
    output: impl Write,
    name: &str,
    disk: &mut (impl Read + Seek),
    disk_bytes: u64,
    time: i64,
) -> io::Result<()> {
    let mut layer = |output: &mut dyn Write| -> io::Result<u64> {
        disk.seek(SeekFrom::Start(0))?;
        let mut tar = TarWriter::new(output);
        tar.header(&directory("disk", Attributes { id: 0, mode: 0o755 }, time))?;
        let name = format!("disk/{name}.qcow2");
        tar.header(&file(&name, disk_bytes, Attributes { id: QEMU, mode: 0o440 }, time))?;
        tar.contents(disk, disk_bytes)?;
        tar.finish()
    };
    let mut digest = Sha256::new();
    let layer_bytes = layer(&mut digest)?;
    let layer_digest = hex::encode(digest.finalize());

    let (config, config_digest) = encoded(&config(&layer_digest, time));
    let layers = [("application/vnd.oci.image.layer.v1.tar", layer_digest.as_str(), layer_bytes)];
    let config_part = ("application/vnd.oci.image.config.v1+json", config_digest.as_str(), config.len() as u64);
    let (manifest, manifest_digest) = encoded(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(config_part),
        "layers": layers.map(descriptor),
    }));
    let manifest_part = ("application/vnd.oci.image.manifest.v1+json", manifest_digest.as_str(), manifest.len() as u64);
    let mut of_index = descriptor(manifest_part);
    of_index["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    of_index["annotations"] = json!({ "org.opencontainers.image.ref.name": TAG });
    let (index, _) = encoded(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [of_index],
    }));

    let mut tar = TarWriter::new(output);
    add_text(&mut tar, "oci-layout", &encoded(&json!({ "imageLayoutVersion": "1.0.0" })).0, time)?;
    add_text(&mut tar, "index.json", &index, time)?;
    for name in ["blobs", "blobs/sha256"] {
        tar.header(&directory(name, Attributes { id: 0, mode: 0o755 }, time))?;
    }
    let blob = |digest: &str| format!("blobs/sha256/{digest}");
    add_text(&mut tar, &blob(&manifest_digest), &manifest, time)?;
    add_text(&mut tar, &blob(&config_digest), &config, time)?;
    tar.header(&file(&blob(&layer_digest), layer_bytes, Attributes::PLAIN, time))?;
    tar.contents_from(layer_bytes, |output| layer(output).map(drop))?;
    tar.finish().map(drop)
}

/// What is said of a part of an image: its type, its digest and its length.
fn descriptor((media_type, digest, bytes): (&str, &str, u64)) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes })
}

fn config(layer_digest: &str, time: i64) -> Value {
    let created = Timestamp::from_second(time).unwrap_or_default().to_string();
    json!({
        "created": created,
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
        "history": [{ "created": created, "created_by": "fam-build export" }],
    })
}

/// The bytes of a document, and their digest.
fn encoded(document: &Value) -> (Vec<u8>, String) {
    let bytes = document.to_string().into_bytes();
    let digest = hex::encode(Sha256::digest(&bytes));
    (bytes, digest)
}
