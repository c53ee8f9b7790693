//! What dpkg demands of a package's control file (its `lib/dpkg/parse.c` and `fields.c`) where the
//! reader of stanzas lets more through, as it must with files that others than dpkg read.

use fam_archive::deb822::Stanza;
use fam_archive::dependency::{self, Alternative};

use super::package::{self, is_architecture, is_name, is_version};

/// Fields of dpkg's database of a system.
const OF_DATABASE: [&str; 4] = ["Status", "Config-Version", "Triggers-Pending", "Triggers-Awaited"];

/// Fields with few possible values; none may also be left empty.
const WORDS: [(&str, &[&str]); 3] = [
    ("Essential", &["yes", "no"]),
    ("Protected", &["yes", "no"]),
    ("Multi-Arch", &["no", "same", "allowed", "foreign"]),
];

/// Fields with relations, and whether these may have alternatives.
const RELATIONS: [(&str, bool); 9] = [
    ("Pre-Depends", true),
    ("Depends", true),
    ("Recommends", true),
    ("Suggests", true),
    ("Enhances", true),
    ("Conflicts", false),
    ("Breaks", false),
    ("Provides", false),
    ("Replaces", false),
];

/// Verifies the text of a control file, and its one stanza.
///
/// # Errors
/// [`package::Error`]
pub(super) fn verify(text: &str, stanza: &Stanza<'_>) -> Result<(), package::Error> {
    verify_lines(text)?;
    if let Some(name) = OF_DATABASE.into_iter().find(|name| stanza.get(name).is_some()) {
        return Err(package::Error::OfDatabase(name));
    }
    for (field, words) in WORDS {
        let value = stanza.get(field).unwrap_or_default();
        if !value.is_empty() && !words.iter().any(|word| word.eq_ignore_ascii_case(value)) {
            return Err(package::Error::Invalid { field, value: value.to_owned() });
        }
    }
    for (field, may_have_alternatives) in RELATIONS {
        let value = stanza.get(field).unwrap_or_default();
        // The parser of relations passes over an empty clause; dpkg misses the name of a package in
        // it.
        if value.ends_with(',') {
            return Err(package::Error::Relative { field, text: ",".into() });
        }
        for clause in dependency::parse(value)? {
            let wrong = clause.alternatives.iter().find(|alternative| !is_relation(alternative));
            let wrong = wrong.map(ToString::to_string);
            let too_many = clause.alternatives.len() > 1 && !may_have_alternatives;
            if let Some(text) = wrong.or_else(|| too_many.then(|| clause.to_string())) {
                return Err(package::Error::Relative { field, text });
            }
        }
    }
    Ok(())
}

/// Each line begins a field or goes on with one, and ends.
fn verify_lines(text: &str) -> Result<(), package::Error> {
    const END_OF_FILE_OF_DOS: char = '\x1a';
    let mut in_field = false;
    for line in text.split_inclusive('\n') {
        // A line of blanks would end the stanza for some readers and go on with the field for
        // others; dpkg refuses it. A field's name begins with neither `-` nor `#` (Debian Policy
        // 5.1).
        let goes_on = line.starts_with([' ', '\t']) && !line.trim().is_empty();
        let name = line.split_once(':').map(|(name, _)| name.trim_end_matches([' ', '\t'])).unwrap_or_default();
        let begins = !name.is_empty() && !name.starts_with(['-', '#']) && !name.contains(char::is_whitespace);
        let right = line == "\n" || goes_on && in_field || begins;
        if !right || !line.ends_with('\n') || line.contains(['\0', END_OF_FILE_OF_DOS]) {
            return Err(package::Error::Line(line.trim_end().chars().take(200).collect()));
        }
        in_field = line != "\n";
    }
    Ok(())
}

fn is_relation(alternative: &Alternative<'_>) -> bool {
    is_name(alternative.name())
        && alternative.qualifier().is_none_or(is_architecture)
        && alternative.constraint.is_none_or(|constraint| is_version(constraint.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_archive::deb822::stanzas;

    fn verdict(text: &str) -> Result<(), String> {
        verify(text, &stanzas(text).next().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn takes_what_packages_have() {
        let text = "Package: a\nX-Y : z\nDescription: short\n long: er\n .\n\t tab\nDepends: b:any (>= 1:2-3) | c,\n d\n\
                    Essential: YES\nMulti-Arch:\nProvides: e (= 1)\n\n";
        assert_eq!(verdict(text), Ok(()));
    }

    #[test]
    fn refuses_what_dpkg_refuses() {
        for text in [
            " a: b\n",
            "a: b",
            "a: b\n\n c\n",
            "a: b\n \n c\n",
            "a\n",
            ": a\n",
            "a b: c\n",
            "-a: b\n",
            "# a: b\n",
            "a: \0\n",
            "a: \x1a\n",
            "status: install ok installed\n",
            "Essential: maybe\n",
            "Multi-Arch: same same\n",
            "Depends: !\n",
            "Depends: b (>= x)\n",
            "Depends: b:\n",
            "Depends: b,\n",
            "Conflicts: b | c\n",
        ] {
            assert!(verdict(text).is_err(), "{text:?}");
        }
    }
}
