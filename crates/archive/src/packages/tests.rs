//! Reading indexes and what the tables say afterwards.

use super::*;
use proptest::prelude::*;

fn origin(suite: &str) -> Origin {
    Origin {
        mirror: "http://mirror.example/debian".into(),
        suite: suite.into(),
        component: "main".into(),
        ..Origin::default()
    }
}

fn add(index: &mut PackageIndex, suite: &str, text: &str) {
    index.add(text.to_owned(), origin(suite)).unwrap();
}

fn failure(text: &str) -> String {
    let mut index = PackageIndex::new("amd64");
    add(
        &mut index,
        "trixie",
        &format!(
            "Package: before\nVersion: 1\nArchitecture: all\n\n{text}\nPackage: b\nVersion: 2\nArchitecture: all\n"
        ),
    );
    assert_eq!(index.package_names().collect::<Vec<_>>(), ["before", "b"]);
    let [skipped] = index.skipped() else { panic!("{:?}", index.skipped()) };
    skipped.reason.to_string()
}

#[test]
fn takes_the_highest_version_of_all_sources() {
    let mut index = PackageIndex::new("amd64");
    add(
        &mut index,
        "trixie",
        "Package: a\nVersion: 1.9\nArchitecture: amd64\n\nPackage: b\nVersion: 1\nArchitecture: all\n",
    );
    add(
        &mut index,
        "security",
        "Package: a\nVersion: 1.10\nArchitecture: amd64\n\nPackage: b\nVersion: 1\nArchitecture: all\n",
    );
    add(
        &mut index,
        "old",
        "Package: a\nVersion: 1.9.1\nArchitecture: amd64\n\nPackage: a\nVersion: 9\nArchitecture: i386\n",
    );
    let versions = |name| index.versions(name).map(|p| (p.version(), p.origin().suite.as_str())).collect::<Vec<_>>();
    assert_eq!(versions("a"), [("1.10", "security"), ("1.9.1", "old"), ("1.9", "trixie")]);
    assert_eq!(versions("b"), [("1", "trixie"), ("1", "security")]);
    assert_eq!(index.find("a").unwrap().to_string(), "a=1.10");
    assert!(index.find("c").is_none());
    assert_eq!(index.len(), 5);
}

#[test]
fn reads_a_stanza() {
    let text = "Package: perl-base\nSource: perl (5.40)\nVersion: 5.40.1-6\nInstalled-Size: 7932\nEssential: yes\n\
                Architecture: amd64\nPre-Depends: libc6 (>= 2.35)\nSection: perl\nPriority: required\n\
                Filename: pool/main/p/perl/perl-base_5.40.1-6_amd64.deb\nSize: 1665212\nMulti-Arch: allowed\n\
                SHA256: 00ff\nDescription: minimal Perl system\n";
    let mut index = PackageIndex::new("amd64");
    add(&mut index, "trixie", text);
    let package = index.find("perl-base").unwrap();
    assert_eq!((package.architecture(), package.multi_arch()), ("amd64", MultiArch::Allowed));
    assert_eq!((package.priority(), package.section()), (Priority::Required, Some("perl")));
    assert_eq!((package.size(), package.installed_size()), (Some(1_665_212), Some(7932)));
    assert_eq!(package.filename(), Some("pool/main/p/perl/perl-base_5.40.1-6_amd64.deb"));
    assert_eq!((package.sha256(), package.source()), (Some("00ff"), ("perl", "5.40")));
    assert!(package.is_essential() && !package.is_protected());
    assert_eq!(package.relation(Relation::PreDepends).unwrap()[0].to_string(), "libc6 (>= 2.35)");
    assert!(package.relation(Relation::Depends).unwrap().is_empty());
}

