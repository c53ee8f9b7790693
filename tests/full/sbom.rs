//! The bill of materials of a real system against what debsbom says of its root tree, and against
//! the validator of the SPDX project.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use fam_archive::deb822::stanzas;
use serde_json::Value;
use support::files::extract;
use support::server::decoded;
use support::{mirror, program, scratch, succeed};

use crate::downloads::Apt;

support::tests! {
    needs [support::harness::ROOT, "apt-get", "debsbom", "pyspdxtools"];
    says_what_debsbom_says,
}

const RECIPE: &str = "extends = \"minimal\"\nupdates = false\nsecurity = false\nnodes.count = 1\n";

/// From element, kind, to element, comment.
type Relationship = (String, String, String, String);

/// A document; the system as a whole, which each writer calls something else, has an empty name.
struct Bill {
    packages: BTreeMap<String, Value>,
    relationships: BTreeSet<Relationship>,
}

impl Bill {
    fn read(path: &Path) -> Self {
        let document: Value = serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap();
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let list = |key: &str| document[key].as_array().unwrap().clone();
        let is_system = |package: &Value| package["primaryPackagePurpose"] == "OPERATING_SYSTEM";
        let system = text(list("packages").iter().find(|package| is_system(package)).unwrap(), "SPDXID");
        let id = |value: &Value, key: &str| Some(text(value, key)).filter(|id| *id != system).unwrap_or_default();
        let packages = list("packages").into_iter().filter(|package| !is_system(package));
        let relationship = |one: &Value| {
            (
                id(one, "spdxElementId"),
                text(one, "relationshipType"),
                id(one, "relatedSpdxElement"),
                text(one, "comment"),
            )
        };
        Self {
            packages: packages.map(|package| (text(&package, "SPDXID"), package)).collect(),
            relationships: list("relationships").iter().map(relationship).collect(),
        }
    }
}

/// The only reference of a package.
fn purl(package: &Value) -> String {
    let [reference] = package["externalRefs"].as_array().unwrap().as_slice() else { panic!("{package}") };
    assert_eq!(reference["referenceType"], "purl");
    reference["referenceLocator"].as_str().unwrap().replace("&distro=trixie", "")
}

fn sha256(package: &Value) -> Option<&Value> {
    package["checksums"].as_array()?.iter().find(|sum| sum["algorithm"] == "SHA256").map(|sum| &sum["checksumValue"])
}

/// Without blanks: where they are differs, as debsbom does not know each form of a paragraph.
fn words(text: &Value) -> String {
    text.as_str().unwrap_or_default().split_whitespace().collect()
}

fn assert_same_package(ours: &Value, theirs: &Value) {
    for key in ["name", "versionInfo", "homepage", "licenseConcluded", "licenseDeclared", "copyrightText"] {
        assert_eq!(ours[key], theirs[key], "{key} of {ours}");
    }
    assert_eq!(purl(ours), purl(theirs));
    let is_source = ours["primaryPackagePurpose"] == "SOURCE";
    assert_eq!(is_source, theirs["primaryPackagePurpose"] == "SOURCE");
    // debsbom takes any of the packages that name a source, also such as were only built with it.
    if !(is_source && theirs["supplier"] == "NOASSERTION") {
        assert_eq!(ours["supplier"], theirs["supplier"], "{ours}");
    }
    if is_source {
        return;
    }
    assert_eq!(ours["summary"], theirs["summary"]);
    assert_eq!(words(&ours["description"]), words(&theirs["description"]), "{ours}");
    assert!(sha256(theirs).is_some(), "apt's lists are there: {theirs}");
    assert_eq!(sha256(ours), sha256(theirs), "{ours}");
    let (url, file) = (ours["downloadLocation"].as_str().unwrap(), ours["packageFileName"].as_str().unwrap());
    let is_of_file = decoded(url).ends_with(&format!("/{file}"));
    assert!(url.starts_with(&format!("{}/pool/main/", mirror())) && is_of_file, "{url}");
}

fn says_what_debsbom_says() {
    let work = tempfile::Builder::new().prefix("fam-build-sbom.").tempdir_in(scratch()).unwrap();
    let work = work.path();
    fs_err::write(work.join("recipe.toml"), RECIPE).unwrap();
    let mut build = Command::new(program());
    build.args(["--mirror", &mirror(), "--recipe"]).arg(work.join("recipe.toml")).arg("--output").arg(work);
    succeed(&mut build);
    let document = work.join("fabric.spdx.json");
    succeed(Command::new("pyspdxtools").args(["--version", "SPDX-2.3", "--infile"]).arg(&document));

    // With apt's lists debsbom knows checksums, too.
    let tree = work.join("tree");
    extract(&work.join("fabric_template.tar"), &tree);
    Apt::new(&work.join("apt"), "trixie");
    for entry in fs_err::read_dir(work.join("apt/lists")).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_file() {
            fs_err::copy(entry.path(), tree.join("var/lib/apt/lists").join(entry.file_name())).unwrap();
        }
    }
    let mut debsbom = Command::new("debsbom");
    debsbom.args(["generate", "--sbom-type", "spdx", "--root"]).arg(&tree).arg("--out").arg(work.join("debsbom"));
    succeed(&mut debsbom);

    let (ours, theirs) = (Bill::read(&document), Bill::read(&work.join("debsbom.spdx.json")));
    let ids = |bill: &Bill| bill.packages.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&ours), ids(&theirs));
    assert!(ours.packages.len() > 200, "{} packages", ours.packages.len());
    for (id, package) in &ours.packages {
        assert_same_package(package, &theirs.packages[id]);
    }
    let lacking: Vec<_> = theirs.relationships.difference(&ours.relationships).collect();
    assert!(lacking.is_empty(), "{lacking:#?}");
    // debsbom passes over Pre-Depends where a package has no Depends.
    let status = fs_err::read_to_string(tree.join("var/lib/dpkg/status")).unwrap();
    let passed_over: BTreeSet<String> = stanzas(&status)
        .filter(|stanza| stanza.get("Pre-Depends").is_some() && stanza.get("Depends").is_none())
        .map(|stanza| format!("SPDXRef-{}-{}", stanza.get("Package").unwrap(), stanza.get("Architecture").unwrap()))
        .collect();
    let more: Vec<_> = ours.relationships.difference(&theirs.relationships).collect();
    assert!(!more.is_empty());
    for one in more {
        assert!(one.1 == "DEPENDS_ON" && passed_over.contains(&one.0), "{one:?}");
    }
}
