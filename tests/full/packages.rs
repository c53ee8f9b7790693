//! What mmdebstrap installs, fam-build installs: a build for each group of `tests/packages.toml`.

use std::collections::BTreeSet;

use fam_archive::packages::Relation;
use fam_archive::resolve::{Recommends, Request, Variant, resolve};
use support::files::extract;
use support::harness::{ROOT, Test};
use support::packages::{Group, VARIANT, assert_installed, cache, groups, output};

use crate::apt_oracle::apt::Release;
use crate::comparison::{Reference, assert_same};

support::tests! {
    needs [ROOT, "apt-get"];
    every_package_that_pre_depends_is_listed,
}

/// A test for each group and suite, as `trixie_mail`.
pub fn generated() -> Vec<Test> {
    let cases = groups().iter().flat_map(|group| group.suites.iter().map(move |suite| (suite, group)));
    let tests = cases.map(|(suite, group)| {
        let name = format!("{suite}_{}", group.name);
        Test::new(module_path!(), &name, move || installs(suite, group)).needs(&[ROOT, "mmdebstrap", "newuidmap"])
    });
    tests.collect()
}

fn installs(suite: &str, group: &Group) {
    let include = group.include();
    let components = group.components.join(" ");
    let reference =
        Reference { suite, group: Some(&group.name), variant: VARIANT, components: &components, include: &include };
    let output = output();
    let ours = group.build(suite, output.path()).output().unwrap();
    let said = String::from_utf8_lossy(&ours.stderr);
    if group.refused.is_some() {
        assert!(!ours.status.success(), "fam-build installs what harms the host: {said}");
        return;
    }
    if !ours.status.success() || group.fails.is_some() {
        let theirs = reference.command(&output.path().join("mmdebstrap.tar")).output().unwrap();
        let they_said = String::from_utf8_lossy(&theirs.stderr);
        assert_eq!(
            (group.fails.is_some(), ours.status.success(), theirs.status.success()),
            (true, false, false),
            "whether the list says that the group fails, and whether fam-build and mmdebstrap install it\n\
             fam-build: {said}\nmmdebstrap: {they_said}"
        );
        return;
    }
    let tree = output.path().join("tree");
    extract(&output.path().join("fabric_template.tar"), &tree);
    assert_installed(&tree, &include, &group.changes);
    if group.compare {
        assert_same(&reference, output.path(), &tree, &cache());
    }
}

fn every_package_that_pre_depends_is_listed() {
    let release = Release::fetch("trixie");
    let index = release.suite_alone();
    let request = Request { variant: Variant::Essential, include: &[], suite: None, recommends: &Recommends::None };
    let essential = resolve(&index, &request).unwrap();
    let provided: BTreeSet<&str> = essential
        .packages()
        .iter()
        .flat_map(|selected| selected.package.relation(Relation::Provides).unwrap())
        .flat_map(|clause| clause.alternatives)
        .map(|alternative| alternative.name())
        .collect();
    let is_essential = |name: &str| essential.get(name).is_some() || provided.contains(name);
    let listed: BTreeSet<&str> = groups().iter().flat_map(|group| &group.packages).map(String::as_str).collect();
    let missing: BTreeSet<&str> = index
        .packages()
        .filter(|package| {
            let needs = package.relation(Relation::PreDepends).unwrap();
            needs.iter().any(|clause| !clause.alternatives.iter().any(|alternative| is_essential(alternative.name())))
        })
        .map(|package| package.name())
        .filter(|name| !is_essential(name) && !listed.contains(name))
        // The name of a kernel's package has its version in it; three groups have the kernels of
        // today.
        .filter(|name| !name.starts_with("linux-image-6."))
        .collect();
    assert!(missing.is_empty(), "in no group of tests/packages.toml: {missing:?}");
}
