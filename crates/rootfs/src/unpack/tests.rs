//! Packages made by hand, most of them hostile: nothing outside the root, one clear error each.

mod excluded;
mod in_turn;

use fam_archive::digest::sha256;
use fam_progress::Hint as _;
use fam_tree::{Entry, Kind};

use super::*;
use crate::staging::FileType;
use support::handmade::deb::{ar, deb, stanza};
use support::handmade::tar::{archive, directory, file, link, member, record};

/// Names of `root`, without dpkg's database.
fn names(bench: &Bench) -> Vec<String> {
    let mut names: Vec<_> =
        fs_err::read_dir(bench.temp.path().join("root")).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    names.into_iter().map(|name| name.into_string().unwrap()).filter(|name| name != "var").collect()
}

/// A directory with a root to unpack into, a place outside it, and packages.
struct Bench {
    temp: tempfile::TempDir,
    staging: Staging,
    debs: Vec<DebFile>,
    filters: Filters,
}

impl Bench {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs_err::create_dir(temp.path().join("root")).unwrap();
        fs_err::create_dir(temp.path().join("outside")).unwrap();
        fs_err::write(temp.path().join("outside/secret"), "untouched").unwrap();
        let staging = Staging::open(&temp.path().join("root")).unwrap();
        Self { temp, staging, debs: Vec::new(), filters: Filters::default() }
    }

    fn add_bytes(&mut self, name: &str, version: &str, bytes: &[u8]) -> &mut Self {
        let path = self.temp.path().join(format!("{name}.deb"));
        fs_err::write(&path, bytes).unwrap();
        self.debs.push(DebFile {
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
            path,
            size: bytes.len() as u64,
            digest: sha256(bytes),
        });
        self
    }

    fn add(&mut self, name: &str, fields: &str, control: &[(&str, &str)], data: &[Vec<u8>]) -> &mut Self {
        let data: Vec<Vec<u8>> = data.iter().map(|member| owned_by_me(member)).collect();
        self.add_bytes(name, "1.0", &deb(&stanza(name, "1.0", fields), control, &data))
    }

    fn run(&self) -> Result<Vec<Unpacked>, Error> {
        let options = UnpackOptions {
            architecture: "amd64".into(),
            merged_usr: true,
            filters: self.filters.clone(),
            jobs: NonZero::new(4),
        };
        unpack(&self.debs, &self.staging, &options, &Progress::silent())
    }

    fn read(&self, path: &str) -> String {
        String::from_utf8(self.staging.read(&path.parse().unwrap()).unwrap()).unwrap()
    }

    fn error(&self) -> String {
        let error = self.run().unwrap_err();
        let outside = self.temp.path().join("outside");
        assert_eq!(fs_err::read_to_string(outside.join("secret")).unwrap(), "untouched");
        assert_eq!(fs_err::read_dir(outside).unwrap().count(), 1);
        error.to_string()
    }
}

/// The fixture's members belong to user 0 and group 8; whoever runs these tests may not give files
/// away.
fn owned_by_me(bytes: &[u8]) -> Vec<u8> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while at + 512 <= bytes.len() {
        let block = &mut bytes[at..at + 512];
        let size = usize::from_str_radix(str::from_utf8(&block[124..135]).unwrap(), 8).unwrap();
        block[108..115].copy_from_slice(format!("{uid:07o}").as_bytes());
        block[116..123].copy_from_slice(format!("{gid:07o}").as_bytes());
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        at += 512 + size.next_multiple_of(512);
    }
    bytes
}

