//! What apt accepts of an archive's form, fam-build accepts: a table of archives, of each of which the
//! host's apt and fam-build say which files they would fetch.

use std::collections::BTreeSet;
use std::time::Duration;

use fam_archive::http::{HttpOptions, ProxyChoice};
use fam_archive::lock::{Lock, LockedPackage};
use fam_archive::packages::{Origin, PackageIndex};
use fam_archive::resolve::{Request, Variant, resolve};
use fam_archive::{Client, ClientOptions, Source};
use fam_progress::Progress;
use support::apt::Apt;
use support::archive::{Archive, Deb, Form, Mirror, days_from_now};
use support::server::decoded;

use crate::small::{Bench, SUITE, assert_fails};

support::tests! {
    needs ["apt-get", "bzip2", "dpkg-deb", "gpg", "gpgv", "gzip", "xz", "zstd"];
    forms_of_indexes,
    indexes_of_all,
    file_names,
    odd_stanzas,
    other_digests,
    odd_release_files,
    components,
    flat_archives,
    what_a_build_says,
}

/// An archive, and what is asked of it.
struct Case {
    name: String,
    archive: Archive,
    /// Suites and their components.
    sources: Vec<(&'static str, &'static str)>,
    include: Vec<&'static str>,
    /// Part of fam-build's error, where it cannot do it.
    error: Option<&'static str>,
    /// Whether apt does it.
    apt: bool,
}

impl Case {
    /// Both do it.
    fn new(name: impl Into<String>, archive: Archive) -> Self {
        let (sources, include) = (vec![(SUITE, "main")], vec!["base", "native"]);
        Self { name: name.into(), archive, sources, include, error: None, apt: true }
    }

    fn sources(self, sources: &[(&'static str, &'static str)]) -> Self {
        Self { sources: sources.to_vec(), ..self }
    }

