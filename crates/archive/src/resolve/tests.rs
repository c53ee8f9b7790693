//! The resolver on small indexes, one rule of apt's a test. Whether the rules are apt's is for
//! `tests/apt_oracle.rs`.

mod recommends;

use super::*;
use crate::packages::{Origin, ReleaseNames};
use crate::policy::Policy;

/// An index of stanzas written as `name version: Field: value; Field: value`.
fn index(lines: &str) -> PackageIndex {
    let mut index = PackageIndex::new("amd64");
    add(&mut index, "trixie", &format!("base 1: Essential: yes; Priority: required\n{lines}"));
    index
}

fn add(index: &mut PackageIndex, suite: &str, lines: &str) {
    let release = ReleaseNames { codename: suite.to_owned(), ..ReleaseNames::default() };
    add_of(index, lines, Origin { suite: suite.into(), release, ..Origin::default() });
}

fn add_of(index: &mut PackageIndex, lines: &str, origin: Origin) {
    let stanza = |line: &str| {
        let (head, fields) = line.trim().split_once(':').unwrap();
        let (name, version) = head.split_once(' ').unwrap();
        let fields = fields.trim().replace("; ", "\n");
        let architecture = if fields.contains("Architecture:") { "" } else { "Architecture: amd64\n" };
        format!("Package: {name}\nVersion: {version}\n{architecture}Size: 1000\nInstalled-Size: 2\n{fields}\n\n")
    };
    let text = lines.lines().filter(|line| !line.trim().is_empty()).map(stanza).collect();
    index.add(text, origin).unwrap();
}

fn try_select(index: &PackageIndex, variant: Variant, include: &str) -> Result<String, Error> {
    let include: Vec<_> = include.split_whitespace().map(str::to_owned).collect();
    let selection = resolve(index, &Request { variant, include: &include, ..Request::default() })?;
    let names: Vec<_> = selection.packages().iter().map(|selected| selected.package.name()).collect();
    Ok(names.join(" "))
}

/// The names selected beside `base`.
#[track_caller]
fn selects(lines: &str, include: &str, expected: &str) {
    let selected = try_select(&index(lines), Variant::Essential, include).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<_> = selected.split(' ').filter(|&name| name != "base").collect();
    assert_eq!(names.join(" "), expected);
}

#[track_caller]
fn fails(lines: &str, include: &str, message: &str) -> Error {
    let error = try_select(&index(lines), Variant::Essential, include).unwrap_err();
    assert_eq!(error.to_string(), message);
    error
}

#[test]
fn follows_dependencies_and_not_recommends() {
    let lines = "a 1: Pre-Depends: p; Depends: d (>= 2), base; Recommends: r; Suggests: s
                 p 1: Depends: q
                 d 2: Priority: extra
                 q 1: X: y
                 r 1: X: y
                 s 1: X: y";
    selects(lines, "a", "a d p q");
}

#[test]
fn variants_add_priorities_of_the_suite() {
    let mut index = index(
        "tool 1: Priority: required; Depends: lib
         lib 1: Priority: optional
         apt 1: Priority: required
         cron 1: Priority: important
         man 1: Priority: standard
         build-essential 1: Depends: gcc
         gcc 1: Priority: optional
         odd 1: X: y",
    );
    add(&mut index, "extras", "cron 2: Priority: important\nother 1: Priority: important");
    for (variant, expected) in [
        (Variant::Essential, "base"),
        (Variant::Apt, "apt base"),
        (Variant::Minbase, "apt base lib tool"),
        (Variant::Buildd, "apt base build-essential gcc lib tool"),
        (Variant::Important, "apt base cron lib tool"),
        (Variant::Standard, "apt base cron lib man tool"),
    ] {
        assert_eq!(try_select(&index, variant, "").unwrap(), expected, "{variant}");
    }
    let selection = resolve(&index, &Request { variant: Variant::Important, ..Request::default() }).unwrap();
    assert_eq!(selection.get("cron").unwrap().package.version(), "2");
    assert!(selection.get("man").is_none());
    assert_eq!((selection.download_size(), selection.installed_size()), (5000, 10240));
}

