//! Pins and priorities, on five small archives. The values are those of `apt-cache policy` (apt
//! 2.6) with the same archives and preferences.

use proptest::prelude::*;

use super::*;
use crate::packages::{Origin, PackageIndex, ReleaseNames};

/// The archives: the facts of each (mirror, origin, label, suite, codename, version, switches), its
/// component, and its packages as `name version[ source]`.
const ARCHIVES: [(&str, &str, &str); 6] = [
    (
        "http://me@localhost:8123/one | Debian | Debian | stable | one | 13.8 | ",
        "main",
        "vim 1, vim-common 1 vim, perl 5.36.0-1, perl-base 5.36.0-1 perl, lib 1 biglib (0.9), dup 1, only 1, tool 2, toolib 2",
    ),
    ("http://localhost:8123/one | Debian | Debian | stable | one | 13.8 | ", "contrib", "extra 1"),
    (
        "http://localhost/one | Debian Backports | Debian Backports | stable-backports | one-backports | | NB",
        "main",
        "vim 2, vim-common 2 vim, perl 5.38.0-1, perl-base 5.38.0-1 perl, dup 1, bpo 3, lib 2 biglib (1.9)",
    ),
    (
        "http://127.0.0.1:8123/exp | Debian | Debian | experimental | rc-buggy | | N",
        "main",
        "vim 3, perl 5.40.0-1, dup 1, exponly 1, all-x 1",
    ),
    (
        "file:/vendor | Vendor Inc. | vendor-apt | ga | vend | 2:1.x | ",
        "main",
        "vim 0.5, tool 1, toolib 1, dup 1 other, vendor-tool 1",
    ),
    ("http://127.0.0.1:8123/bau | Other | | bau | bau | | B", "main", "vim 4, bau 1"),
];

fn index() -> PackageIndex {
    let mut index = PackageIndex::new("amd64");
    for (facts, component, packages) in ARCHIVES {
        let [mirror, origin, label, suite, codename, version, switches] =
            facts.split('|').map(|fact| fact.trim().to_owned()).collect::<Vec<_>>().try_into().unwrap();
        let text = packages.split(", ").map(|package| {
            let mut words = package.splitn(3, ' ');
            let (name, version, source) = (words.next().unwrap(), words.next().unwrap(), words.next());
            let architecture = if name.starts_with("all-") { "all" } else { "amd64" };
            let source = source.map(|source| format!("Source: {source}\n")).unwrap_or_default();
            format!("Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{source}\n")
        });
        let release = ReleaseNames {
            origin,
            label,
            suite: suite.clone(),
            codename,
            version,
            not_automatic: switches.contains('N'),
            but_automatic_upgrades: switches.contains('B'),
        };
        index.add(text.collect(), Origin { mirror, suite, component: component.to_owned(), release }).unwrap();
    }
    index
}

