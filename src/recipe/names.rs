//! Words of a recipe that must have a certain form, checked where they are read so that an error
//! knows its place.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A word does not have the form that its place asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: {rule}")]
pub struct InvalidName {
    text: String,
    what: &'static str,
    rule: &'static str,
}

impl InvalidName {
    pub(super) fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self { text: text.to_owned(), what, rule }
    }

    /// The same of the longer text that the word is part of.
    pub(super) fn of(self, text: &str) -> Self {
        Self { text: text.to_owned(), ..self }
    }
}

macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $pattern:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The word itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName { text: text.to_owned(), what: $what, rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "description": concat!("A ", $what, ": ", $rule, "."),
                })
            }
        }
    };
}

fn is_lower_alphanumeric(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn consists_of(text: &str, also: &[char]) -> bool {
    text.chars().all(|c| is_lower_alphanumeric(c) || also.contains(&c))
}

checked_name! {
    /// The name of a binary package (Debian Policy 5.6.1).
    PackageName, "package name", r"^[a-z0-9][a-z0-9+.-]+$",
    "two or more of a-z, 0-9, +, - and ., the first a letter or digit",
    |text| text.len() >= 2 && text.starts_with(is_lower_alphanumeric) && consists_of(text, &['+', '-', '.'])
}

checked_name! {
    /// A suite or codename under `dists/`, as `trixie` or `stable`.
    Suite, "suite", r"^(?!.*(\.\.|//))[A-Za-z0-9]([A-Za-z0-9+._/-]*[A-Za-z0-9+._-])?$",
    "letters, digits, +, -, . and / were expected, as in trixie",
    |text| {
        // The name becomes a part of URLs.
        let ends = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text.ends_with('/');
        let letters = text.chars().all(|c| c.is_ascii_alphanumeric() || "+-._/".contains(c));
        ends && letters && !text.contains("..") && !text.contains("//")
    }
}

checked_name! {
    /// A suite of an archive other than the build's own: a name under `dists/`, or the path of a flat
    /// archive, which ends with a slash.
    ArchiveSuite, "suite of an archive", r"^(?!.*(\.\.|//))(/|[A-Za-z0-9._+-][A-Za-z0-9+._/-]*)$",
    "a name was expected, as in trixie-backports, or a path that ends with a slash, as in ./",
    |text| {
        let letters = text.chars().all(|c| c.is_ascii_alphanumeric() || "+-._/".contains(c));
        letters && !text.is_empty() && (text == "/" || !text.starts_with('/')) && !text.contains("..") && !text.contains("//")
    }
}

impl ArchiveSuite {
    /// Whether it is the path of a flat archive.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        fam_archive::sources::is_flat(&self.0)
    }
}

checked_name! {
    /// What the files of an archive are called in the guests; apt passes over others.
    ArchiveName, "name of an archive", r"^[a-z0-9][a-z0-9_.-]{0,63}$",
    "1 to 64 lower-case letters, digits, -, _ and . were expected, as in docker",
    |text| {
        (1..=64).contains(&text.len()) && text.starts_with(is_lower_alphanumeric) && consists_of(text, &['-', '_', '.'])
    }
}

checked_name! {
    /// A component of a suite, as `main` or `non-free-firmware`.
    Component, "component", r"^(?!.*(\.\.|//))[A-Za-z0-9][A-Za-z0-9+._/-]*$",
    "letters, digits, +, -, ., _ and / were expected, as in main",
    |text| {
        let letters = text.chars().all(|c| c.is_ascii_alphanumeric() || "+-._/".contains(c));
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && letters && !text.contains("..") && !text.contains("//")
    }
}

impl Component {
    /// The component that all of Debian's suites have.
    pub(super) fn main() -> Self {
        Self("main".to_owned())
    }
}

checked_name! {
    /// What the nodes' names begin with; the number follows. With three digits it must still be a
    /// host name's label (RFC 1123) that also `sethostname` and every shell take without quoting.
    NodePrefix, "name prefix of nodes", r"^(?!.*[0-9]$)[a-z][a-z0-9-]{0,59}$",
    "1 to 60 of a-z, 0-9 and -, the first a letter, the last no digit",
    |text| {
        (1..=60).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with(|c: char| c.is_ascii_digit())
            && consists_of(text, &['-'])
    }
}

checked_name! {
    /// The label of the root file system; ext4 holds 16 bytes.
    DiskLabel, "disk label", r"^[A-Za-z0-9._-]{1,16}$",
    "1 to 16 of a-z, A-Z, 0-9, -, _ and . were expected",
    |text| {
        (1..=16).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    }
}

