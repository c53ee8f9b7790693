//! The bill of materials of small systems: built by root and by a user, again, from the lock, and
//! from a tarball.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::archive::{Archive, Deb};
use support::succeed;

use crate::small::{Bench, SUITE, Who, archive, names};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "gpg", "dpkg-deb", "tar"];
    whoever_builds_and_however_often_the_bytes_are_the_same,
    of_a_tarball_it_says_what_the_tarball_knows,
}

const SBOM: &str = "fabric.spdx.json";

fn with_a_tool() -> Archive {
    let tool = Deb::new("tool").field("Depends", "base, missing | lib").field("Homepage", "https://tool.example/");
    let lib = Deb::new("lib").field("Source", "libs (0.9)").field("Version", "1:2~rc1+b1");
    archive().with(tool).with(lib)
}

impl Bench {
    fn sbom(&self) -> PathBuf {
        self.output().join(SBOM)
    }

    /// Builds with the package `tool`, and returns what the bill of materials says then.
    fn build_with_tool(&self, arguments: &[&str]) -> String {
        succeed(&mut self.build(arguments));
        fs_err::read_to_string(self.sbom()).unwrap()
    }
}

/// Each package by its name: where it can be fetched.
fn locations(document: &str) -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(document).unwrap();
    let text = |package: &Value, key: &str| package[key].as_str().unwrap().to_owned();
    let packages = document["packages"].as_array().unwrap().iter();
    let binaries = packages.filter(|package| package.get("primaryPackagePurpose").is_none());
    binaries.map(|package| (text(package, "name"), text(package, "downloadLocation"))).collect()
}

fn whoever_builds_and_however_often_the_bytes_are_the_same() {
    let root = Bench::new(with_a_tool());
    let include = ["--include", "tool"];
    let first = root.build_with_tool(&include);
    let at = |path: &str| format!("{}/pool/{path}", root.mirror.url());
    let expected = [("base", "base_1_all.deb"), ("lib", "lib_1%253a2%7Erc1%2Bb1_all.deb"), ("tool", "tool_1_all.deb")];
    assert_eq!(locations(&first), expected.map(|(name, file)| (name.to_owned(), at(file))));

    // The template is the old one then, and nothing is installed.
    fs_err::remove_file(root.sbom()).unwrap();
    assert_eq!(root.build_with_tool(&include), first);
    assert_eq!(root.build_with_tool(&["--include", "tool", "--fresh"]), first);
    // A lock does not say what was asked for, but what was installed.
    let lock = root.directory.path().join("lock");
    fs_err::copy(root.output().join("fabric.lock"), &lock).unwrap();
    assert_eq!(root.build_with_tool(&["--fresh", "--locked", lock.to_str().unwrap()]), first);

    let user = Bench::of(Who::User, Archive::new(SUITE).serve());
    assert_eq!(user.build_with_tool(&["--include", "tool", "--mirror", root.mirror.url()]), first);
    assert_ne!(root.build_with_tool(&[]), first, "without tool");
}

fn of_a_tarball_it_says_what_the_tarball_knows() {
    let bench = Bench::new(with_a_tool());
    let built = bench.build_with_tool(&["--include", "tool"]);
    let tarball = bench.directory.path().join("root.tar");
    fs_err::rename(bench.output().join("fabric_template.tar"), &tarball).unwrap();
    let from = |tarball: &Path| {
        let output = bench.build(&["--from-tarball", tarball.to_str().unwrap()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(from(&tarball).contains(SBOM));
    let found = fs_err::read_to_string(bench.sbom()).unwrap();
    let expected = ["base", "lib", "tool"].map(|name| (name.to_owned(), "NOASSERTION".to_owned()));
    assert_eq!(locations(&found), expected);
    assert!(!found.contains("checksum") && built.contains("checksum"));

    // What was there is of another system.
    succeed(Command::new("tar").arg("--delete").arg("--file").arg(&tarball).arg("./var/lib/dpkg/status"));
    assert!(!from(&tarball).contains(SBOM));
    assert!(!bench.sbom().exists(), "{:?}", names(&bench.output()));
    fs_err::remove_dir_all(bench.output()).unwrap();
    from(&tarball);
    assert!(!bench.sbom().exists());
    let log = fs_err::read_to_string(bench.output().join("fabric_emulation.log")).unwrap();
    assert!(log.contains("no fabric.spdx.json: the root tree has no packages in /var/lib/dpkg/status"), "{log}");
}