#[test]
fn tables_who_provides_what() {
    let text = "Package: a\nVersion: 1\nArchitecture: amd64\nMulti-Arch: allowed\nProvides: v, w (= 3), a, a (= 2), x (>= 1)\n\n\
                Package: b\nVersion: 1\nArchitecture: amd64\nProvides: v:amd64\n";
    let mut index = PackageIndex::new("amd64");
    add(&mut index, "trixie", text);
    let providers = |name: &str| -> Vec<_> {
        let found = index.providers(index.name_id(name).unwrap());
        found.map(|(id, version)| format!("{} {}", index.package(id).name(), version.unwrap_or("-"))).collect()
    };
    assert_eq!(providers("v"), ["a -", "b -"]);
    assert_eq!(providers("w"), ["a 3"]);
    assert_eq!(providers("w:any"), ["a 3"]);
    assert_eq!(providers("a"), ["a 2"]);
    assert_eq!(providers("a:any"), ["a -", "a 2", "a 1"]);
    assert!(providers("x").is_empty());
}

#[test]
fn numbers_names_as_apt_meets_them() {
    let text = "Package: m\nVersion: 1\nArchitecture: amd64\nProvides: p\nEnhances: e\nDepends: d:any, c\nPre-Depends: f\n\n\
                Package: c\nVersion: 1\nArchitecture: all\nConflicts: m\nBreaks: z:native\n";
    let mut index = PackageIndex::new("amd64");
    add(&mut index, "trixie", text);
    let names: Vec<_> = index.names().map(|name| index.name(name)).collect();
    assert_eq!(names, ["m", "f", "d:any", "c", "e", "p", "z"]);
}

#[test]
fn passes_over_malformed_stanzas() {
    let at = "package index of http://mirror.example/debian trixie/main";
    assert_eq!(failure("Package: a\nArchitecture: all\n"), format!("{at}: a has no field Version"));
    assert_eq!(failure("Size: 3\n"), format!("{at}: Size: 3 has no field Package"));
    assert_eq!(
        failure("Package: ../a\nVersion: 1\nArchitecture: all\n"),
        format!("{at}: ../a has an invalid Package: \"../a\"")
    );
    assert_eq!(
        failure("Package: a\nVersion: 1/2\nArchitecture: all\n"),
        format!("{at}: a has an invalid Version: \"1/2\"")
    );
    assert_eq!(
        failure("Package: a\nVersion: 1\nArchitecture: all\nDepends: b (\n"),
        format!("{at}: field Depends of a: relation `b (`: a parenthesis is not closed")
    );
}

#[test]
fn a_stanza_that_cannot_be_read_leaves_nothing() {
    let mut index = PackageIndex::new("amd64");
    let bad =
        "Package: bad\nVersion: 1\nArchitecture: all\nProvides: v\nEnhances: e\nEssential: yes\nDepends: a [amd64]\n";
    let foreign = "Package: foreign\nVersion: 1 beta\nArchitecture: i386\n";
    add(&mut index, "trixie", &format!("{bad}\n{foreign}"));
    assert_eq!((index.names().count(), index.len()), (0, 0));
    let reason = index.why_skipped("bad").unwrap().to_string();
    assert!(reason.contains("restrictions"), "{reason}");
    assert!(index.why_skipped("v").is_none() && index.why_skipped("foreign").is_none());
}

#[test]
fn a_stanza_that_is_there_twice_counts_once() {
    let stanza = "Package: a\nVersion: 1\nArchitecture: all\nProvides: v\n";
    let mut index = PackageIndex::new("amd64");
    for (suite, text) in
        [("trixie", stanza), ("trixie", stanza), ("security", stanza), ("trixie", &stanza.replace('v', "w"))]
    {
        add(&mut index, suite, text);
    }
    let suites: Vec<_> = index.versions("a").map(|package| package.origin().suite.as_str()).collect();
    assert_eq!(suites, ["trixie", "security", "trixie"]);
    assert_eq!(index.providers(index.name_id("v").unwrap()).count(), 2);
}

proptest! {
    #[test]
    fn never_panics(text in "((Package|Version|Architecture|Depends|Provides|Size|): ?[a-z1(=)|, :é]{0,12}\n{1,2}( [a-z]*\n)?){0,12}|(.|\n)*") {
        let mut index = PackageIndex::new("amd64");
        let _ = index.add(text, origin("trixie"));
        for package in index.packages() {
            let _ = (package.name(), package.version(), package.size(), package.source(), package.stanza());
            prop_assert!(package.relation(Relation::Depends).is_ok());
        }
    }
}
