//! What a base system is made of: the packages, and all that decides how they are installed. A base system
//! made of the same is the same, so one that is kept as a layer is found by its ingredients.

use std::collections::BTreeMap;
use std::fmt;

use fam_archive::cache::Layer;
use fam_archive::digest::{Digest, sha256};
use fam_rootfs::configure::{Answers, Initramfs};
use fam_rootfs::install::schedule::DEBCONF;
use fam_rootfs::unpack::PathRule;
use serde::{Deserialize, Serialize};

use super::Error;
use super::packages::Selection;
use super::template_key::program;
use crate::recipe::Settings;

/// What a base system is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ingredients {
    /// The SHA-256 of the program that makes it.
    program: String,
    architecture: String,
    /// The time to which the times of files are clamped, in seconds since 1970.
    time: i64,
    initramfs: Initramfs,
    paths: Vec<PathRule>,
    /// The digest of the answers to questions of packages: no value of theirs is shown anywhere.
    debconf: Digest,
    packages: Vec<Package>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Package {
    name: String,
    version: String,
    architecture: String,
    digest: Digest,
    /// Whether it is of the first stage.
    essential: bool,
    /// Whether others wait for it, and it is installed before them.
    early: bool,
    /// Whether it is there only because others need it, as the record for apt says.
    automatic: bool,
}

impl Ingredients {
    /// Those of a build with these packages; `None` where the answers have a password, which is not to be
    /// kept in a cache.
    pub(super) fn new(settings: &Settings, answers: &Answers, selection: &Selection) -> Result<Option<Self>, Error> {
        if answers.have_password() {
            return Ok(None);
        }
        let recipe = &settings.recipe;
        let lock = selection.lock();
        let packages = lock.packages.iter().map(|package| Package {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            digest: package.digest,
            essential: package.essential,
            early: package.early,
            automatic: package.automatic,
        });
        Ok(Some(Self {
            program: program()?.to_owned(),
            architecture: lock.architecture.clone(),
            time: selection.time(),
            initramfs: recipe.initramfs.value,
            paths: recipe.paths.iter().map(|listed| listed.what.map(ToString::to_string)).collect(),
            debconf: sha256(answers.reveal().as_bytes()),
            packages: packages.collect(),
        }))
    }

    /// In the words by which a layer is found.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("there are only strings, numbers and lists of them")
    }

    /// Those of a layer, if this version of the program made it or one that wrote the same of it.
    pub(super) fn of_layer(layer: &Layer) -> Option<Self> {
        serde_json::from_str(layer.made_of()).ok()
    }

    /// How many packages there are.
    pub(super) fn packages(&self) -> usize {
        self.packages.len()
    }

    /// The positions of the packages to install on top of a system that was made of `other`; `None` where that has
    /// packages that are not wanted, or is another in any other way. The time may differ: it decides of no package.
    pub(super) fn on_top_of(&self, other: &Self) -> Option<Vec<usize>> {
        let (wanted, there) = (by_name(&self.packages), by_name(&other.packages));
        let is_wanted = |package: &&Package| wanted.get(&*package.name).is_some_and(|own| own.is_installed_as(package));
        if self.different_settings(other).iter().any(|&what| what != DATE) || !there.values().all(is_wanted) {
            return None;
        }
        let rest = self.packages.iter().enumerate().filter(|(_, package)| !there.contains_key(&*package.name));
        // All others count on the essential packages; and debconf has to have the answers before the rest come.
        let comes_first = |package: &Package| package.essential || package.name == DEBCONF;
        if rest.clone().any(|(_, package)| comes_first(package)) {
            return None;
        }
        Some(rest.map(|(position, _)| position).collect())
    }

    /// In what `other` is not this.
    pub(super) fn differences(&self, other: &Self) -> Differences {
        let (own, others) = (by_name(&self.packages), by_name(&other.packages));
        let names = |from: &BTreeMap<&str, &Package>, is_named: &dyn Fn(&str) -> bool| {
            from.keys().filter(|name| is_named(name)).map(ToString::to_string).collect()
        };
        Differences {
            settings: self.different_settings(other),
            lacks: names(&own, &|name| !others.contains_key(name)),
            has: names(&others, &|name| !own.contains_key(name)),
            differ: names(&own, &|name| others.get(name).is_some_and(|other| *other != own[name])),
        }
    }

    /// What `other` has in another way, beside packages.
    fn different_settings(&self, other: &Self) -> Vec<&'static str> {
        let settings = [
            (self.program != other.program, "the version of fam-build"),
            (self.architecture != other.architecture, "the architecture"),
            (self.time != other.time, DATE),
            (self.initramfs != other.initramfs, "the kind of initramfs"),
            (self.paths != other.paths, "the rules for paths"),
            (self.debconf != other.debconf, "the answers to packages"),
        ];
        settings.into_iter().filter_map(|(differs, what)| differs.then_some(what)).collect()
    }
}

/// What the time follows from, in the words for people.
const DATE: &str = "the date of the indexes";

fn by_name(packages: &[Package]) -> BTreeMap<&str, &Package> {
    packages.iter().map(|package| (package.name.as_str(), package)).collect()
}