#[test]
fn unpacks_as_dpkg_does() {
    let mut bench = Bench::new();
    let data = [
        directory("./"),
        directory("./bin/"),
        file("./bin/tool", b"program"),
        link("./bin/alias", b'1', "./bin/tool"),
        directory("./etc/"),
        file("./etc/tool.conf", b"setting"),
        link("./etc/tool.again", b'1', "./etc/tool.conf"),
        link("./etc/link", b'2', "/etc/tool.conf"),
        member(b"./etc/pipe", b'6', b"", |_| {}),
        member(b"./etc/null", b'3', b"", |block| {
            block[329..336].copy_from_slice(b"0000001");
            block[337..344].copy_from_slice(b"0000003");
        }),
    ];
    let control = [("conffiles", "/etc/tool.conf\nremove-on-upgrade /etc/old\n"), ("preinst", "#!/bin/sh\n")];
    bench.add("tool", "Multi-Arch: same\nDepends: other(>=2)\n", &control, &data);
    let unpacked = bench.run().unwrap();

    let root = bench.temp.path().join("root");
    assert_eq!(fs_err::read_link(root.join("bin")).unwrap().to_str(), Some("usr/bin"));
    assert_eq!(fs_err::read_to_string(root.join("usr/bin/alias")).unwrap(), "program");
    assert_eq!(fs_err::read_to_string(root.join("etc/tool.conf.dpkg-new")).unwrap(), "setting");
    assert_eq!(fs_err::read_to_string(root.join("etc/tool.again")).unwrap(), "setting");
    assert!(!root.join("etc/tool.conf").exists());
    assert!(!root.join("etc/null").exists());
    let [(path, Entry { kind: Kind::CharDevice { major: 1, minor: 3 }, mode: 0o4755, .. })] =
        &bench.staging.devices().into_iter().collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", bench.staging.devices());
    };
    assert_eq!(path.to_string(), "/etc/null");
    assert!(unpacked[0].package.has("preinst"));
    assert_eq!(
        bench.read("var/lib/dpkg/info/tool:amd64.list"),
        "/.\n/bin\n/bin/tool\n/bin/alias\n/etc\n/etc/tool.conf\n/etc/tool.again\n/etc/pipe\n/etc/null\n/etc/link\n"
    );
    assert_eq!(bench.read("var/lib/dpkg/info/tool:amd64.preinst"), "#!/bin/sh\n");
    assert_eq!(
        bench.read("var/lib/dpkg/status"),
        "Package: tool\nStatus: install ok unpacked\nMaintainer: Nobody <nobody@example.org>\nArchitecture: amd64\n\
         Multi-Arch: same\nVersion: 1.0\nDepends: other (>= 2)\nConffiles:\n /etc/tool.conf newconffile\n \
         /etc/old newconffile remove-on-upgrade\nDescription: for a test\n\n"
    );
    // As dpkg writes it for a package that brings none: conffiles and hard links too.
    let sums = bench.read("var/lib/dpkg/info/tool:amd64.md5sums");
    let names: Vec<_> = sums.lines().map(|line| line.split("  ").nth(1).unwrap()).collect();
    assert_eq!(names, ["bin/tool", "bin/alias", "etc/tool.conf", "etc/tool.again"]);
    assert!(sums.starts_with("a9c449d4fa44e9e5a41c574ae55ce4d9  bin/tool\n"));
}

#[test]
fn triggers_are_registered() {
    let mut bench = Bench::new();
    let triggers = "# comment\ninterest-noawait /usr/share/x\ninterest ldconfig\nactivate-noawait other\n";
    bench.add("a", "", &[("triggers", triggers)], &[directory("./")]);
    bench.add("b", "Multi-Arch: same\n", &[("triggers", "interest-await ldconfig\n")], &[directory("./")]);
    bench.run().unwrap();
    assert_eq!(bench.read("var/lib/dpkg/triggers/File"), "/usr/share/x a/noawait\n");
    assert_eq!(bench.read("var/lib/dpkg/triggers/ldconfig"), "a\nb:amd64\n");
    for hostile in ["interest ../../evil", "interest File", "interest .x", "interest", "frobnicate x"] {
        let mut bench = Bench::new();
        bench.add("a", "", &[("triggers", hostile)], &[directory("./")]);
        assert!(bench.error().contains("triggers file has a malformed line"), "{hostile}");
    }
}

