//! Locks as text, and what cannot be locked.

use super::*;
use crate::packages::{Origin, PackageIndex};
use crate::resolve::{Request, Variant, resolve};
use proptest::prelude::*;

const SHA256: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn stanza(name: &str, extra: &str) -> String {
    format!(
        "Package: {name}\nVersion: 1:2-3\nArchitecture: amd64\nFilename: pool/{name}_2-3_amd64.deb\nSize: 42\n\
         SHA256: {SHA256}\n{extra}\n"
    )
}

fn lock(text: String, include: &[String]) -> Result<Lock, Error> {
    let mut index = PackageIndex::new("amd64");
    let mirror = "http://mirror.example/debian";
    let origin =
        Origin { mirror: mirror.into(), suite: "trixie".into(), component: "main".into(), ..Origin::default() };
    index.add(text, origin).unwrap();
    let selection = resolve(&index, &Request { variant: Variant::Essential, include, ..Request::default() }).unwrap();
    let source = LockedSource {
        mirror: mirror.parse().unwrap(),
        suite: "trixie".into(),
        components: vec!["main".into()],
        date: "2025-11-15T09:37:43Z".parse().unwrap(),
        signed_by: Some("0123456789abcdef0123456789abcdef01234567".into()),
        name: None,
        snapshot: None,
        pin: None,
    };
    Lock::new(&selection, index.architecture(), vec![source])
}

fn example() -> Lock {
    let text = stanza("dash", "Essential: yes\n") + &stanza("vim", "Depends: lib\n") + &stanza("lib", "");
    lock(text, &["vim".to_owned()]).unwrap().with_early(&[1].into())
}