#[test]
fn tells_stages_and_automatic_packages_apart() {
    let index = index("a 1: Depends: b, c\nb 1: X: y\nc 1: X: y\ncore 1: Essential: yes; Depends: lib\nlib 1: X: y");
    let include = ["a".to_owned(), "c".to_owned()];
    let request = Request { variant: Variant::Essential, include: &include, ..Request::default() };
    let selection = resolve(&index, &request).unwrap();
    let told = |selected: &Selected<'_>| {
        let stage = if selected.essential_stage { "first" } else { "second" };
        format!("{} {stage}{}", selected.package, if selected.automatic { " automatic" } else { "" })
    };
    let told: Vec<_> = selection.packages().iter().map(told).collect();
    let expected = ["a=1 second", "b=1 second automatic", "base=1 first", "c=1 second", "core=1 first", "lib=1 first"];
    assert_eq!(told, expected);
}

#[test]
fn takes_the_first_alternative_unless_another_is_there() {
    let lines = "a 1: Depends: x | y
                 b 1: Depends: y
                 x 1: X: y
                 y 1: X: y
                 z 1: Depends: nothing | x";
    selects(lines, "a", "a x");
    selects(lines, "b a", "a b y");
    // What is asked for by name is marked before any dependency is looked at.
    selects(lines, "a y", "a y");
    selects(lines, "z", "x z");
}

#[test]
fn prefers_among_providers_as_apt_does() {
    let lines = |extra: &str| {
        format!("a 1: Depends: v\nq 1: Provides: v\np 1: Provides: v; Priority: optional\nr 1: Provides: v\n{extra}")
    };
    // A stated priority after none; then the name met last.
    selects(&lines(""), "a", "a r");
    selects(&lines("w 1: Suggests: x"), "a", "a r");
    // The real package before providers.
    selects(&lines("v 1: Priority: extra"), "a", "a v");
    // An essential package's provision, and a protected package, before others.
    selects(&lines("s 1: Provides: v; Protected: yes; Priority: extra"), "a", "a s");
    // The name met last, here in the first stanza's dependency.
    selects("m 1: Depends: zz | yy\na 1: Depends: v\nyy 1: Provides: v\nzz 1: Provides: v\n", "a", "a yy");
}

#[test]
fn demands_on_versions_need_versioned_provides() {
    let lines = "a 1: Depends: v (>= 2)
                 none 1: Provides: v
                 low 1: Provides: v (= 1)
                 high 1: Provides: v (= 3)";
    selects(lines, "a", "a high");
    let lines = "a 1: Depends: v (>= 2)\nnone 1: Provides: v";
    let message = "packages that cannot be installed:\n  a: depends on v (>= 2), which no package is or provides";
    fails(lines, "a", message);
}

#[test]
fn any_needs_multi_arch_allowed() {
    let lines = "a 1: Depends: perl:any (>= 1)
                 b 1: Depends: make:any
                 c 1: Depends: make:amd64
                 d 1: Depends: alias:any
                 perl 2: Multi-Arch: allowed; Provides: alias
                 make 2: Multi-Arch: foreign";
    selects(lines, "a", "a perl");
    selects(lines, "c", "c make");
    selects(lines, "d", "d perl");
    let message = "packages that cannot be installed:\n  b: depends on make:any, but only make 2 is to be had";
    fails(lines, "b", message);
}

#[test]
fn explicit_packages_rule_out_what_they_conflict_with() {
    let lines = "a 1: Depends: x | y
                 b 1: Conflicts: x
                 c 1: Breaks: v
                 x 1: Provides: v
                 y 1: X: y";
    selects(lines, "a b", "a b y");
    selects(lines, "a c", "a c y");
    let error =
        fails(lines, "x b", "packages that cannot be installed:\n  b: conflicts with x, and x=1 is to be installed");
    assert!(error.hint().unwrap().starts_with("leave one of them out"));
}

