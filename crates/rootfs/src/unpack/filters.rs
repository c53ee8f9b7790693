//! Which paths of packages are left out of the tree, by the rules of dpkg's options `path-exclude`
//! and `path-include` (dpkg(1)).

use std::fmt;

use fam_host::pattern::{fits, plain_len};
use fam_tree::RootPath;
use serde::{Deserialize, Serialize};

use crate::staging::{self, Staging};

/// Where the new system's own dpkg finds the rules.
const CONFIGURATION: &str = "etc/dpkg/dpkg.cfg.d/fam-build-paths";

/// A rule for paths of packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(rename = "PathRule"))]
#[serde(rename_all = "kebab-case")]
pub enum PathRule<P = String> {
    /// What fits the pattern is left out.
    Exclude(P),
    /// What fits the pattern is not left out, though an earlier rule says so.
    Include(P),
}

/// Rules, of which the last that fits a path decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(Vec<PathRule>);

impl FromIterator<PathRule> for Filters {
    fn from_iter<I: IntoIterator<Item = PathRule>>(rules: I) -> Self {
        Self(rules.into_iter().collect())
    }
}

impl Filters {
    /// Whether a package's entry is left out. `may_lead_on` says that it is a directory or a
    /// symbolic link.
    pub(super) fn exclude(&self, path: &RootPath, may_lead_on: bool) -> bool {
        // dpkg compares what an archive has after the leading dot: nothing, for the root.
        let path = if path.is_root() { Vec::new() } else { [b"/", path.as_bytes()].concat() };
        let deciding = self.0.iter().rfind(|rule| fits(rule.pattern().as_bytes(), &path));
        let excluded = matches!(deciding, Some(PathRule::Exclude(_)));
        excluded && !(may_lead_on && self.lead_on_to_included(&path))
    }

    /// Whether what a rule includes may lie under an excluded `path`. dpkg takes more for that than
    /// it would have to: all that begins as the pattern does.
    fn lead_on_to_included(&self, path: &[u8]) -> bool {
        self.0.iter().any(|rule| match rule {
            PathRule::Include(pattern) => {
                let plain = pattern[..plain_len(pattern.as_bytes())].trim_end_matches('/');
                path.starts_with(plain.as_bytes())
            }
            PathRule::Exclude(_) => false,
        })
    }

    /// Has the new system's own dpkg obey the rules, too. Does nothing where there are none.
    ///
    /// # Errors
    /// [`staging::Error`]
    pub fn configure_dpkg(&self, staging: &Staging) -> Result<(), staging::Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let path: RootPath = CONFIGURATION.parse().unwrap_or_default();
        staging.create_dir_all(&path.parent().unwrap_or_default())?;
        staging.write(&path, self.configuration().as_bytes(), 0o644)
    }

    /// The rules as dpkg.cfg(5) has them.
    fn configuration(&self) -> String {
        let line = |rule: &PathRule| match rule {
            PathRule::Exclude(pattern) => format!("path-exclude={pattern}\n"),
            PathRule::Include(pattern) => format!("path-include={pattern}\n"),
        };
        let lines: String = self.0.iter().map(line).collect();
        format!("# Of the recipe that fam-build made this system of. The last rule that fits a path decides.\n{lines}")
    }
}

impl<P> PathRule<P> {
    /// Its pattern.
    pub fn pattern(&self) -> &P {
        let (Self::Exclude(pattern) | Self::Include(pattern)) = self;
        pattern
    }

    /// The same rule with its pattern in another form.
    #[must_use]
    pub fn map<Q>(&self, form: impl FnOnce(&P) -> Q) -> PathRule<Q> {
        match self {
            Self::Exclude(pattern) => PathRule::Exclude(form(pattern)),
            Self::Include(pattern) => PathRule::Include(form(pattern)),
        }
    }
}

impl<P: fmt::Display> fmt::Display for PathRule<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exclude(pattern) => write!(f, "exclude {pattern}"),
            Self::Include(pattern) => write!(f, "include {pattern}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(rules: &[&str]) -> Filters {
        let rule = |rule: &&str| match rule.split_at(1) {
            ("-", pattern) => PathRule::Exclude(pattern.into()),
            (_, pattern) => PathRule::Include(pattern.into()),
        };
        rules.iter().map(rule).collect()
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        let rules = filters(&["-/usr/share/doc/*", "+/usr/share/doc/*/copyright", "-/usr/share/doc/b/*"]);
        for (path, excluded) in [
            ("usr/share/doc/a/changelog", true),
            ("usr/share/doc/a/copyright", false),
            ("usr/share/doc/b/copyright", true),
            ("usr/share/doc", false),
            ("usr/share/man/a", false),
        ] {
            assert_eq!(rules.exclude(&path.parse().unwrap(), false), excluded, "{path}");
        }
        assert!(!Filters::default().exclude(&"usr".parse().unwrap(), false));
    }

    #[test]
    fn what_may_lead_to_included_paths_is_kept() {
        let rules = filters(&["-/usr/share/*", "+/usr/share/doc/*/copyright", "+/usr/share/man/"]);
        for (path, excluded) in [
            ("usr/share/doc", false),
            // More than has to be, as dpkg does.
            ("usr/share/doc/a/examples", false),
            ("usr/share/docile", false),
            ("usr/share/man", false),
            ("usr/share/locale", true),
        ] {
            assert_eq!(rules.exclude(&path.parse().unwrap(), true), excluded, "{path}");
            assert!(rules.exclude(&path.parse().unwrap(), false), "{path}");
        }
    }

    #[test]
    fn the_root_is_an_empty_path() {
        assert!(filters(&["-*"]).exclude(&RootPath::root(), true));
        assert!(!filters(&["-/*"]).exclude(&RootPath::root(), true));
    }

    #[test]
    fn the_new_dpkg_gets_the_rules_in_their_order() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::open(root.path()).unwrap();
        Filters::default().configure_dpkg(&staging).unwrap();
        assert!(!root.path().join("etc").exists());
        filters(&["-/usr/share/man/*", "+/usr/share/man/man[1-9]/*"]).configure_dpkg(&staging).unwrap();
        let text = fs_err::read_to_string(root.path().join(CONFIGURATION)).unwrap();
        assert!(text.ends_with("\npath-exclude=/usr/share/man/*\npath-include=/usr/share/man/man[1-9]/*\n"), "{text}");
    }
}