checked_name! {
    /// Where a file system is mounted, as fstab(5) has it without escapes. The root file system keeps
    /// what a system starts from, and the kernel has file systems of its own.
    MountPoint, "mount point",
    r"^(?!/(boot|dev|proc|run|sys|bin|sbin|lib|lib32|lib64|libx32)(/|$))(?!/(etc|usr)$)(?!.*/\.{1,2}(/|$))(/[A-Za-z0-9._-]+)+$",
    "an absolute path of a-z, A-Z, 0-9, -, _, . and / was expected, as in /srv, and none that starts the system, as /boot, \
     /etc, /usr or /dev",
    |text| {
        let mut parts = text.split('/');
        let letters = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let is_path = text.starts_with('/') && parts.next() == Some("") && parts.all(|part| !["", ".", ".."].contains(&part) && letters(part));
        let top = text.split('/').nth(1).unwrap_or_default();
        let starts = ["boot", "dev", "proc", "run", "sys", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
        is_path && !starts.contains(&top) && !["/etc", "/usr"].contains(&text)
    }
}

checked_name! {
    /// The kernel's command line: one line of printable ASCII that a GRUB configuration can hold in
    /// double quotes.
    KernelCommandLine, "kernel command line", r"^[ !#%&(-\[\]-_a-~]{0,2000}$",
    "printable ASCII without quotes, $, ` and \\ was expected, 2000 bytes at most",
    |text| text.len() <= 2000 && text.chars().all(|c| (' '..='~').contains(&c) && !"\"'$`\\".contains(c))
}

checked_name! {
    /// Which paths a rule is for, as dpkg(1) takes it for path-exclude, and fnmatch(3): an asterisk
    /// fits slashes, too.
    PathPattern, "pattern of paths", r"^[/*]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$",
    "what begins with / or *, as in /usr/share/doc/*, and does not end with a space",
    |text| {
        text.starts_with(['/', '*']) && !text.ends_with(char::is_whitespace) && !text.contains(char::is_control)
    }
}

checked_name! {
    /// The name of a plugin.
    PluginName, "plugin name", r"^[a-z0-9][a-z0-9_-]*$",
    "lower-case letters, digits and - were expected, as in resolv-conf",
    |text| text.starts_with(is_lower_alphanumeric) && consists_of(text, &['-', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_each_kind() {
        for good in ["gcc", "g++", "libstdc++6", "linux-image-6.12.107+deb13-amd64", "0ad", "7zip"] {
            assert!(good.parse::<PackageName>().is_ok(), "{good}");
        }
        for bad in ["", "a", "-x", "Gcc", "gcc ", "a/b", "a:amd64", "../x", "ä1"] {
            assert!(bad.parse::<PackageName>().is_err(), "{bad}");
        }
        for good in ["trixie", "stable-updates", "bookworm/updates", "Debian13.1"] {
            assert!(good.parse::<Suite>().is_ok(), "{good}");
        }
        for bad in ["", "../etc", "a//b", "a/", "/a", "a b", "a/../b", "a\n"] {
            assert!(bad.parse::<Suite>().is_err(), "{bad}");
        }
        for good in ["fabric", "mem-node-", "a"] {
            assert!(good.parse::<NodePrefix>().is_ok(), "{good}");
        }
        for bad in ["", "1", "node1", "Node", "a.b", "a_b", &"a".repeat(61)] {
            assert!(bad.parse::<NodePrefix>().is_err(), "{bad}");
        }
        for bad in ["a\"b", "a\nb", "$(id)", "a`b", "a'b", "a\\b"] {
            assert!(bad.parse::<KernelCommandLine>().is_err(), "{bad}");
        }
        for good in ["/usr/share/doc/*", "*", "*.la", "/a b/ä", "/usr/share/man/man[1-9]/?\\*"] {
            assert!(good.parse::<PathPattern>().is_ok(), "{good}");
        }
        for bad in ["", "usr/*", "[ab]", "/a ", "/a\nb", "/a\t", "# /x"] {
            assert!(bad.parse::<PathPattern>().is_err(), "{bad}");
        }
        for good in ["/srv", "/home", "/var/lib/docker", "/usr/local", "/etc/keys", "/.hidden", "/libs"] {
            assert!(good.parse::<MountPoint>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "srv",
            "/srv/",
            "/a//b",
            "/a/../b",
            "/./a",
            "/a b",
            "/usr",
            "/etc",
            "/boot",
            "/boot/efi",
            "/lib/x",
        ] {
            assert!(bad.parse::<MountPoint>().is_err(), "{bad}");
        }
        assert!("console=ttyS0,115200 net.ifnames=0".parse::<KernelCommandLine>().is_ok());
        assert!("seventeen-letters".parse::<DiskLabel>().is_err());
    }

    #[test]
    fn the_error_names_the_word_and_the_rule() {
        assert_eq!(
            "Trix ie".parse::<Suite>().unwrap_err().to_string(),
            "`Trix ie` is no suite: letters, digits, +, -, . and / were expected, as in trixie"
        );
    }
}
