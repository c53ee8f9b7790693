//! Triggers in dpkg's database: who is interested in which (`/var/lib/dpkg/triggers`), and which a
//! package activates by being unpacked.
//!
//! A package that is interested and not configured yet has nothing pending: to be configured does
//! what its trigger would. For one that is configured, dpkg notes each path of its interest that
//! another package brings. Packages that activate a trigger by name need no care here: they do it
//! once more when dpkg configures them.

use std::collections::BTreeMap;

use fam_tree::RootPath;

use super::package::{self, Package};
use super::{Error, path};
use crate::staging::Staging;

const FILE: &str = "var/lib/dpkg/triggers/File";
const UNINCORP: &str = "var/lib/dpkg/triggers/Unincorp";

/// Files in the directory of triggers that are no explicit triggers.
const RESERVED: [&str; 3] = ["File", "Unincorp", "Lock"];

/// Who is interested in what, in the order in which packages were given.
#[derive(Debug, Default)]
pub(super) struct Interest {
    /// The text of `triggers/File`: a path and a package a line.
    files: String,
    /// The text of `triggers/NAME` by name: a package a line.
    explicit: BTreeMap<String, String>,
}

impl Interest {
    /// Registers the interest that the package's triggers file declares (deb-triggers(5)).
    pub(super) fn add(&mut self, package: &Package) -> Result<(), package::Error> {
        let Some(file) = package.control.files.get("triggers") else { return Ok(()) };
        for line in String::from_utf8_lossy(&file.bytes).lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let malformed = || package::Error::Trigger(line.to_owned());
            let (directive, name) = line.split_once([' ', '\t']).ok_or_else(malformed)?;
            let name = name.trim_start();
            let suffix = match directive {
                "interest" | "interest-await" => Some(""),
                "interest-noawait" => Some("/noawait"),
                "activate" | "activate-await" | "activate-noawait" => None,
                _ => return Err(malformed()),
            };
            let is_path = name.starts_with('/');
            let is_word = !name.contains('/') && !name.starts_with('.') && !RESERVED.contains(&name);
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) || !is_path && !is_word {
                return Err(malformed());
            }
            let Some(suffix) = suffix else { continue };
            let interested = format!("{}{suffix}\n", package.qualified_name());
            if is_path {
                self.files.push_str(&format!("{name} {interested}"));
            } else {
                self.explicit.entry(name.to_owned()).or_default().push_str(&interested);
            }
        }
        Ok(())
    }

    /// Adds it to what the database has.
    pub(super) fn write(&self, staging: &Staging) -> Result<(), Error> {
        let explicit =
            self.explicit.iter().map(|(name, packages)| (path("var/lib/dpkg/triggers").join(name), packages));
        for (file, lines) in explicit.chain([(Ok(path(FILE)), &self.files)]) {
            let Ok(file) = file else { continue };
            let mut bytes = if staging.exists(&file)? { staging.read(&file)? } else { Vec::new() };
            bytes.extend_from_slice(lines.as_bytes());
            staging.write(&file, &bytes, 0o644)?;
        }
        Ok(())
    }
}

/// Paths that some package is interested in, and the packages that brought them since.
#[derive(Debug, Default)]
pub struct Activations(BTreeMap<RootPath, Vec<String>>);

impl Activations {
    /// Nothing activated yet, of the paths of interest that the database has.
    ///
    /// # Errors
    /// [`Error`]
    pub fn read(staging: &Staging) -> Result<Self, Error> {
        if !staging.exists(&path(FILE))? {
            return Ok(Self::default());
        }
        let bytes = staging.read(&path(FILE))?;
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let interest = |line: &[u8]| {
            let end = line.iter().position(|&byte| byte == b' ')?;
            Some((RootPath::new(&line[..end]).ok()?, Vec::new()))
        };
        let all = lines.map(|line| interest(line).ok_or(Error::Malformed { file: FILE })).collect::<Result<_, _>>();
        Ok(Self(all?))
    }

    /// Notes that `package` has brought `path`.
    pub fn note(&mut self, package: &Package, path: &RootPath) {
        if let Some(packages) = self.0.get_mut(path) {
            packages.push(package.qualified_name());
        }
    }

    /// Leaves the activations for the next run of dpkg, in the form of its deferred file: a trigger
    /// and a package that awaits it, a line. A line may have more packages, but dpkg refuses long
    /// ones, as hundreds of packages make that are placed at once.
    ///
    /// # Errors
    /// [`Error`]
    pub fn write(&self, staging: &Staging) -> Result<(), Error> {
        let activated = self.0.iter().filter(|(_, packages)| !packages.is_empty());
        let lines: String = activated
            .flat_map(|(path, packages)| packages.iter().map(move |package| format!("{path} {package}\n")))
            .collect();
        if !lines.is_empty() {
            let mut bytes = staging.read(&path(UNINCORP))?;
            bytes.extend_from_slice(lines.as_bytes());
            staging.write(&path(UNINCORP), &bytes, 0o644)?;
        }
        Ok(())
    }
}
