use super::*;

fn source(uri: &str, suite: &str, components: &[&str], signed_by: Option<&str>) -> AptSource {
    AptSource {
        uri: uri.to_owned(),
        suite: suite.to_owned(),
        components: components.iter().copied().map(str::to_owned).collect(),
        signed_by: signed_by.map(str::to_owned),
        ..AptSource::default()
    }
}

fn chosen(text: &str) -> HostMirrors {
    let sources = if text.contains("Types:") { parse_deb822_sources(text) } else { parse_one_line_sources(text) };
    choose(&sources, |_| None)
}

#[test]
fn one_line_form_by_field() {
    let text = "\
# deb http://commented.example/debian trixie main
#deb http://commented.example/debian trixie main
deb http://a.example/debian trixie main contrib # deb http://trailing.example/debian
  deb\t[ arch=amd64,arm64 signed-by=/k.gpg ]   http://b.example/debian/ trixie-updates main
deb [trusted=yes]http://c.example/x ./
deb-src http://source.example/debian trixie main
debug http://no.example/debian trixie main
deb [arch=amd64 http://unclosed.example/debian trixie main
deb http://incomplete.example/debian
";
    assert_eq!(
        parse_one_line_sources(text),
        [
            source("http://a.example/debian", "trixie", &["main", "contrib"], None),
            AptSource {
                architectures: vec!["amd64".into(), "arm64".into()],
                ..source("http://b.example/debian/", "trixie-updates", &["main"], Some("/k.gpg"))
            },
            AptSource { is_trusted: true, ..source("http://c.example/x", "./", &[], None) },
        ]
    );
}

#[test]
fn deb822_form_by_field() {
    let text = "\
# http://comment.example/debian
Types: deb deb-src
URIs: http://a.example/debian
 http://b.example/debian
Suites: trixie
# trixie-proposed-updates
 trixie-updates
components: main
 contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://source.example/debian
Suites: trixie
Components: main

Enabled: No
Types: deb
URIs: http://disabled.example/debian
Suites: trixie
Components: main
";
    let keyring = Some("/usr/share/keyrings/debian-archive-keyring.gpg");
    let both = ["main", "contrib"];
    assert_eq!(
        parse_deb822_sources(text),
        [
            source("http://a.example/debian", "trixie", &both, keyring),
            source("http://a.example/debian", "trixie-updates", &both, keyring),
            source("http://b.example/debian", "trixie", &both, keyring),
            source("http://b.example/debian", "trixie-updates", &both, keyring),
        ]
    );
}

#[test]
fn picks_debian_among_others() {
    let cases = [
        // Others publish for Debian's codenames, with a component main too.
        (
            "deb [signed-by=/k/vendor.gpg] https://vendor.example/debian/12/prod bookworm main\n\
             deb https://vendor.example/apt bookworm-pgdg main\n\
             deb http://mirror.example/debian bookworm main\n\
             deb http://mirror.example/debian-security bookworm-security main\n",
            Some("http://mirror.example/debian"),
            Some("http://mirror.example/debian-security"),
        ),
        // A name that does not look like Debian, but its keyring.
        (
            "deb http://odd.example/x trixie main\n\
             deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/mirrors/d13/ trixie main\n",
            Some("http://mirror.example/mirrors/d13"),
            None,
        ),
        // Whole releases before their updates and backports.
        (
            "deb http://b.example/debian bookworm-backports main\ndeb http://a.example/debian bookworm main\n",
            Some("http://a.example/debian"),
            None,
        ),
        ("deb http://s.example/s buster/updates main\n", None, Some("http://s.example/s")),
        ("deb cdrom:[Debian]/ trixie main\ndeb file:/srv/debian trixie main\n", None, None),
        ("deb http://archive.example/ubuntu noble main\n", None, None),
        ("deb http://mirror.example/debian trixie contrib\n", None, None),
    ];
    for (text, main, security) in cases {
        let expected = HostMirrors { main: main.map(str::to_owned), security: security.map(str::to_owned) };
        assert_eq!(chosen(text), expected, "{text}");
    }
}

#[test]
fn follows_the_mirror_lists_of_cloud_images() {
    let sources = [source("mirror+file:///etc/apt/mirrors/debian.list", "trixie", &["main"], None)];
    let mirrors = choose(&sources, |path| {
        assert_eq!(path, "/etc/apt/mirrors/debian.list");
        Some("# one\nhttps://mirror.example/debian\tpriority:1\n".to_owned())
    });
    assert_eq!(mirrors.main.as_deref(), Some("https://mirror.example/debian"));
}

#[test]
fn reads_the_files_that_apt_reads() {
    let etc = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = etc.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("os-release", "NAME=Debian\nID=debian\n");
    write("apt/sources.list.d/z.list.save", "deb http://saved.example/debian trixie main\n");
    write("apt/sources.list.d/odd~name.list", "deb http://odd.example/debian trixie main\n");
    write("apt/sources.list.d/b.list", "deb http://b.example/debian trixie main\n");
    write(
        "apt/sources.list.d/a.sources",
        "Types: deb\nURIs: http://a.example/debian\nSuites: trixie\nComponents: main\n",
    );
    assert_eq!(host_mirrors(etc.path()).main.as_deref(), Some("http://a.example/debian"));
    write("apt/sources.list", "deb http://first.example/debian trixie main\n");
    assert_eq!(host_mirrors(etc.path()).main.as_deref(), Some("http://first.example/debian"));
    write("os-release", "NAME=Ubuntu\nID=ubuntu\nID_LIKE=debian\n");
    assert_eq!(host_mirrors(etc.path()), HostMirrors::default());
}