#[test]
fn a_package_does_not_conflict_with_its_own_virtual_names() {
    selects("mta 1: Provides: agent; Conflicts: agent; Breaks: mta (<< 9)", "mta", "mta");
}

#[test]
fn gives_up_alternatives_that_cannot_be_satisfied() {
    let lines = "a 1: Depends: x | y
                 x 1: Depends: helper, absent
                 y 1: X: y
                 helper 1: X: y";
    selects(lines, "a", "a y");
    // Found out only when `middle` is tried; what was marked on the way is swept.
    let lines = "a 1: Depends: x | y
                 x 1: Depends: helper, middle
                 middle 1: Depends: absent
                 y 1: X: y
                 helper 1: X: y";
    selects(lines, "a", "a y");
}

#[test]
fn the_second_stage_knows_no_candidate_that_the_first_gave_up() {
    let lines = "core 1: Essential: yes; Depends: x | y
                 x 1: Depends: absent
                 y 1: X: y";
    selects(lines, "y", "core y");
    fails(lines, "x", "packages that cannot be installed:\n  x: depends on absent, which no package is or provides");
}

#[test]
fn the_sweep_spares_what_is_recommended_or_suggested() {
    let lines = "a 1: Depends: x | y; Suggests: helper
                 x 1: Depends: helper, middle
                 middle 1: Depends: absent
                 y 1: X: y
                 helper 1: X: y";
    selects(lines, "a", "a helper y");
}

#[test]
fn survives_circles() {
    selects("a 1: Depends: b\nb 1: Depends: c\nc 1: Depends: a", "a", "a b c");
}

#[test]
fn survives_chains_as_deep_as_apt_allows() {
    let lines: String = (0..2900).map(|n| format!("p{n} 1: Depends: p{}\n", n + 1)).collect();
    let lines = lines + "p2900 1: X: y";
    let selected = try_select(&index(&lines), Variant::Essential, "p0").unwrap();
    assert_eq!(selected.split(' ').count(), 2902);
}

#[test]
fn takes_versions_and_suites_by_name() {
    let mut index = index("a 2: Depends: new\nnew 1: X: y\nold 1: X: y");
    add(&mut index, "old", "a 1: Depends: old");
    assert_eq!(try_select(&index, Variant::Essential, "a").unwrap(), "a base new");
    assert_eq!(try_select(&index, Variant::Essential, "a=1").unwrap(), "a base old");
    assert_eq!(try_select(&index, Variant::Essential, "a/old").unwrap(), "a base old");
    assert_eq!(try_select(&index, Variant::Essential, "a:amd64").unwrap(), "a base new");
    let error = try_select(&index, Variant::Essential, "a=3").unwrap_err();
    assert_eq!(error.to_string(), "no such version: `a=3`");
    assert_eq!(error.hint().unwrap(), "there is 2 (trixie), 1 (old)");
}

fn select_by(index: &PackageIndex, pins: &str, include: &str) -> Result<String, Error> {
    let policy = Policy::parse(&pins.replace(" | ", "\n").replace(" && ", "\n\n")).unwrap();
    let include: Vec<_> = include.split_whitespace().map(str::to_owned).collect();
    let request =
        Request { include: &include, policy: &policy, variant: Variant::Essential, suite: None, ..Request::default() };
    let selection = resolve(index, &request)?;
    let shown = selection.packages().iter().map(|selected| selected.package.to_string());
    Ok(shown.filter(|package| package != "base=1").collect::<Vec<_>>().join(" "))
}