impl Package {
    /// Whether both are installed in the same way. What apt may remove again is recorded later.
    fn is_installed_as(&self, other: &Self) -> bool {
        Self { automatic: false, ..self.clone() } == Self { automatic: false, ..other.clone() }
    }
}

/// In what a layer is not what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Differences {
    settings: Vec<&'static str>,
    /// Names of packages that it lacks.
    lacks: Vec<String>,
    /// Names of packages that it has beyond those that are wanted.
    has: Vec<String>,
    /// Names of packages that it has in another version, or for another reason.
    differ: Vec<String>,
}

impl Differences {
    /// By what layers are compared: the nearer, the less.
    pub(super) fn distance(&self) -> (usize, usize) {
        (self.settings.len(), self.lacks.len() + self.has.len() + self.differ.len())
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", few(names)));
        let settings = (!self.settings.is_empty()).then(|| format!("differs in {}", self.settings.join(", ")));
        let parts = [
            names("lacks", &self.lacks),
            names("has beyond them", &self.has),
            names("has in another way", &self.differ),
            settings,
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

/// The first of the names, and how many more there are.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            architecture: "all".into(),
            digest: sha256(format!("{name} {version}").as_bytes()),
            essential: false,
            early: false,
            automatic: false,
        }
    }

    fn ingredients(packages: &[(&str, &str)]) -> Ingredients {
        Ingredients {
            program: "1".into(),
            architecture: "amd64".into(),
            time: 1,
            initramfs: Initramfs::Vm,
            paths: vec![PathRule::Exclude("/usr/share/man/*".into())],
            debconf: sha256(b""),
            packages: packages.iter().map(|(name, version)| package(name, version)).collect(),
        }
    }

    #[test]
    fn differences_say_what_is_wanted() {
        let wanted = ingredients(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let other = ingredients(&[("a", "1"), ("b", "2"), ("d", "1")]);
        let differences = wanted.differences(&other);
        assert_eq!(differences.to_string(), "lacks c; has beyond them d; has in another way b");
        assert_eq!(differences.distance(), (0, 3));
        let other = Ingredients { time: 2, initramfs: Initramfs::Most, ..wanted.clone() };
        let differences = wanted.differences(&other);
        assert_eq!(differences.to_string(), "differs in the date of the indexes, the kind of initramfs");
        assert_eq!(wanted.differences(&wanted).to_string(), "");
        let more: Vec<_> = ["d", "e", "f", "g", "h", "i", "j"].map(|name| (name, "1")).into();
        let differences = ingredients(&more).differences(&ingredients(&[]));
        assert_eq!(differences.to_string(), "lacks d, e, f, g, h and 2 more");
    }

    #[test]
    fn packages_go_on_top_of_those_that_are_all_wanted() {
        let wanted = ingredients(&[("a", "1"), ("b", "1"), ("c", "1")]);
        for (packages, expected) in [
            (&[("a", "1"), ("c", "1")][..], Some(vec![1])),
            (&[], Some(vec![0, 1, 2])),
            (&[("a", "1"), ("b", "1"), ("c", "1")], Some(vec![])),
            (&[("a", "2")], None),
            (&[("a", "1"), ("d", "1")], None),
        ] {
            assert_eq!(wanted.on_top_of(&ingredients(packages)), expected, "{packages:?}");
        }
        let layer = ingredients(&[("a", "1")]);
        let mut automatic = layer.clone();
        automatic.packages[0].automatic = true;
        assert!(wanted.on_top_of(&automatic).is_some());
        assert!(wanted.on_top_of(&Ingredients { time: 5, ..layer.clone() }).is_some());
        assert!(wanted.on_top_of(&Ingredients { initramfs: Initramfs::Most, ..layer.clone() }).is_none());
        let mut essential = wanted.clone();
        essential.packages[1].essential = true;
        assert_eq!(essential.on_top_of(&layer), None);
        assert_eq!(ingredients(&[("a", "1"), (DEBCONF, "1")]).on_top_of(&layer), None);
    }

    /// A layer is found by this text: where it changes, the layers of all users are of no use any more.
    #[test]
    fn the_text_is_what_it_was() {
        let text = ingredients(&[("a", "1")]).to_text();
        let digests = ["", "a 1"].map(|text| sha256(text.as_bytes()).to_string());
        let expected = r#"{"program":"1","architecture":"amd64","time":1,"initramfs":"vm",
            "paths":[{"exclude":"/usr/share/man/*"}],"debconf":"sha256:NONE","packages":[{"name":"a","version":"1",
            "architecture":"all","digest":"sha256:OF_A","essential":false,"early":false,"automatic":false}]}"#;
        let expected: String = expected.lines().map(str::trim_start).collect();
        assert_eq!(text, expected.replace("NONE", &digests[0]).replace("OF_A", &digests[1]));
        assert_eq!(serde_json::from_str::<Ingredients>(&text).unwrap(), ingredients(&[("a", "1")]));
        // Of another version of the program: passed over.
        assert!(serde_json::from_str::<Ingredients>(&text.replace("debconf", "answers")).is_err());
    }
}