    fn include(self, packages: &[&'static str]) -> Self {
        Self { include: [&["base"], packages].concat(), ..self }
    }

    /// Neither does it.
    fn refused(self, error: &'static str) -> Self {
        Self { error: Some(error), apt: false, ..self }
    }

    /// Only apt does it.
    fn stricter(self, error: &'static str) -> Self {
        Self { error: Some(error), ..self }
    }

    /// Only fam-build does it.
    fn apt_refuses(self) -> Self {
        Self { apt: false, ..self }
    }

    fn judge(self) {
        let Self { name, archive, sources, include, error, apt } = self;
        let mirror = archive.serve();
        let lines: Vec<_> = sources.iter().map(|(suite, of)| format!("{} {suite} {of}", mirror.url())).collect();
        let host = Apt::host();
        let keyring = fs_err::read(mirror.keyring()).unwrap();
        let theirs = host.subscribe_to(&lines, &keyring, "gpg").urls(&include);
        let own = fetched(&mirror, &sources, &include);
        match error {
            None => {
                let own = own.unwrap_or_else(|error| panic!("{name}: {error}"));
                if apt {
                    let theirs = theirs.unwrap_or_else(|said| panic!("{name}: {said}"));
                    let theirs: BTreeSet<_> = theirs.iter().map(|url| decoded(url)).collect();
                    assert_eq!(own.iter().map(|url| decoded(url)).collect::<BTreeSet<_>>(), theirs, "{name}");
                } else {
                    assert!(theirs.is_err(), "{name}: {theirs:?}");
                }
            }
            Some(part) => {
                let own = own.unwrap_err();
                assert!(own.contains(part), "{name}: {own}");
                assert_eq!(theirs.is_ok(), apt, "{name}: {theirs:?}");
            }
        }
    }
}

/// The URLs of the packages that are chosen; all of them were fetched.
fn fetched(mirror: &Mirror, sources: &[(&str, &str)], include: &[&str]) -> Result<Vec<String>, String> {
    let directory = tempfile::tempdir().unwrap();
    let http = HttpOptions {
        proxy: ProxyChoice::Direct,
        attempts: 1,
        pause: Duration::from_millis(1),
        ..HttpOptions::default()
    };
    let keyrings = vec![mirror.keyring().to_owned()];
    let options = ClientOptions { http, keyrings, ..ClientOptions::new(directory.path().join("cache")) };
    let client = Client::new(options, Progress::silent()).unwrap();
    let source = |&(suite, components): &(&str, &str)| Source {
        mirror: mirror.url().to_owned(),
        suite: suite.to_owned(),
        components: components.split_whitespace().map(str::to_owned).collect(),
        architecture: "amd64".to_owned(),
    };
    let sources: Vec<_> = sources.iter().map(source).collect();
    let mut index = PackageIndex::new("amd64");
    for opened in client.open_all(&sources).map_err(|error| error.to_string())? {
        for read in opened.indexes {
            let (mirror, suite) = (mirror.url().to_owned(), opened.source.suite.clone());
            index.add(read.text, Origin { mirror, suite, component: read.component }).unwrap();
        }
    }
    let include: Vec<_> = include.iter().map(|&name| name.to_owned()).collect();
    let request = Request { variant: Variant::Essential, include: &include, suite: None };
    let selection = resolve(&index, &request).map_err(|error| error.to_string())?;
    let lock = Lock::new(&selection, "amd64", Vec::new()).map_err(|error| error.to_string())?;
    // As a build from the lock has it.
    let lock = Lock::parse(&lock.to_toml()).unwrap();
    let downloads: Vec<_> = lock.packages.iter().map(LockedPackage::download).collect();
    client.fetch(&downloads).map_err(|error| error.to_string())?;
    Ok(lock.packages.iter().map(LockedPackage::url).collect())
}

fn native() -> Deb {
    Deb::new("native").field("Architecture", "amd64").field("Depends", "base")
}

/// An essential package for all architectures, and one for this one.
fn usual() -> Archive {
    Archive::new(SUITE).with(Deb::new("base").essential()).with(native())
}

fn with(form: Form) -> Archive {
    usual().form(form)
}

fn judge(cases: impl IntoIterator<Item = Case>) {
    cases.into_iter().for_each(Case::judge);
}

fn forms_of_indexes() {
    const ALL: [&str; 6] = ["", ".xz", ".bz2", ".lzma", ".gz", ".zst"];
    let others = |ending: &'static str| ALL.into_iter().filter(move |other| *other != ending).collect::<Vec<_>>();
    for ending in ALL {
        let listed = if ending.is_empty() { vec![""] } else { vec!["", ending] };
        let form = Form::default().compressed(&listed).absent(&others(ending));
        Case::new(format!("only {ending}"), with(form)).judge();
        let form = Form::default().compressed(&ALL).absent(&others(ending));
        Case::new(format!("all listed, {ending} there"), with(form)).judge();
    }
    let unlisted = Form::default().compressed(&[".gz"]);
    let case = Case::new("the plain form is not listed", with(unlisted));
    judge([case.apt_refuses(), Case::new("none is there", with(Form::default().absent(&[""]))).refused("404")]);
}

fn indexes_of_all() {
    let apart = || with(Form::default().all_apart());
    let cannot = "unknown package `base`";
    let of_all = Deb::new("of-all").field("Provides", "virtual");
    let own = Deb::new("own").field("Provides", "virtual").field("Architecture", "amd64");
    let user = Deb::new("user").field("Depends", "virtual");
    judge([
        Case::new("both", apart().release("Architectures", "all amd64")),
        Case::new("in another order", apart().release("Architectures", "amd64 all")),
        Case::new("only all is named", apart().release("Architectures", "all")),
        Case::new("no architecture is named", apart().release("Architectures", "")),
        Case::new("all is not named", apart()).refused(cannot),
        Case::new(
            "no support for all",
            apart().release("Architectures", "all amd64").release("No-Support-for-Architecture-all", "Packages"),
        )
        .refused(cannot),
        // Of providers that are alike, apt takes the one that it read last.
        Case::new(
            "the index of all comes last",
            apart().release("Architectures", "all amd64").with(of_all).with(own).with(user),
        )
        .include(&["user"]),
        Case::new("one index, only all is named", usual().release("Architectures", "all")),
        Case::new("one index, noarch is named", usual().release("Architectures", "noarch")),
        Case::new("one index, another is named", usual().release("Architectures", "arm64")),
    ]);
}

fn file_names() {
    for name in [
        "pool/n_1%3a4.deb",
        "pool/n 1~rc+b.deb",
        "pool/(n)[1]{2}.deb",
        "pool/n;1&2=3,4!@.deb",
        "./n.deb",
        "pool/./n.deb",
    ] {
        let archive = Archive::new(SUITE).with(Deb::new("base").essential()).with(native().at(name));
        Case::new(name, archive).judge();
    }
}

fn odd_stanzas() {
    let stanza = |text: &[u8]| with(Form::default().stanza(text));
    let fields = "Package: odd\nArchitecture: all\nSize: 1\nFilename: odd.deb\n";
    let odd = |more: &str| stanza(format!("{fields}{more}").as_bytes());
    judge([
        Case::new("a field in Latin-1", stanza(b"Package: odd\nVersion: 1\nArchitecture: all\nDescription: caf\xe9")),
        Case::new("a name in Latin-1", stanza(b"Package: caf\xe9\nVersion: 1\nArchitecture: all")),
        Case::new("a version with a blank", odd("Version: 1.0 beta")),
        Case::new("no version", odd("Description: none")),
        Case::new("a relation to a version without a sign", odd("Version: 1\nDepends: base (2.1)")),
        Case::new("a relation as in sources", odd("Version: 1\nDepends: base [amd64]")).apt_refuses(),
        Case::new("a relation that is not closed", odd("Version: 1\nDepends: base (")).apt_refuses(),
        Case::new("a stanza without a name", stanza(b"Version: 1\nArchitecture: all")).apt_refuses(),
        Case::new("it is asked for", odd("Version: 1\nDepends: base [amd64]"))
            .include(&["odd"])
            .refused("package `odd` cannot be used: package index of"),
        Case::new(
            "it is needed",
            odd("Version: 1 beta\nDepends: a [b]").with(Deb::new("user").field("Depends", "odd")),
        )
        .include(&["user"])
        .refused("one was passed over: package index of"),
    ]);
}

fn other_digests() {
    let hashed = || usual().release("Acquire-By-Hash", "yes");
    judge([
        Case::new("SHA-512", with(Form::default().sha512())),
        Case::new("SHA-512, promised by hash", hashed().form(Form::default().sha512().compressed(&["", ".xz"]))),
    ]);
}

fn odd_release_files() {
    let east = |days| days_from_now(days).replace("UTC", "+0800");
    judge([
        Case::new("a date with an offset", usual().release("Date", east(-2))),
        Case::new("a date that is none", usual().release("Date", "some day")),
        Case::new("no date", usual().release("Date", "")),
        Case::new("no suite", usual().release("Suite", "")),
        Case::new("no codename", usual().release("Codename", "")),
        Case::new("neither", usual().release("Suite", "").release("Codename", "")),
        Case::new("no components", usual().release("Components", "")),
    ]);
}

fn components() {
    let extra = || usual().suite("extra").form(Form::default().component("extra")).with(Deb::new("more"));
    let both = [(SUITE, "main extra"), ("extra", "main extra")];
    judge([
        Case::new("one suite has it", extra().release("Components", "extra")).sources(&both).include(&["more"]),
        Case::new("it is not named", extra()).sources(&both).include(&["more"]),
        Case::new("no suite has it", usual())
            .sources(&[(SUITE, "main extra")])
            .stricter("has no component extra, only main"),
    ]);
}

fn flat_archives() {
    for (directory, name) in [("./", "./n.deb"), ("sub/", "sub/n.deb"), ("sub/dir/", "n.deb")] {
        let archive = Archive::new(SUITE).with(Deb::new("base").essential()).with(native().at(name));
        let form = Form::default().compressed(&["", ".gz"]).flat(directory);
        let archive = archive.form(form).release("Components", "").release("Architectures", "");
        Case::new(directory, archive).sources(&[(directory, "")]).judge();
    }
}

/// Packages that are passed over, and digests, in what the program says and writes.
fn what_a_build_says() {
    let bad = "Package: bad\nVersion: 1.0 beta\nArchitecture: all";
    let archive = Archive::new(SUITE).with(Deb::new("base").essential());
    let bench = Bench::new(archive.form(Form::default().sha512().stanza(bad)).release("Date", ""));
    let output = bench.build(&["lock"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    for part in ["bad has an invalid Version", "it has no Date"] {
        assert_eq!(stderr.matches(part).count(), 1, "{stderr}");
    }
    let lock = fs_err::read_to_string(bench.output().join("fabric.lock")).unwrap();
    assert!(lock.contains("sha512 = \"") && !lock.contains("sha256"), "{lock}");
    let reason = ["package `bad` cannot be used", "invalid Version: \"1.0 beta\""];
    assert_fails(&mut bench.build(&["lock", "--include", "bad"]), 1, &reason, "leave the package out");
}
