//! Certificates of authorities that the mirrors of the build need, for apt and all else in a guest.

use std::fmt::Write as _;

use fam_plugin::{CaCertificate, Command, Result, Root};

/// Where an administrator puts certificates, which `update-ca-certificates(8)` adds to the public
/// ones.
const DIRECTORY: &str = "/usr/local/share/ca-certificates";
const UPDATE: &str = "/usr/sbin/update-ca-certificates";
const APT: &str = "/etc/apt/apt.conf.d/80fam-build-certificates";
/// For systems that have no public ones: apt takes a single file.
const TOGETHER: &str = "/etc/apt/fam-build-certificates.pem";

/// Has the system trust these.
pub(crate) fn install(certificates: &[CaCertificate], root: &mut Root<'_>) -> Result<()> {
    if certificates.is_empty() {
        return Ok(());
    }
    root.create_dir_all(DIRECTORY)?;
    let mut together = String::new();
    for CaCertificate { name, pem } in certificates {
        root.write(format!("{DIRECTORY}/{name}.crt"), pem)?;
        let _ = writeln!(together, "{}", pem.trim_end());
    }
    if root.exists(UPDATE) {
        return root.run(&Command::new("update-ca-certificates")).map(drop);
    }
    // Without the package ca-certificates nothing adds them to anything, and apt would trust
    // no server.
    root.create_dir_all("/etc/apt/apt.conf.d")?;
    root.write(TOGETHER, together)?;
    root.write(APT, format!("Acquire::https::CAInfo \"{TOGETHER}\";\n"))
}