#[test]
fn a_release_brings_what_its_packages_need_of_it() {
    let mut index = index("a 1: X: y\nb 1: X: y\nc 1: X: y\nd 1: X: y\np 1: Provides: v (= 2)\ntop 1: X: y");
    let lines = "a 2: X: y
                 b 2: Depends: c (>= 2)
                 c 2: X: y
                 d 2: Depends: absent (>= 3)
                 n 1: X: y
                 first 2: Depends: a (>= 2), v (>= 2)
                 second 2: Depends: v (>= 2), a (>= 2)
                 choice 2: Depends: d (= 2) | a (= 2)
                 deep 2: Depends: b (= 2), a
                 down 2: Depends: n (>= 1), a (= 1)
                 bad 2: Depends: d (= 2), a (= 2)";
    let release =
        ReleaseNames { suite: "new".into(), codename: "nw".into(), not_automatic: true, ..Default::default() };
    add_of(&mut index, lines, Origin { suite: "nw".into(), release, ..Origin::default() });
    // What apt-get comes to.
    for (include, selected) in [
        ("first/new", "a=2 first=2 p=1"),
        ("choice/new", "a=2 choice=2"),
        ("deep/nw", "a=1 b=2 c=2 deep=2"),
        ("down/new", "a=1 down=2 n=1"),
        ("c c/new", "c=2"),
        ("c/new c/trixie", "c=1"),
        ("b/new c=1", "b=2 c=2"),
        ("c/trixie deep/new", "a=1 b=2 c=2 deep=2"),
        ("n a b", "a=1 b=1 n=1"),
        ("a=2*", "a=2"),
    ] {
        assert_eq!(select_by(&index, "", include).unwrap(), selected, "{include}");
    }
    for include in ["second/new", "bad/new", "deep/new c/trixie", "deep=2", "a/other", "a=3*"] {
        assert!(select_by(&index, "", include).is_err(), "{include}");
    }
}

#[test]
fn a_release_is_followed_where_something_else_would_have_to_be_installed() {
    let lines = "j 1: X: y
                 a 1: Depends: j (= 1)
                 b 1: X: y
                 g 1: Depends: j (= 1)
                 k 1: Depends: j (= 1)
                 o 1: X: y
                 v1 1: Provides: v; Depends: j
                 x 1: Depends: j
                 px 1: Provides: x
                 w1 1: Provides: w (= 1); Depends: j
                 ta 1: Depends: a (>= 0)
                 tb 1: Depends: b (>= 0)
                 tg 1: Depends: g (>= 0)
                 tt 1: Depends: ta (>= 0)
                 tk 1: Depends: k
                 u1 1: Depends: v, o (= 1)
                 u2 1: Depends: x, o (= 1)
                 u4 1: Depends: v | j, o (= 1)
                 u5 1: Depends: w (>= 1), o (= 1)
                 u6 1: Depends: x (>= 1), o (= 1)";
    let mut index = index(lines);
    let lines = "j 2: X: y
                 a 2: X: y
                 b 2: Depends: j (= 2)
                 g 2: Depends: j (>= 1)
                 k 2: Depends: j (= 2)
                 o 2: X: y";
    add(&mut index, "sec", lines);
    // What apt-get comes to.
    for (include, selected) in [
        ("ta/trixie", "a=2 ta=1"),
        ("tb/trixie", "b=1 tb=1"),
        ("tg/trixie", "g=1 j=1 tg=1"),
        ("tt/trixie", "a=2 ta=1 tt=1"),
        ("tk/trixie", "j=2 k=2 tk=1"),
        ("u2/trixie", "j=2 o=1 u2=1 x=1"),
        ("u4/trixie", "j=2 o=1 u4=1 v1=1"),
        ("u6/trixie", "j=2 o=1 u6=1 x=1"),
        ("ta/trixie tb", "a=2 b=2 j=2 ta=1 tb=1"),
    ] {
        assert_eq!(select_by(&index, "", include).unwrap(), selected, "{include}");
    }
    for include in ["u1/trixie", "u5/trixie"] {
        assert!(select_by(&index, "", include).is_err(), "{include}");
    }
}