/// Pins, written as `packages | pin | priority`, and what comes of them: of each package its
/// candidate, and its versions with their priorities.
const TABLE: &[(&str, &str)] = &[
    ("* | release a=stable | 900 && vim | version 2 | 1001", "vim=2: 4@100 3@1 2@1001 1@900 0.5@500"),
    (
        "* | release a=stable | 900 && * | release o=Debian | -10",
        "vim=1: 4@100 3@-10 2@100 1@900 0.5@500; dup=1: 1@900 1@500",
    ),
    (
        "* | release o=Debian | -10 && * | release a=stable | 900",
        "vim=0.5: 4@100 3@-10 2@100 1@-10 0.5@500; dup=1: 1@100 1@500",
    ),
    ("vim | release a=stable | 900 && vim | release o=Debian | -10", "vim=1: 4@100 3@-10 2@100 1@900 0.5@500"),
    (
        "perl | version 5.38* | 1001",
        "perl=5.38.0-1: 5.40.0-1@1 5.38.0-1@1001 5.36.0-1@500; perl-base=5.36.0-1: 5.38.0-1@100 5.36.0-1@500",
    ),
    (
        "v* | version 1 | 700",
        "vim=1: 4@100 3@1 2@100 1@700 0.5@500; vim-common=1: 2@100 1@700; only=1: 1@500; vendor-tool=1: 1@700",
    ),
    ("perl | version /^5\\.3[68]/ | 700", "perl=5.38.0-1: 5.40.0-1@1 5.38.0-1@700 5.36.0-1@700"),
    ("perl | version 5.*0* | 700", "perl=5.36.0-1: 5.40.0-1@1 5.38.0-1@100 5.36.0-1@500"),
    ("perl | version 5.?0* | 700", "perl=5.36.0-1: 5.40.0-1@1 5.38.0-1@100 5.36.0-1@500"),
    ("perl | version 5.*-1* | 700", "perl=5.40.0-1: 5.40.0-1@700 5.38.0-1@700 5.36.0-1@700"),
    ("* | release v=1*.8* | 700", "vim=1: 4@100 3@1 2@100 1@700 0.5@500"),
    ("* | release v=1?* | 700", "vim=1: 4@100 3@1 2@100 1@500 0.5@500"),
    ("perl | version 5.*.0-1 | 700", "perl=5.40.0-1: 5.40.0-1@700 5.38.0-1@700 5.36.0-1@700"),
    ("perl | VERSION 5.36* | 700", "perl=5.36.0-1: 5.40.0-1@1 5.38.0-1@100 5.36.0-1@700"),
    ("* | release stable | 700", "vim=1: 4@100 3@1 2@100 1@700 0.5@500"),
    ("* | release one-backports | 700", "vim=2: 4@100 3@1 2@700 1@500 0.5@500"),
    ("* | release one* | 700", "vim=2: 4@100 3@1 2@700 1@700 0.5@500"),
    ("* | release 13 | 700", "vim=1: 4@100 3@1 2@100 1@500 0.5@500"),
    ("* | release 13.* | 700", "vim=1: 4@100 3@1 2@100 1@700 0.5@500"),
    ("* | release 13.8 | 700", "vim=1: 4@100 3@1 2@100 1@700 0.5@500"),
    ("* | release v=13 | 700", "vim=1: 4@100 3@1 2@100 1@500 0.5@500"),
    ("* | release v=13.8 | 700", "vim=1: 4@100 3@1 2@100 1@700 0.5@500"),
    ("* | release v=13* | 700", "vim=1: 4@100 3@1 2@100 1@700 0.5@500"),
    ("* | release v=2:1.* | 700", "vim=0.5: 4@100 3@1 2@100 1@500 0.5@700; vendor-tool=1: 1@700"),
    ("* | release o=/vendor/ | 700", "vim=0.5: 4@100 3@1 2@100 1@500 0.5@700"),
    ("* | release o=Vendor Inc. | 700", "vim=0.5: 4@100 3@1 2@100 1@500 0.5@700"),
    ("* | release o=vendor inc. | 700", "vim=0.5: 4@100 3@1 2@100 1@500 0.5@700"),
    ("* | release l=vendor-apt | 700", "vim=0.5: 4@100 3@1 2@100 1@500 0.5@700"),
    ("* | release c=contrib | 700", "extra=1: 1@700; vim=1: 4@100 3@1 2@100 1@500 0.5@500"),
    ("* | release b=amd64 | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700; all-x=1: 1@700"),
    ("* | release b=all | 700", "vim=1: 4@100 3@1 2@100 1@500 0.5@500; all-x=1: 1@1"),
    ("* | release o=Debian, a=stable | 700", "vim=1: 4@100 3@1 2@100 1@700 0.5@500"),
    ("* | release a=stable,a=experimental | 700", "vim=3: 4@100 3@700 2@100 1@500 0.5@500"),
    ("* | release A=stable | 700", "vim=1: 4@100 3@1 2@100 1@700 0.5@500"),
    ("* | release * | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700"),
    ("* | release a=* | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700"),
    ("* | origin \"\" | 700", "vim=0.5: 4@100 3@1 2@100 1@500 0.5@700"),
    ("* | origin example.org | 700", "vim=1: 4@100 3@1 2@100 1@500 0.5@500"),
    ("* | origin * | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700"),
    ("* | release o=Debian | never && vim | release * | 500", "vim=4: 4@500 3@-32768 2@500 1@-32768 0.5@500"),
    (
        "* | release o=Debian | -32768 && vim | release * | 500",
        "vim=4: 4@500 3@500 2@500 1@500 0.5@500; dup=1: 1@100 1@500",
    ),
    ("* | release a=stable | never && dup | release * | 600", "dup=1: 1@600 1@600"),
    ("vim | version 1 | 32767", "vim=1: 4@100 3@1 2@100 1@32767 0.5@500"),
    ("src:vim | version 1 | 700", "vim=1: 4@100 3@1 2@100 1@700 0.5@500; vim-common=1: 2@100 1@700"),
    ("src:vim | release a=experimental | 700", "vim=3: 4@100 3@700 2@100 1@500 0.5@500; vim-common=1: 2@100 1@500"),
    ("src:biglib | version 0.9 | 700", "lib=1: 2@100 1@500"),
    ("src:biglib | version 1 | 700", "lib=1: 2@100 1@700"),
    ("src:*lib | version * | 700", "lib=2: 2@700 1@700; toolib=2: 2@700 1@700"),
    ("src:/big/ | version * | 700", "lib=2: 2@700 1@700; toolib=2: 2@500 1@500"),
    ("src:vim:any | version * | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700; vim-common=2: 2@700 1@700"),
    ("VI* | version * | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700; vim-common=2: 2@700 1@700"),
    ("vim:amd64 | version * | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700"),
    ("vim:any | version * | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700; all-x=1: 1@1"),
    ("vim:native | version * | 700", "vim=1: 4@100 3@1 2@100 1@500 0.5@500"),
    ("vim:i386 | version * | 700", "vim=1: 4@100 3@1 2@100 1@500 0.5@500"),
    ("all-x:all | version * | 700", "all-x=1: 1@1"),
    ("all-x:amd64 | version * | 700", "all-x=1: 1@700"),
    ("all-*:amd64 | version * | 700", "all-x=1: 1@700"),
    ("all-*:any | version * | 700", "all-x=1: 1@700"),
    ("*:any | version * | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700; all-x=1: 1@700"),
    ("*:amd64 | release * | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700; all-x=1: 1@700"),
    (
        "perl * | release a=experimental | 700",
        "vim=3: 4@100 3@700 2@100 1@500 0.5@500; perl=5.40.0-1: 5.40.0-1@700 5.38.0-1@100 5.36.0-1@500",
    ),
    ("[v]im | release * | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700; vim-common=1: 2@100 1@500"),
    ("/vim/ | release * | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700; vim-common=2: 2@700 1@700"),
    ("/^VIM$/ | release * | 700", "vim=4: 4@700 3@700 2@700 1@700 0.5@700; vim-common=1: 2@100 1@500"),
    ("vim | version 0.5 | 1000", "vim=0.5: 4@100 3@1 2@100 1@500 0.5@1000"),
    ("vim | release a=stable | 1 && vim | release a=ga | -1", "vim=4: 4@100 3@1 2@100 1@1 0.5@-1"),
    ("vim | release * | -1", "vim=none: 4@-1 3@-1 2@-1 1@-1 0.5@-1"),
    ("nothere | release * | 700", "vim=1: 4@100 3@1 2@100 1@500 0.5@500"),
    (
        "",
        "vim=1: 4@100 3@1 2@100 1@500 0.5@500; dup=1: 1@500 1@500; lib=1: 2@100 1@500; bpo=3: 3@100; exponly=1: 1@1; bau=1: 1@100; tool=2: 2@500 1@500",
    ),
    ("* | origin localhost | 700", "vim=2: 4@100 3@1 2@700 1@700 0.5@500; bau=1: 1@100"),
    ("* | origin 127.* | 700", "vim=4: 4@700 3@700 2@100 1@500 0.5@500"),
    ("* | origin localhost:8123 | 700", "vim=1: 4@100 3@1 2@100 1@500 0.5@500"),
    ("* | origin /^LOCAL/ | 700", "vim=2: 4@100 3@1 2@700 1@700 0.5@500"),
    ("* | origin \"\" | 600", "vim=0.5: 4@100 3@1 2@100 1@500 0.5@600"),
    (
        "vim | origin \"localhost\" | -1",
        "vim=0.5: 4@100 3@1 2@-1 1@-1 0.5@500; perl=5.36.0-1: 5.40.0-1@1 5.38.0-1@100 5.36.0-1@500",
    ),
    ("dup | release a=experimental | 550", "dup=1: 1@550 1@500"),
    (
        "* | release a=experimental | 600 && * | release a=stable | 50",
        "dup=1: 1@600 1@500; vim=3: 4@100 3@600 2@100 1@50 0.5@500",
    ),
    ("* | release * | 500", "vim=4: 4@500 3@500 2@500 1@500 0.5@500"),
    ("* | release n=one-backports | 500", "vim=2: 4@100 3@1 2@500 1@500 0.5@500; bpo=3: 3@500"),
    ("* | release l=Debian* | 700", "vim=3: 4@100 3@700 2@700 1@700 0.5@500"),
    ("* | release o=Debian,c=contrib,a=stable | 700", "extra=1: 1@700; vim=1: 4@100 3@1 2@100 1@500 0.5@500"),
    (
        "* | release * | -1 && v* | release a=stable | 600",
        "vim=1: 4@-1 3@-1 2@-1 1@600 0.5@-1; perl=none: 5.40.0-1@-1 5.38.0-1@-1 5.36.0-1@-1; vendor-tool=none: 1@-1",
    ),
    ("dup | release o=Vendor* | 500", "dup=1: 1@500 1@500"),
    ("dup | release o=Vendor* | 501", "dup=1: 1@500 1@501"),
];