#[test]
fn no_entry_gets_out() {
    for (what, members, expected) in [
        ("dots", vec![file("../outside/evil", b"")], "leaves the root"),
        ("dots inside", vec![file("./a/../../outside/evil", b"")], "leaves the root"),
        ("hard link out", vec![link("./x", b'1', "../outside/secret")], "leaves the root"),
        ("hard link to others", vec![link("./x", b'1', "/etc/shadow")], "no earlier file of the package"),
        ("root as link", vec![link("./", b'2', "outside")], "/ is no directory in it"),
        ("file in file", vec![file("./a", b""), file("./a/b", b"")], "Not a directory"),
        (
            "directory over file",
            vec![file("./a", b""), directory("./a/")],
            "/a is to be a directory and something else",
        ),
        (
            "file over directory",
            vec![directory("./a/"), file("./a", b"")],
            "/a is to be a directory and something else",
        ),
        ("long name", vec![member(b"L", b'L', &[b'x'; 300], |_| {}), file("./a", b"")], "a name of 300 bytes"),
        (
            "long path",
            vec![member(b"L", b'L', &[&b"a/".repeat(3000)[..], b"a"].concat(), |_| {}), file("./a", b"")],
            "has 6001 bytes",
        ),
        (
            "newline",
            vec![file("./a\n/etc/passwd", b"")],
            "package evil: data archive: newline not allowed in archive object name /a\\n/etc/passwd",
        ),
        (
            "no text",
            vec![member(b"./a\xff", b'0', b"", |_| {})],
            r"package evil: data archive: the name or link target of /a\xff is not UTF-8",
        ),
        ("link to no text", vec![member(b"./a", b'2', b"", |block| block[157] = 0xff)], "of /a is not UTF-8"),
        (
            "device that no kernel has",
            vec![member(b"./a", b'3', b"", |block| block[329..336].copy_from_slice(b"0010000"))],
            "device number is not a usable number",
        ),
        ("itself", vec![link("./a", b'1', "./a")], "/a leads to /a, which is no earlier file"),
    ] {
        let mut bench = Bench::new();
        bench.add("evil", "", &[], &members);
        let error = bench.error();
        assert!(error.to_lowercase().contains(&expected.to_lowercase()), "{what}: {error}");
    }
}

#[test]
fn planted_links_lead_nowhere() {
    let bench = Bench::new();
    let outside = bench.temp.path().join("outside").to_str().unwrap().to_owned();
    for target in [outside.as_str(), "../outside", "../../../../../../../../tmp", "/proc/self/cwd", "x"] {
        let mut bench = Bench::new();
        bench.add("evil", "", &[], &[link("./x", b'2', target), file("./x/secret", b"evil")]);
        let error = bench.error();
        assert!(error.contains("/x/secret is in a directory that neither it nor an earlier package has"), "{error}");
    }
    // One of an earlier package that stays inside leads where it would in the finished system.
    let mut bench = Bench::new();
    bench.add("first", "", &[], &[directory("./etc/"), link("./x", b'2', "/etc")]);
    bench.add("honest", "", &[], &[file("./x/inside", b"fine"), file("/abs", b"fine")]);
    bench.run().unwrap();
    assert_eq!(bench.read("etc/inside"), "fine");
    assert_eq!(bench.read("abs"), "fine", "an absolute name lies beneath the root, as with dpkg");
}

#[test]
fn a_file_is_never_written_through_a_link() {
    let mut bench = Bench::new();
    std::os::unix::fs::symlink(bench.temp.path().join("outside/secret"), bench.temp.path().join("root/x")).unwrap();
    bench.add("a", "", &[], &[file("./x", b"new")]);
    bench.run().unwrap();
    assert_eq!(bench.read("x"), "new");
    assert_eq!(fs_err::read_to_string(bench.temp.path().join("outside/secret")).unwrap(), "untouched");
}