#[test]
fn pins_choose_versions_and_keep_packages_away() {
    let mut index = index("a 2: Depends: b\nb 2: X: y\nalone 2: Provides: b");
    add(&mut index, "old", "a 1: X: y\nb 1: X: y");
    let old = "Package: * | Pin: release n=old | Pin-Priority: 600";
    let no_b = "Package: b | Pin: release * | Pin-Priority: -1";
    assert_eq!(select_by(&index, "", "a").unwrap(), "a=2 b=2");
    assert_eq!(select_by(&index, old, "a").unwrap(), "a=1");
    assert_eq!(select_by(&index, no_b, "a").unwrap(), "a=2 alone=2");
    assert_eq!(select_by(&index, no_b, "b").unwrap(), "alone=2");
    assert_eq!(select_by(&index, no_b, "b=1").unwrap(), "b=1");
    let error = select_by(&index, &no_b.replace(" b ", " a "), "a").unwrap_err();
    assert_eq!(error.to_string(), "pins keep `a` away: `-1 for a: release *` (2), `-1 for a: release *` (1)");
    assert!(error.hint().unwrap().contains("a=VERSION"));
    let no_provider = no_b.replace(" b ", " b alone ");
    let error = select_by(&index, &no_provider, "a").unwrap_err();
    assert_eq!(
        error.to_string(),
        "packages that cannot be installed:\n  a: depends on b, but only b 2 (by the pin `-1 for b alone: release *`) is to be had"
    );
}

#[test]
fn a_version_of_several_archives_is_one() {
    let mut index = index("a 1: X: y");
    add(&mut index, "copy", "a 1: X: y\nother 1: Depends: a");
    assert_eq!(select_by(&index, "", "a/copy other").unwrap(), "a=1 other=1");
    let pin =
        "Package: * | Pin: release n=trixie | Pin-Priority: -1 && Package: base | Pin: release * | Pin-Priority: 1";
    assert_eq!(select_by(&index, pin, "a").unwrap(), "a=1");
}

#[test]
fn offers_near_names_and_providers() {
    let lines = "postfix 1: Provides: agent\nexim4 1: Provides: agent\nsole 1: Provides: only";
    let error = fails(lines, "posfix", "unknown package `posfix`");
    assert_eq!(error.hint().unwrap(), "did you mean postfix?");
    let error = fails(lines, "agent", "`agent` is a virtual package: exim4, postfix provide it");
    assert_eq!(error.hint().unwrap(), "include one of them by its own name, as exim4");
    selects(lines, "only", "sole");
}

#[test]
fn names_the_chain() {
    let lines = "a 1: Depends: b
                 b 1: Depends: linux
                 linux 1: Depends: bar (>= 3)
                 bar 2: X: y";
    let message = "packages that cannot be installed:\n  \
                   linux: depends on bar (>= 3), but only bar 2 is to be had (needed by: a -> b)";
    fails(lines, "a", message);
    let lines = "a 1: Depends: b
                 b 1: Depends: c
                 c 1: Conflicts: d
                 d 1: X: y";
    let message = "packages that cannot be installed:\n  \
                   c: conflicts with d, and d=1 is to be installed (needed by: a -> b)";
    fails(lines, "a d", message);
    let lines = "a 1: Depends: b
                 b 1: X: y
                 d 1: Conflicts: b";
    let message = "packages that cannot be installed:\n  \
                   b: d=1, which is to be installed, conflicts with b (needed by: a)";
    fails(lines, "d a", message);
}

#[test]
fn an_index_without_essential_packages_is_an_error() {
    let index = PackageIndex::new("amd64");
    let error = try_select(&index, Variant::Minbase, "").unwrap_err();
    assert_eq!(error.to_string(), "no package of suite `` is essential");
}

#[test]
fn walks_in_the_order_of_apts_hash_table() {
    // Bernstein's hash; whether the walk is apt's is for the oracle.
    assert_eq!(bucket(""), 5381);
    assert_eq!(bucket("a"), 177_670);
    assert_eq!(bucket("apt"), 19_250);
    assert_eq!(bucket("libsystemd-shared"), 152_633);
}
