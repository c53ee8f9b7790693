//! The page of the documents about archives: each of its recipes is planned as it stands, from
//! archives under the names that it uses.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use support::archive::{Archive, Deb, Files, Form, Signer, apt, base};
use support::documents::path;
use support::server::{Server, answer_of};
use support::{directory_of, succeed};

use crate::small::program_with;

support::tests! {
    needs [support::harness::ROOT, "apt-get", "dpkg-deb", "gpg", "gpgv"];
    each_recipe_of_the_page_comes_to_what_it_says,
}

/// The recipes of the page by the names in their first lines.
fn recipes() -> Vec<(String, String)> {
    let page = fs_err::read_to_string(path("docs/archives.md")).unwrap();
    let blocks = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let name = |block: &str| block.lines().next().unwrap().trim_start_matches("# ").to_owned();
    blocks.map(|block| (name(&block), block)).collect()
}

/// What is in the archive of the suite, and of what the snapshots are.
fn suite(archive: Archive) -> Archive {
    archive
        .with(base())
        .with(apt())
        .with(Deb::new("linux-image-amd64"))
        .with(Deb::new("tool").field("Depends", "library").field("Recommends", "recommended"))
        .with(Deb::new("recommended").field("Recommends", "not-of-tool"))
        .with(Deb::new("not-of-tool"))
        .with(Deb::new("library"))
        .with(Deb::new("helper"))
}

fn debian() -> Files {
    suite(Archive::new("trixie"))
        .suite("trixie-updates")
        .suite("trixie-backports")
        .release("NotAutomatic", "yes")
        .release("ButAutomaticUpgrades", "yes")
        .with(Deb::new("tool").field("Version", "2").field("Depends", "library (>= 2)"))
        .with(Deb::new("library").field("Version", "2"))
        .files()
}

/// The archives of the page, by the beginnings of their URLs.
fn archives() -> HashMap<&'static str, Files> {
    let vendor = Archive::new("stable")
        .signed_by(Signer::named("vendors-key"))
        .with(Deb::new("vendors-tool").field("Depends", "helper"))
        .with(Deb::new("helper").field("Version", "2"));
    let flat = Archive::new("flat")
        .form(Form::default().flat("./"))
        .signed_by(Signer::named("vendors-key"))
        .with(Deb::new("flat-tool"));
    let fancy = suite(Archive::new("fancy"));
    let snapshot = suite(Archive::new("trixie")).suite("trixie-updates");
    HashMap::from([
        ("http://mirror.example/debian", debian()),
        ("http://snapshot.example/archive/debian/20261101T000000Z", snapshot.files()),
        ("http://vendor.example/linux", vendor.files()),
        ("http://flat.example/debian", flat.files()),
        ("http://fancy.example/fancy", fancy.files()),
    ])
}

/// A proxy that knows the hosts of the page.
fn proxy() -> Server {
    let archives = archives();
    Server::new(move |request| answer_of(&archives, request))
}

/// Lays the files that the recipes name beside them.
fn furnish(directory: &Path) {
    fs_err::copy(Signer::named("vendors-key").keyring(), directory.join("vendor.asc")).unwrap();
    let certificates = fs_err::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap();
    fs_err::write(directory.join("house.pem"), certificates).unwrap();
    fs_err::create_dir(directory.join("debs")).unwrap();
    for (file, deb) in [
        ("local-tool_1_all.deb", Deb::new("local-tool").field("Depends", "local-library, helper")),
        ("debs/local-library_1_all.deb", Deb::new("local-library")),
    ] {
        fs_err::write(directory.join(file), deb.build()).unwrap();
    }
}

/// What each recipe comes to: packages that are there, and some that are not.
const EXPECTED: &[(&str, &[&str], &[&str])] = &[
    ("vendor.toml", &["vendors-tool 1", "helper 2"], &[]),
    ("flat.toml", &["flat-tool 1"], &[]),
    ("backport.toml", &["tool 2", "library 2"], &[]),
    ("pinned.toml", &["tool 2", "library 2"], &["recommended 1"]),
    ("last.toml", &["vendors-tool 1", "helper 1"], &[]),
    ("local.toml", &["local-tool 1", "local-library 1", "helper 1"], &[]),
    ("recommends.toml", &["tool 1", "library 1", "recommended 1"], &["not-of-tool 1"]),
    ("snapshot.toml", &["base 1", "linux-image-amd64 1"], &[]),
    ("password.toml", &["vendors-tool 1"], &[]),
    ("house.toml", &["base 1"], &[]),
    ("derivative.toml", &["base 1"], &[]),
];

fn each_recipe_of_the_page_comes_to_what_it_says() {
    let directory = directory_of("root");
    furnish(directory.path());
    let proxy = proxy();
    let recipes = recipes();
    let names: Vec<&str> = recipes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, EXPECTED.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
    for ((name, text), (_, present, absent)) in recipes.iter().zip(EXPECTED) {
        let recipe = directory.path().join(name);
        fs_err::write(&recipe, text).unwrap();
        let place = directory.path().join(name.trim_end_matches(".toml"));
        let mut plan = plan(
            &place,
            &recipe,
            &proxy,
            match name.as_str() {
                "snapshot.toml" => "http://snapshot.example/archive/debian",
                "derivative.toml" => "http://fancy.example/fancy",
                _ => "http://mirror.example/debian",
            },
        );
        // Events come before the plan, a line each.
        let said = succeed(&mut plan);
        let report: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let packages = report["report"]["packages"].as_array().unwrap().iter();
        let packages: Vec<String> = packages
            .map(|it| format!("{} {}", it["name"].as_str().unwrap(), it["version"].as_str().unwrap()))
            .collect();
        for package in *present {
            assert!(packages.iter().any(|it| it == package), "{name}: {package} is not in {packages:?}");
        }
        for package in *absent {
            assert!(!packages.iter().any(|it| it == package), "{name}: {package} is in {packages:?}");
        }
    }
}

fn plan(place: &Path, recipe: &Path, proxy: &Server, mirror: &str) -> Command {
    let mut plan = program_with(crate::small::Who::Root, &place.join("output"), &place.join("cache"));
    plan.args(["plan", "--json", "--proxy", &proxy.url, "--mirror", mirror, "--recipe"]).arg(recipe);
    plan.arg("--keyring").arg(Signer::usual().keyring());
    plan
}