fn pin(text: &str) -> Result<Pin, InvalidPin> {
    let [packages, versions, priority] = text.split(" | ").collect::<Vec<_>>().try_into().unwrap();
    Pin::new(packages.parse()?, versions.parse()?, priority.parse()?, None)
}

fn policy(pins: &str) -> Policy {
    Policy::new(pins.split(" && ").filter(|pin| !pin.is_empty()).map(|text| pin(text).unwrap()).collect())
}

#[test]
fn priorities_and_candidates_are_those_of_apt() {
    let index = index();
    for (pins, expected) in TABLE {
        let policy = policy(pins);
        let ranking = Ranking::new(&policy, &index);
        let shown = expected.split("; ").map(|of_name| {
            let name = of_name.split('=').next().unwrap();
            let candidate = ranking.candidate(name).map_or("none", |package| package.version());
            let mut versions: Vec<_> = index.versions(name).collect();
            versions.dedup_by(|one, other| one.is_same(other));
            let versions = versions.into_iter().map(|it| format!("{}@{}", it.version(), ranking.priority(it)));
            format!("{name}={candidate}: {}", versions.collect::<Vec<_>>().join(" "))
        });
        assert_eq!(shown.collect::<Vec<_>>().join("; "), *expected, "{pins}");
        // The text of a preferences file is the same policy.
        assert_eq!(Policy::parse(&policy.to_preferences()).unwrap(), policy);
    }
}