#[test]
fn damage_is_told_before_anything_is_unpacked() {
    let mut bench = Bench::new();
    bench.add("a", "", &[], &[file("./x", b"content")]);
    let path = bench.debs[0].path.clone();
    let mut bytes = fs_err::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs_err::write(&path, &bytes).unwrap();
    let error = bench.run().unwrap_err();
    assert_eq!(error.damaged_file(), Some(path.as_path()));
    assert!(error.to_string().contains("a.deb does not have the size and SHA-256"));
    assert!(error.hint().unwrap().contains("delete"));
    fs_err::write(&path, &bytes[..40]).unwrap();
    assert_eq!(bench.run().unwrap_err().damaged_file(), Some(path.as_path()));
    fs_err::remove_file(&path).unwrap();
    assert!(bench.error().contains("a.deb"));
    assert!(!bench.staging.exists(&"x".parse().unwrap()).unwrap());
}

#[test]
fn malformed_packages() {
    let whole = deb(&stanza("a", "1.0", ""), &[], &[file("./x", &[7; 2000])]);
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("garbage", vec![0x55; 4096], "no .deb file"),
        ("cut off", whole[..whole.len() - 600].to_vec(), "cut off within member"),
        ("another name", deb(&stanza("b", "1.0", ""), &[], &[]), "holds b 1.0 amd64"),
        ("another version", deb(&stanza("a", "2.0", ""), &[], &[]), "the index says a 1.0 amd64"),
        ("hostile name", deb(&stanza("../a", "1.0", ""), &[], &[]), "invalid Package"),
        ("two stanzas", deb(&(stanza("a", "1.0", "") + "\nPackage: b\n"), &[], &[]), "2 stanzas"),
        ("conffile out", deb(&stanza("a", "1.0", ""), &[("conffiles", "/../x\n")], &[]), "leaves the root"),
        (
            "unfinished tar",
            {
                let control = archive(&[file("./control", stanza("a", "1.0", "").as_bytes())]);
                ar(&[
                    ("debian-binary", b"2.0\n"),
                    ("control.tar", &control),
                    ("data.tar", &file("./x", &[7; 2000])[..1536]),
                ])
            },
            "cut off at byte 1536",
        ),
    ];
    for (what, bytes, expected) in cases {
        let mut bench = Bench::new();
        bench.add_bytes("a", "1.0", &bytes);
        let error = bench.error();
        assert!(error.contains(expected), "{what}: {error}");
    }
    let mut bench = Bench::new();
    let huge = member(b"./x", b'0', b"", |block| {
        block[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    });
    bench.add_bytes("a", "1.0", &deb(&stanza("a", "1.0", ""), &[], &[huge]));
    assert!(bench.error().contains("size is not a usable number"));
}

/// Every order of packages and of threads gives the same owner.
#[test]
fn replaces_decides_who_keeps_a_file() {
    for order in [["new", "old"], ["old", "new"]] {
        let mut bench = Bench::new();
        for name in order {
            let fields = if name == "new" { "Replaces: other, old (<< 2)\n" } else { "" };
            bench.add(
                name,
                fields,
                &[],
                &[directory("./"), file("./both", name.as_bytes()), file(&format!("./{name}"), b"")],
            );
        }
        bench.run().unwrap();
        assert_eq!(names(&bench), ["bin", "both", "lib", "lib64", "new", "old", "sbin", "usr"], "nothing is left over");
        assert_eq!(bench.read("both"), "new");
        assert_eq!(bench.read("var/lib/dpkg/info/old.list"), "/.\n/old\n");
        assert_eq!(bench.read("var/lib/dpkg/info/new.list"), "/.\n/both\n/new\n");
    }
}

#[test]
fn conflicts_name_both_packages() {
    for fields in ["", "Replaces: a (<< 1.0)\n"] {
        let mut bench = Bench::new();
        bench.add("a", "", &[], &[directory("./bin/"), file("./bin/x", b"")]);
        bench.add("b", fields, &[], &[directory("./usr/"), directory("./usr/bin/"), file("./usr/bin/x", b"")]);
        let error = bench.run().unwrap_err();
        assert!(error.to_string().contains("packages a and b both hold /bin/x"), "{error}");
        assert!(error.hint().unwrap().contains("leave a or b out"));
    }
    let mut bench = Bench::new();
    bench.add("a", "", &[], &[]).add("a", "", &[], &[]);
    assert_eq!(bench.error(), "package a is to be unpacked twice");
}