#[test]
fn writes_one_key_a_line() {
    insta::assert_snapshot!(example().to_toml(), @r#"
# The exact packages of a build, written by fam-build.
# `fam-build --locked FILE` installs these and no others.

format = 1
architecture = "amd64"

[[source]]
mirror = "http://mirror.example/debian"
suite = "trixie"
components = ["main"]
date = "2025-11-15T09:37:43Z"
signed-by = "0123456789abcdef0123456789abcdef01234567"

[[package]]
name = "dash"
version = "1:2-3"
architecture = "amd64"
essential = true
size = 42
installed-size = 0
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
filename = "pool/dash_2-3_amd64.deb"
mirror = "http://mirror.example/debian"

[[package]]
name = "lib"
version = "1:2-3"
architecture = "amd64"
early = true
automatic = true
size = 42
installed-size = 0
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
filename = "pool/lib_2-3_amd64.deb"
mirror = "http://mirror.example/debian"

[[package]]
name = "vim"
version = "1:2-3"
architecture = "amd64"
size = 42
installed-size = 0
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
filename = "pool/vim_2-3_amd64.deb"
mirror = "http://mirror.example/debian"
"#);
}

#[test]
fn reads_what_it_writes() {
    let lock = example();
    assert_eq!(Lock::parse(&lock.to_toml()).unwrap(), lock);
    assert_eq!(lock.newest_date().unwrap().to_string(), "2025-11-15T09:37:43Z");
    let urls: Vec<_> = lock.packages.iter().map(LockedPackage::url).collect();
    assert_eq!(urls[0], "http://mirror.example/debian/pool/dash_2-3_amd64.deb");
    assert_eq!(urls.len(), 3);
}

#[test]
fn says_that_a_build_was_not_reproducible() {
    let plain = example();
    assert!(plain.reproducible && !plain.to_toml().contains("reproducible"));
    let names = ["script".to_owned(), "fetcher".to_owned()];
    let text = plain.clone().with_networked(&names).to_toml();
    let noted = "\n\nformat = 1\n# Not locked is what was fetched from the network by script, fetcher.\nreproducible = false\n\
                 architecture = \"amd64\"\n\n[[source]]\n";
    assert!(text.contains(noted), "{text}");
    let read = Lock::parse(&text).unwrap();
    assert!(!read.reproducible);
    assert!(read.to_toml().contains("by a plugin.\nreproducible = false\n"));
    assert_eq!(Lock::parse(&read.to_toml()).unwrap(), read);
    // Who takes it for a build without such plugins writes the lock that others would.
    assert_eq!(read.with_networked(&[]), plain);
}

#[test]
fn says_that_packages_were_installed_on_top_of_others() {
    let plain = example();
    let text = plain.clone().with_incremental(true).to_toml();
    assert!(text.contains("already: --incremental.\nreproducible = false\n") && !text.contains("network"), "{text}");
    assert!(!Lock::parse(&text).unwrap().reproducible);
    let names = ["script".to_owned()];
    for both in [
        plain.clone().with_incremental(true).with_networked(&names),
        plain.clone().with_networked(&names).with_incremental(true),
    ] {
        assert!(
            both.to_toml().contains("--incremental.\n# Not locked is what was fetched from the network by script.\n")
        );
    }
    assert_eq!(plain.clone().with_incremental(false), plain);
}

#[test]
fn is_for_one_architecture() {
    let mut lock = example();
    "all".clone_into(&mut lock.packages[1].architecture);
    assert_eq!(lock.check_architecture("amd64"), Ok(()));
    assert_eq!(lock.check_architecture("arm64").unwrap_err().to_string(), "the lock is for amd64, not for arm64");
    "i386".clone_into(&mut lock.packages[1].architecture);
    let error = lock.check_architecture("amd64").unwrap_err();
    assert_eq!(error.to_string(), "package lib is for i386, not for amd64");
}

#[test]
fn says_where_it_cannot_read() {
    let good = example().to_toml();
    let message = |from: &str, to: &str| Lock::parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
    let messages = [
        message("format = 1", "format = 2\nnew = 3"),
        message("format = 1\n", ""),
        message("size = 42", "size = -1"),
        message("size = 42", "size ="),
        message("size = 42", "sise = 42"),
        message(SHA256, "abc"),
        message("pool/dash", "../../etc"),
        message("name = \"dash\"", "name = \"../dash\""),
        message("1:2-3", "x:2"),
        message("2025-11-15T", "2025-13-15T"),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r#"
format 2 is not known, only 1
line 1, column 1: missing field `format`
line 19, column 8: invalid value: integer `-1`, expected u64
line 19, column 7: string values must be quoted, expected literal string
line 19, column 1: unknown field `sise`, expected one of `name`, `version`, `architecture`, `essential`, `early`, `automatic`, `size`, `installed-size`, `sha256`, `sha512`, `filename`, `mirror`
line 21, column 10: `abc` is not a SHA-256 of 64 hexadecimal digits
line 22, column 12: `../../etc_2-3_amd64.deb` is not a plain relative path
line 15, column 8: `../dash` is not a name
line 16, column 11: version `x:2` has an epoch that is not a number
line 11, column 8: `2025-13-15T09:37:43Z`: failed to parse two digit integer as month: parameter 'month' is not in the required range of 1..=12
"#);
}

#[test]
fn refuses_packages_without_what_identifies_them() {
    let refuse =
        |from: &str, to: &str| lock(stanza("dash", "Essential: yes\n").replace(from, to), &[]).unwrap_err().to_string();
    assert_eq!(refuse("Size: 42\n", ""), "package dash=1:2-3: field Size of the package index: is missing");
    assert_eq!(
        refuse("Filename: pool", "Filename: /pool"),
        "package dash=1:2-3: field Filename of the package index: `/pool/dash_2-3_amd64.deb` is not a plain relative path"
    );
    assert_eq!(
        refuse("SHA256: 01", "SHA256: 1"),
        format!(
            "package dash=1:2-3: field SHA256 of the package index: `{}` is not a SHA-256 of 64 hexadecimal digits",
            &SHA256[1..]
        )
    );
}

#[test]
fn takes_sha_512_where_there_is_no_sha_256() {
    let sha512 = SHA256.repeat(2);
    let text = stanza("dash", "Essential: yes\n").replace(&format!("SHA256: {SHA256}"), &format!("SHA512: {sha512}"));
    let lock = lock(text, &[]).unwrap();
    assert_eq!(lock.packages[0].digest.to_string(), sha512);
    let text = lock.to_toml();
    assert!(text.contains(&format!("sha512 = \"{sha512}\"\n")) && !text.contains("sha256"), "{text}");
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    let both = text.replace("sha512 =", &format!("sha256 = \"{SHA256}\"\nsha512 ="));
    let neither = text.replace("sha512 =", "#");
    for (text, expected) in [(both, "both `sha256` and `sha512`"), (neither, "missing field `sha256` or `sha512`")] {
        let error = Lock::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expected) && error.starts_with("line 14"), "{error}");
    }
}

proptest! {
    #[test]
    fn never_panics(text in "((format|package|\\[\\[package\\]\\]|size|=|1|\"é\"|\n| ){0,12}|(.|\n)*)") {
        let _ = Lock::parse(&text);
    }
}

#[test]
fn keeps_the_pin_of_an_archive() {
    let mut lock = example();
    let release =
        crate::packages::ReleaseNames { origin: "Vendor".into(), codename: "stable".into(), ..Default::default() };
    let origin = Origin { mirror: "http://vendor.example/apt".into(), release, ..Origin::default() };
    lock.sources[0].pin = Some(Pin::of_archive(&origin, "100".parse().unwrap()));
    let text = lock.to_toml();
    assert!(
        text.contains("[source.pin]\npackages = \"*\"\npin = \"release o=Vendor,n=stable\"\npriority = 100\n"),
        "{text}"
    );
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    // What a pin cannot say, and nothing at all.
    for origin in [
        Origin {
            release: crate::packages::ReleaseNames { origin: "a, b".into(), ..Default::default() },
            ..origin.clone()
        },
        Origin { release: Default::default(), ..origin },
    ] {
        let pin = Pin::of_archive(&origin, "-1".parse().unwrap());
        assert_eq!(pin.versions().to_string(), "origin \"vendor.example\"");
    }
}
