//! Which distribution this host runs, and so how a package is installed (os-release(5)).

/// Distributions by how they install packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distribution {
    /// Debian, Ubuntu and those made of them.
    Debian,
    /// Fedora and those made of it.
    Fedora,
    /// Arch and those made of it.
    Arch,
    /// Any other, whose way to install packages is not known here.
    Other,
}

/// A package by the name that each distribution gives it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Package {
    pub(super) debian: &'static str,
    pub(super) fedora: &'static str,
    pub(super) arch: &'static str,
}

impl Package {
    /// One that is called the same everywhere.
    pub(super) const fn named(name: &'static str) -> Self {
        Self { debian: name, fedora: name, arch: name }
    }
}

impl Distribution {
    pub(super) fn of_host() -> Self {
        // The first counts, where both are there (os-release(5)).
        let release = ["/etc/os-release", "/usr/lib/os-release"];
        let text = release.iter().find_map(|path| fs_err::read_to_string(path).ok());
        text.map_or(Self::Other, |text| Self::of_release(&text))
    }

    fn of_release(text: &str) -> Self {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\''])
        };
        let mut words = [field("ID")].into_iter().chain(field("ID_LIKE").split_whitespace());
        words.find_map(Self::of_id).unwrap_or(Self::Other)
    }

    /// The one that a word of `ID` or `ID_LIKE` names.
    fn of_id(word: &str) -> Option<Self> {
        match word {
            "debian" | "ubuntu" => Some(Self::Debian),
            "fedora" | "rhel" | "centos" => Some(Self::Fedora),
            "arch" => Some(Self::Arch),
            _ => None,
        }
    }

    /// The command that installs `package`.
    pub(super) fn install(self, package: Package) -> String {
        let Package { debian, fedora, arch } = package;
        match self {
            Self::Debian => format!("sudo apt install {debian}"),
            Self::Fedora => format!("sudo dnf install {fedora}"),
            Self::Arch => format!("sudo pacman -S {arch}"),
            Self::Other => {
                format!(
                    "install it (Debian: apt install {debian}; Fedora: dnf install {fedora}; Arch: pacman -S {arch})"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_families_by_os_release() {
        for (text, expected) in [
            ("PRETTY_NAME=x\nID=debian\n", Distribution::Debian),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Distribution::Debian),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Distribution::Fedora),
            ("ID=manjaro\nID_LIKE=arch\n", Distribution::Arch),
            ("ID=bare\n", Distribution::Other),
            ("", Distribution::Other),
        ] {
            assert_eq!(Distribution::of_release(text), expected, "{text}");
        }
    }

    #[test]
    fn says_what_to_type() {
        let package = Package { debian: "uidmap", fedora: "shadow-utils", arch: "shadow" };
        assert_eq!(Distribution::Fedora.install(package), "sudo dnf install shadow-utils");
        assert!(Distribution::Other.install(package).contains("apt install uidmap"));
    }
}
