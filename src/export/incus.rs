//! Images for Incus: one archive with the description of the image and the disk
//! (<https://linuxcontainers.org/incus/docs/main/reference/image_format>, "unified tarball").

use std::io::{self, Read, Write};

use fam_tree::tar::TarWriter;

use super::facts::Machine;
use super::member::{Attributes, add_text, file};

/// Writes the image of `machine`, whose qcow2 disk has `disk_bytes`.
pub(super) fn write(
    output: impl Write,
    machine: &Machine,
    disk: &mut impl Read,
    disk_bytes: u64,
    time: i64,
) -> io::Result<()> {
    let mut tar = TarWriter::new(output);
    add_text(&mut tar, "metadata.yaml", metadata(machine, time).as_bytes(), time)?;
    tar.header(&file("rootfs.img", disk_bytes, Attributes::PLAIN, time))?;
    tar.contents(disk, disk_bytes)?;
    tar.finish().map(drop)
}

/// The description. GRUB of the disk is not signed, so Incus must be told to boot it all the same,
/// and says so by this property.
fn metadata(machine: &Machine, time: i64) -> String {
    let name = &machine.name;
    format!(
        "architecture: x86_64
creation_date: {time}
properties:
  architecture: x86_64
  description: \"{name}, built by fam-build\"
  name: {name}
  requirements.secureboot: \"false\"
"
    )
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::example;
    use super::*;

    #[test]
    fn the_description_says_what_incus_must_know() {
        let machine = &example("nodes.count = 1").machines(&[]).unwrap()[0];
        insta::assert_snapshot!("incus_metadata", metadata(machine, 1_750_000_000));
    }
}
