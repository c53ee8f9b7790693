//! The stanza of a package in `/var/lib/dpkg/status`, in the order and the form in which dpkg
//! writes it (`fieldinfos` of its lib/dpkg/parse.c), so that the first run of dpkg changes nothing
//! but states.

use fam_archive::deb822::stanzas;
use fam_archive::dependency;
use fam_archive::version::Version;

use super::package::{self, Package};

/// How dpkg writes a field.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// As it is.
    Text,
    /// Only when it says yes.
    Yes,
    /// Lower case, and not at all when it says `no`.
    Word,
    /// Without an epoch of zero.
    Version,
    /// One line, blanks made regular.
    Relation,
    /// Not from the package: the state.
    Status,
    /// Not from the package: the conffiles.
    Conffiles,
    /// Belongs to the database or to an index; dropped if a package has it.
    Dropped,
}

const FIELDS: &[(&str, Form)] = &[
    ("Package", Form::Text),
    ("Essential", Form::Yes),
    ("Protected", Form::Yes),
    ("Status", Form::Status),
    ("Priority", Form::Word),
    ("Section", Form::Text),
    ("Installed-Size", Form::Text),
    ("Origin", Form::Text),
    ("Maintainer", Form::Text),
    ("Bugs", Form::Text),
    ("Architecture", Form::Text),
    ("Multi-Arch", Form::Word),
    ("Source", Form::Text),
    ("Version", Form::Version),
    ("Config-Version", Form::Dropped),
    ("Replaces", Form::Relation),
    ("Provides", Form::Relation),
    ("Depends", Form::Relation),
    ("Pre-Depends", Form::Relation),
    ("Recommends", Form::Relation),
    ("Suggests", Form::Relation),
    ("Breaks", Form::Relation),
    ("Conflicts", Form::Relation),
    ("Enhances", Form::Relation),
    ("Conffiles", Form::Conffiles),
    ("Filename", Form::Dropped),
    ("Size", Form::Dropped),
    ("MD5sum", Form::Dropped),
    ("Description", Form::Text),
    ("Triggers-Pending", Form::Dropped),
    ("Triggers-Awaited", Form::Dropped),
];

/// The stanza of an unpacked package, with the newline after its last field.
///
/// # Errors
/// [`package::Error::Relation`]
pub(super) fn unpacked_stanza(package: &Package) -> Result<String, package::Error> {
    let mut out = String::new();
    let Some(stanza) = stanzas(&package.control.stanza).next() else { return Ok(out) };
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(name);
            out.push_str(if value.starts_with('\n') { ":" } else { ": " });
            out.push_str(value);
            out.push('\n');
        }
    };
    for &(name, form) in FIELDS {
        let value = stanza.get(name).unwrap_or_default();
        match form {
            Form::Text => put(name, value),
            Form::Yes if value.eq_ignore_ascii_case("yes") => put(name, "yes"),
            Form::Word if !value.eq_ignore_ascii_case("no") => put(name, &value.to_ascii_lowercase()),
            Form::Version => put(name, without_zero_epoch(value)),
            Form::Relation => put(name, &relation(value)?),
            Form::Status => put(name, "install ok unpacked"),
            Form::Conffiles => put(name, &conffiles(package)),
            Form::Yes | Form::Word | Form::Dropped => {}
        }
    }
    // All others behind these, in the order in which the package has them.
    for (name, value) in stanza.fields() {
        if !FIELDS.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            put(name, value);
        }
    }
    Ok(out)
}

fn conffiles(package: &Package) -> String {
    let mut out = String::new();
    for conffile in &package.conffiles {
        let flag = if conffile.remove_on_upgrade { " remove-on-upgrade" } else { "" };
        out.push_str(&format!("\n {} newconffile{flag}", conffile.path));
    }
    out
}

fn relation(field: &str) -> Result<String, package::Error> {
    let clauses: Vec<String> = dependency::parse(field)?
        .into_iter()
        .map(|mut clause| {
            for constraint in clause.alternatives.iter_mut().filter_map(|alternative| alternative.constraint.as_mut()) {
                constraint.version = without_zero_epoch(constraint.version);
            }
            clause.to_string()
        })
        .collect();
    Ok(clauses.join(", "))
}

/// dpkg keeps an epoch of zero only where the rest would be misread without it.
fn without_zero_epoch(version: &str) -> &str {
    match (Version::parse(version), version.split_once(':')) {
        (Ok(parsed), Some((_, rest))) if parsed.epoch() == 0 && !rest.contains(':') => rest,
        _ => version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_archive::deb::ControlArchive;

    #[test]
    fn order_and_form_are_dpkgs() {
        let stanza = "Package: a\nTag: x,\n y\nDepends: b(>=0:1)|c ,  d:any\n ( << 2:3 )\nVersion: 0:1-1\nEssential: no\n\
                      Multi-Arch: no\nArchitecture: all\nPriority: Optional\nDescription: short\n long\n .\n";
        let package = Package::new(ControlArchive { stanza: stanza.into(), files: Default::default() }).unwrap();
        assert_eq!(
            unpacked_stanza(&package).unwrap(),
            "Package: a\nStatus: install ok unpacked\nPriority: optional\nArchitecture: all\nVersion: 1-1\n\
             Depends: b (>= 1) | c, d:any (<< 2:3)\nDescription: short\n long\n .\nTag: x,\n y\n"
        );
    }
}
