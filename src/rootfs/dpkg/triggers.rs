//! Interest in triggers, as `/var/lib/dpkg/triggers` holds it.
//!
//! Only interest is registered. Nothing is pending after an unpacking onto an empty root: every package that is
//! interested is itself still to be configured, which does what its trigger would, and packages that activate a trigger by
//! name do it once more when dpkg configures them.

use std::collections::BTreeMap;

use super::package::{ControlError, Package};

/// Files in the directory of triggers that are no explicit triggers.
const RESERVED: [&str; 3] = ["File", "Unincorp", "Lock"];

/// Who is interested in what, in the order in which packages were given.
#[derive(Debug, Default)]
pub(super) struct Interest {
    /// The text of `triggers/File`: a path and a package a line.
    pub(super) files: String,
    /// The text of `triggers/NAME` by name: a package a line.
    pub(super) explicit: BTreeMap<String, String>,
}

impl Interest {
    /// Registers the interest that the package's triggers file declares (deb-triggers(5)).
    pub(super) fn add(&mut self, package: &Package) -> Result<(), ControlError> {
        let Some(file) = package.control.files.get("triggers") else { return Ok(()) };
        for line in String::from_utf8_lossy(&file.bytes).lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let malformed = || ControlError::Trigger(line.to_owned());
            let (directive, name) = line.split_once([' ', '\t']).ok_or_else(malformed)?;
            let name = name.trim_start();
            let suffix = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                "activate" | "activate-await" | "activate-noawait" => continue,
                _ => return Err(malformed()),
            };
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(malformed());
            }
            let interested = format!("{}{suffix}\n", package.qualified_name());
            if name.starts_with('/') {
                self.files.push_str(&format!("{name} {interested}"));
            } else if name.contains('/') || name.starts_with('.') || RESERVED.contains(&name) {
                return Err(malformed());
            } else {
                self.explicit.entry(name.to_owned()).or_default().push_str(&interested);
            }
        }
        Ok(())
    }
}
