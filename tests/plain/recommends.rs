//! `recommends` of a recipe and `--recommends`: what is installed then. What is to be chosen is for
//! the resolver's own tests, and for `tests/full/apt_oracle.rs`.

use std::collections::BTreeMap;

use fam_archive::lock::Lock;
use support::archive::{Archive, Deb};

use crate::small::{Bench, SUITE, recipe_with};

support::tests! {
    needs [support::harness::ROOT];
    are_installed_where_they_are_asked_for,
}

/// A desktop and an editor, each of which recommends a package, that of the desktop another one.
fn archive() -> Archive {
    Archive::new(SUITE)
        .with(Deb::new("base").essential())
        .with(Deb::new("desktop").field("Recommends", "absent, panel"))
        .with(Deb::new("panel").field("Recommends", "clock"))
        .with(Deb::new("clock"))
        .with(Deb::new("editor").field("Recommends", "spell"))
        .with(Deb::new("spell"))
}

/// The packages that are locked, with whether they are automatic, and what is said on the way.
fn locked(bench: &Bench, recipe: &str, flags: &[&str]) -> (String, String) {
    bench.write("tiny.toml", &format!("include = ['desktop', 'editor']\n{recipe}\n{}", recipe_with("")));
    let output = bench.build(&[&["lock"], flags].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let lock = Lock::parse(&fs_err::read_to_string(bench.output().join("fabric.lock")).unwrap()).unwrap();
    let packages: BTreeMap<_, _> = lock.packages.iter().map(|it| (it.name.as_str(), it.automatic)).collect();
    let names: Vec<_> =
        packages.iter().map(|(name, automatic)| format!("{name}{}", if *automatic { "*" } else { "" })).collect();
    (names.join(" "), said)
}

fn are_installed_where_they_are_asked_for() {
    let bench = Bench::new(archive());
    let all = "base clock* desktop editor panel* spell*";
    for (recipe, flags, expected) in [
        ("", &[][..], "base desktop editor"),
        ("recommends = false", &[], "base desktop editor"),
        ("recommends = true", &[], all),
        ("recommends = ['desktop']", &[], "base desktop editor panel*"),
        ("recommends = true", &["--recommends", "none"], "base desktop editor"),
        ("", &["--recommends", "all"], all),
        ("recommends = ['desktop']", &["--recommends", "editor,panel"], "base desktop editor spell*"),
    ] {
        let (packages, said) = locked(&bench, recipe, flags);
        assert_eq!(packages, expected, "{recipe} {flags:?}");
        let is_warned = said.contains("Recommends were asked for of packages that are not installed: panel");
        assert_eq!(is_warned, flags.contains(&"editor,panel"), "{said}");
    }
    let plan = support::succeed(&mut bench.build(&["plan", "--recommends", "desktop,editor"]));
    assert!(plan.contains("desktop editor") && plan.contains("(flag --recommends)"), "{plan}");
}