#[test]
fn what_is_installed_is_not_downgraded_below_1000() {
    let index = index();
    let installed = index.versions("vim").find(|package| package.version() == "2").map(|package| package.id());
    // Another newer one of the same priority is an upgrade, and what is older does not count.
    for (pins, candidate) in [
        ("", "4"),
        ("vim | version 1 | 999", "4"),
        ("vim | version 1 | 1000", "1"),
        ("vim | version 0.5 | 1001", "0.5"),
        ("vim | version 3 | 99", "4"),
        ("vim | version 3 | 101", "3"),
        ("* | release n=bau | 50", "2"),
        ("* | release n=one-backports | -1", "4"),
        ("* | release n=one-backports | -1 && vim | version 4 | -1", "2"),
        ("vim | version 2 | -1 && vim | version 4 | -1", "3"),
    ] {
        let ranking = Ranking::new(&policy(pins), &index);
        let found = ranking.candidate_of(index.name_id("vim").unwrap(), installed).unwrap();
        assert_eq!(index.package(found).version(), candidate, "{pins}");
    }
}

#[test]
fn the_pin_that_decides_is_known() {
    let index = index();
    let ranking = Ranking::new(&policy("* | release a=stable | 900 && vim | version 2* | -1"), &index);
    let pins: Vec<_> =
        index.versions("vim").map(|vim| ranking.pin(vim).map_or("none".to_owned(), ToString::to_string)).collect();
    assert_eq!(pins, ["none", "none", "-1 for vim: version 2*", "900 for *: release a=stable", "none"]);
}

