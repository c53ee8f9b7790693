//! What the document says of systems that tables can hold; tests/full compares it with debsbom's.

use std::collections::HashSet;

use serde_json::Value;

use super::*;

const STATUS: &str = "\
Package: lib+
Status: install ok installed
Maintainer: Debian Lib Maintainers <lib@lists.example>
Architecture: amd64
Multi-Arch: same
Source: lib (1:2.0-1)
Version: 1:2.0-1+b3
Provides: virtual (= 5), other
Homepage: https://lib.example/~home
Built-Using: rustc (= 1.85+dfsg-1)
Description: keeps books
 Books are kept on shelves,
 in order.
  * first
 .
 And that is all.

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: tool
Status: install ok installed
Priority: optional
Architecture: all
Version: 3~rc1
Depends: missing | lib+ (>= 1:1), virtual (>= 4), virtual (>= 6)
Pre-Depends: other (= 1) | other
Recommends: lib+, gone
Homepage: see the README
Maintainer: Ann Example <ann@mail.example>
";

const LOCK: &str = r#"
format = 1
architecture = "amd64"
[[source]]
mirror = "http://ann:secret@mirror.example/debian"
suite = "trixie"
components = ["main"]
date = "2025-11-15T09:37:43Z"
[[package]]
name = "lib+"
version = "1:2.0-1+b3"
architecture = "amd64"
size = 42
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
filename = "pool/main/l/lib/lib+_2.0-1+b3_amd64.deb"
mirror = "http://ann:secret@mirror.example/debian"
"#;

const STATES: &str = "Package: lib+\nArchitecture: amd64\nAuto-Installed: 1\n\n";

fn known<'a>(status: &'a str, lock: Option<&'a Lock>) -> Known<'a> {
    let suite = lock.map(|_| "trixie");
    Known { status, extended_states: STATES, os_release: "", lock, suite, time: 1_763_199_463 }
}

fn json(known: &Known<'_>) -> Value {
    serde_json::from_str(&render(known).unwrap()).unwrap()
}

#[test]
fn says_what_the_database_and_the_lock_know() {
    let lock = Lock::parse(LOCK).unwrap();
    let text = render(&known(STATUS, Some(&lock))).unwrap();
    assert!(!text.contains("secret") && !text.contains("ann:"), "{text}");
    assert_eq!(render(&known(STATUS, Some(&lock))).unwrap(), text);
    let namespace = json(&known(STATUS, Some(&lock)))["documentNamespace"].as_str().unwrap().to_owned();
    let shown = text.replace(&namespace, "NAMESPACE").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(shown);
}

#[test]
fn of_a_tarball_it_says_what_its_own_files_know() {
    let os_release =
        "PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nVERSION_CODENAME=noble\n";
    let document = json(&Known { os_release, ..known(STATUS, None) });
    assert_eq!(document["name"], "Ubuntu 24.04 LTS");
    assert_eq!(
        (&document["packages"][0]["name"], &document["packages"][0]["versionInfo"]),
        (&"Ubuntu".into(), &"24.04".into())
    );
    let lib = &document["packages"][1];
    assert_eq!(lib["downloadLocation"], "NOASSERTION");
    assert!(lib.get("checksums").is_none());
    let purl = &lib["externalRefs"][0]["referenceLocator"];
    assert_eq!(purl, "pkg:deb/ubuntu/lib%2B@1:2.0-1%2Bb3?arch=amd64&distro=noble");
    let hostile = Known { os_release: "ID=a/../b?c\nVERSION_CODENAME=x&y\n", ..known(STATUS, None) };
    let document = json(&hostile);
    assert_eq!(
        document["packages"][1]["externalRefs"][0]["referenceLocator"],
        "pkg:deb/debian/lib%2B@1:2.0-1%2Bb3?arch=amd64"
    );
}

#[test]
fn a_system_without_packages_has_no_document() {
    let gone = "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n";
    for status in ["", "\n\n", "no database at all", gone, "Package: a\nStatus: install ok installed\n"] {
        assert_eq!(render(&known(status, None)), None, "{status:?}");
    }
}

#[test]
fn no_two_elements_have_one_identifier() {
    let package = |name: &str| {
        format!("Package: {name}\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nDepends: a+, a_, a.\n")
    };
    let status = ["a+", "a_", "a.", "a.-all-2"].map(package).join("\n");
    let document = json(&known(&status, None));
    let ids = |key: &str| document[key].as_array().unwrap().clone();
    let all: HashSet<_> = ids("packages").iter().map(|package| package["SPDXID"].to_string()).collect();
    assert_eq!(all.len(), 1 + 2 * 4);
    for relationship in ids("relationships").iter().skip(1) {
        assert!(all.contains(&relationship["spdxElementId"].to_string()), "{relationship}");
        assert!(all.contains(&relationship["relatedSpdxElement"].to_string()), "{relationship}");
    }
    let depends = ids("relationships").iter().filter(|one| one["relationshipType"] == "DEPENDS_ON").count();
    assert_eq!(depends, 4 * 3, "each on three");
}

#[test]
fn every_time_has_a_date() {
    for (seconds, date) in [
        (0, "1970-01-01T00:00:00Z"),
        (1_763_199_463, "2025-11-15T09:37:43Z"),
        (-1, "1970-01-01T00:00:00Z"),
        (i64::MAX, "1970-01-01T00:00:00Z"),
    ] {
        assert_eq!(created(seconds), date);
    }
}

#[test]
fn the_namespace_is_the_contents() {
    let namespace = |known: &Known<'_>| json(known)["documentNamespace"].as_str().unwrap().to_owned();
    let one = namespace(&known(STATUS, None));
    assert_eq!(one, namespace(&known(STATUS, None)));
    assert_ne!(one, namespace(&Known { time: 0, ..known(STATUS, None) }));
    assert_ne!(one, namespace(&known(&STATUS.replace("3~rc1", "3"), None)));
}