/// As dpkg has it (the table in its `src/main/unpack.c`): what is a directory stays one, be it by a
/// link.
#[test]
fn directories_and_links_to_them_stay() {
    let private = |name: &str| member(name.as_bytes(), b'5', b"", |block| block[100..107].copy_from_slice(b"0000700"));
    let mut bench = Bench::new();
    let links = [link("./e", b'2', "d"), link("./nowhere", b'2', "none"), link("./same", b'2', "d")];
    bench.add("a", "", &[], &[vec![private("./d/")], links.to_vec()].concat());
    let members = [directory("./d/"), directory("./e/"), file("./e/x", b"by e"), link("./same", b'2', "./e")];
    bench.add("b", "", &[], &members);
    bench.add("c", "", &[], &[link("./d", b'2', "e")]);
    bench.run().unwrap();
    let at = |path: &str| bench.staging.metadata(&path.parse().unwrap()).unwrap();
    assert_eq!(at("d").attributes.mode, 0o700, "the first package sets the attributes");
    assert_eq!(at("d").attributes.mtime.seconds, 0o14000000000, "and the time, last");
    assert_eq!(
        [at("d"), at("e"), at("same")].map(|it| it.file_type),
        [FileType::Directory, FileType::Symlink, FileType::Symlink]
    );
    assert_eq!(bench.read("d/x"), "by e");
    assert_eq!(bench.read("var/lib/dpkg/info/c.list"), "/d\n");

    for (what, members) in
        [("another", link("./same", b'2', "etc")), ("to no directory", link("./nowhere", b'2', "none"))]
    {
        bench.add("z", "", &[], &[members]);
        let mut again = Bench::new();
        again.debs.clone_from(&bench.debs);
        assert!(again.error().starts_with("packages a and z both hold /"), "{what}");
        bench.debs.pop();
    }
}

/// As with dpkg. What the tree has of no package, a package that names it says how it should be.
#[test]
fn missing_directories_are_an_error() {
    let mut bench = Bench::new();
    bench.add("a", "", &[], &[file("./lib/x/y", b"")]);
    let error = bench.error();
    assert_eq!(error, "package a: data archive: /lib/x/y is in a directory that neither it nor an earlier package has");
    let private = member(b"./usr/lib/", b'5', b"", |block| block[100..107].copy_from_slice(b"0000711"));
    let mut bench = Bench::new();
    bench.add("a", "", &[], &[file("./lib/x", b"")]).add("b", "", &[], &[private]);
    bench.run().unwrap();
    let mode = |path: &str| bench.staging.metadata(&path.parse().unwrap()).unwrap().attributes.mode;
    assert_eq!(mode("usr/lib"), 0o711);
}

#[test]
fn the_last_entry_of_a_name_counts() {
    let node = member(b"./x", b'3', b"", |_| {});
    let mut bench = Bench::new();
    bench.add("a", "", &[], &[node, file("./x", b"file"), file("./y", b"one"), file("./y", b"two")]);
    bench.run().unwrap();
    assert_eq!(bench.staging.devices(), [].into());
    assert_eq!((bench.read("x"), bench.read("y")), ("file".into(), "two".into()));
}

/// As dpkg 1.21 to 1.23: with extended attributes a package would give files capabilities that dpkg
/// gives them in no way.
#[test]
fn pax_headers_are_refused() {
    for flag in *b"xg" {
        let mut bench = Bench::new();
        let records = record("SCHILY.xattr.user.test", b"value");
        bench.add("a", "", &[], &[member(b"x", flag, &records, |_| {}), file("./f", b"")]);
        assert!(bench.error().starts_with("package a: data archive: tar header at byte 0 is one of PAX"));
    }
}