#[test]
fn what_is_no_pin() {
    for (text, message) in [
        (" | release * | 1", "``: the name of a package was expected, as vim, or * for all"),
        (
            "vim,perl | release * | 1",
            "`vim,perl`: a package name has a-z, 0-9, +, - and . in it; blanks are between names",
        ),
        ("VIM | release * | 1", "`VIM`: a package name has a-z, 0-9, +, - and . in it; blanks are between names"),
        ("/vim | release * | 1", "`/vim`: a regular expression ends with a slash"),
        ("/vim(/ | release * | 1", "`/vim(/`: the regular expression cannot be read: unclosed group"),
        (
            "/[[:alpha:]]/ | release * | 1",
            "`/[[:alpha:]]/`: an architecture was expected after the colon, as in vim:amd64 or vim:any",
        ),
        ("vim: | release * | 1", "`vim:`: an architecture was expected after the colon, as in vim:amd64 or vim:any"),
        ("vim | releas * | 1", "`releas *`: version, release or origin was expected, as in release n=trixie"),
        ("vim | release | 1", "`release`: the name of a release was expected, as in release n=trixie"),
        ("vim | version | 1", "`version`: a version was expected, as in version 9.1*"),
        ("vim | origin | 1", "`origin`: a host was expected, as in origin \"deb.example\", or \"\" for this one"),
        (
            "vim | release a=stable, x=1 | 1",
            "`release a=stable, x=1`: a=ARCHIVE, n=CODENAME, o=ORIGIN, l=LABEL, c=COMPONENT, v=VERSION or b=ARCHITECTURE \
             was expected, not \"x=1\"",
        ),
        (
            "vim | release a= | 1",
            "`release a=`: a=ARCHIVE, n=CODENAME, o=ORIGIN, l=LABEL, c=COMPONENT, v=VERSION or b=ARCHITECTURE was \
             expected, not \"a=\"",
        ),
        ("vim | version 1\nx | 1", "`version 1\nx`: it is one line without control characters"),
        ("* | version 1 | 1", "`version 1`: a version can be pinned of packages by name only, not of all (*)"),
        ("vim | version 1 | never", "`never`: this priority is for all packages (*) of an archive only"),
        ("vim | version 1 | 0", "`0`: a number from -32768 to 32767 was expected, but not 0; or the word never"),
        (
            "vim | version 1 | 32768",
            "`32768`: a number from -32768 to 32767 was expected, but not 0; or the word never",
        ),
        ("vim | version 1 | high", "`high`: a number from -32768 to 32767 was expected, but not 0; or the word never"),
    ] {
        assert_eq!(pin(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn files_as_people_have_them() {
    let text = "# a comment\r\nExplanation: why\r\nExplanation:  for long\r\nPackage: vim\r\n  perl*\r\nPin: release  a=stable\r\n\
                pin-priority: 700\r\n\r\n\r\n# another\r\n\r\n#third\r\nX-Field: y\r\nPackage: *\r\nPin: ORIGIN \"\"\r\nPin-Priority: never";
    let policy = Policy::parse(text).unwrap();
    assert_eq!(policy.pins()[0].explanation(), Some("why\nfor long"));
    let written = "Explanation: why\nExplanation: for long\nPackage: vim perl*\nPin: release  a=stable\nPin-Priority: 700\n\n\
                   Package: *\nPin: ORIGIN \"\"\nPin-Priority: never\n\n";
    assert_eq!(policy.to_preferences(), written);
    assert_eq!(Policy::parse(written).unwrap(), policy);
    for (text, message) in [
        ("\nPackage: vim\nPin: version 1\n", "line 2: the record has no field Pin-Priority"),
        (
            "Package: vim\nPin: version 1\nPin-Priority: 1\n\nPin: version 1\n",
            "line 5: the record has no field Package",
        ),
        (
            "Package: vim\nPin: version 1\nPin-Priority: 1\n  \nPackage: perl\nPin: version 1",
            "line 1: the record has the field Package twice; an empty line is between records",
        ),
        (
            "Package: vim\nPin: version 1\nPin-Priority: 12x",
            "line 1: `12x`: a number from -32768 to 32767 was expected, but not 0; or the word never",
        ),
    ] {
        assert_eq!(Policy::parse(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn an_explanation_adds_no_field() {
    let explanation = Some("one\nPackage: *\r\rPin: x\n\nthree".to_owned());
    let pin = Pin::new("vim".parse().unwrap(), "version 1".parse().unwrap(), "5".parse().unwrap(), explanation);
    let text = Policy::new(vec![pin.unwrap()]).to_preferences();
    let expected = "Explanation: one\nExplanation: Package: *  Pin: x\nExplanation: \nExplanation: three\nPackage: vim\nPin: version 1\nPin-Priority: 5\n\n";
    assert_eq!(text, expected);
    assert_eq!(Policy::parse(&text).unwrap().pins().len(), 1);
}

proptest! {
    #[test]
    fn no_text_panics_and_what_is_read_is_written(
        text in "(Package: |Pin: |Pin-Priority: |Explanation:|version |release |origin |[anolcvbx]=|src:|/|\\*|\\[|:|,|\"|\n|\r|#| |[a-z.]|-?[0-9]){0,40}",
        packages in "(src:)?([a-z]{1,3}|\\*|/[a-z(\\[]{0,4}/|[a-z]\\[[a-z]\\])(:any|:)?( [a-z])?",
        versions in "(version|release|origin) ([ab]=[a-z*]{1,3}|[a-z*\"/]{0,3})(, [onx]=[a-z ]{0,3})?",
    ) {
        let _ = Policy::parse(&text);
        let text = format!("Package: {packages}\nPin: {versions}\nPin-Priority: 5\nExplanation: x\n  {packages}\n");
        if let Ok(policy) = Policy::parse(&text) {
            prop_assert_eq!(Policy::parse(&policy.to_preferences()).unwrap(), policy);
        }
    }
}

#[test]
fn pins_travel_as_json() {
    let json = r#"{"packages":"vim perl*","pin":"version 1*","priority":-1,"explanation":"x"}"#;
    let pin: Pin = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&pin).unwrap(), json);
    let listed = r#"{"packages":["vim","perl*"],"pin":"version 1*","priority":-1,"explanation":"x"}"#;
    assert_eq!(serde_json::from_str::<Pin>(listed).unwrap(), pin);
    let never: Pin = serde_json::from_str(r#"{"packages":"*","pin":"release *","priority":"never"}"#).unwrap();
    assert_eq!(never.priority(), Priority::Never);
    assert!(serde_json::from_str::<Pin>(r#"{"packages":"*","pin":"version 1","priority":5}"#).is_err());
}
