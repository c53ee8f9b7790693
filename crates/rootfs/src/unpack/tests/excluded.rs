//! Paths that the rules leave out.

use super::*;

fn excluding(patterns: &[&str]) -> Bench {
    let filters = patterns.iter().map(|pattern| PathRule::Exclude((*pattern).into())).collect();
    Bench { filters, ..Bench::new() }
}

#[test]
fn what_is_excluded_is_listed_and_not_there() {
    let mut bench = excluding(&["/usr/share/doc/*", "/etc/*.conf", "/usr/out*"]);
    let data = [
        directory("./"),
        directory("./etc/"),
        file("./etc/a.conf", b"setting"),
        directory("./usr/"),
        directory("./usr/share/"),
        directory("./usr/share/doc/"),
        directory("./usr/share/doc/a/"),
        file("./usr/share/doc/a/copyright", b"text"),
        link("./usr/share/doc/a/again", b'1', "./usr/share/doc/a/copyright"),
        link("./usr/out", b'2', "share"),
        file("./usr/in", b"in"),
    ];
    bench.add("a", "", &[("conffiles", "/etc/a.conf\n"), ("triggers", "interest /usr/share/doc/a\n")], &data);
    bench.add("b", "", &[], &[directory("./usr/"), directory("./usr/share/doc/a/"), file("./usr/share/doc/a/b", b"")]);
    bench.run().unwrap();
    let root = bench.temp.path().join("root");
    assert!(root.join("usr/in").exists() && root.join("usr/share/doc").exists());
    for path in ["etc/a.conf", "etc/a.conf.dpkg-new", "usr/share/doc/a", "usr/out"] {
        assert!(fs_err::symlink_metadata(root.join(path)).is_err(), "{path}");
    }
    assert_eq!(
        bench.read("var/lib/dpkg/info/a.list"),
        "/.\n/etc\n/etc/a.conf\n/usr\n/usr/share\n/usr/share/doc\n/usr/share/doc/a\n/usr/share/doc/a/copyright\n\
         /usr/share/doc/a/again\n/usr/in\n/usr/out\n"
    );
    assert_eq!(bench.read("var/lib/dpkg/info/a.md5sums"), "13b5bfe96f3e2fe411c9f66f4a582adf  usr/in\n");
    assert!(bench.read("var/lib/dpkg/status").contains(" /etc/a.conf newconffile\n"));
}

#[test]
fn packages_conflict_in_what_is_excluded() {
    let mut bench = excluding(&["/x/*"]);
    bench.add("a", "", &[], &[directory("./x/"), file("./x/y", b"")]);
    bench.add("b", "", &[], &[directory("./x/"), file("./x/y", b"")]);
    assert_eq!(bench.error(), "packages a and b both hold /x/y");
    // Where one replaces the other, both keep the path on their lists: nothing has taken it over.
    let mut bench = excluding(&["/x/*"]);
    bench.add("a", "", &[], &[directory("./x/"), file("./x/y", b"")]);
    bench.add("b", "Replaces: a\n", &[], &[directory("./x/"), file("./x/y", b"")]);
    bench.run().unwrap();
    assert_eq!(bench.read("var/lib/dpkg/info/a.list"), bench.read("var/lib/dpkg/info/b.list"));
}

#[test]
fn what_dpkg_could_not_unpack_is_an_error() {
    let mut bench = excluding(&["/x/a"]);
    bench.add("p", "", &[], &[directory("./x/"), file("./x/a", b""), link("./x/b", b'1', "./x/a")]);
    assert_eq!(bench.error(), "package p: the rules for paths exclude /x/a, but not its hard link /x/b");
    let mut bench = excluding(&["/x"]);
    bench.add("p", "", &[], &[directory("./x/"), directory("./x/y/"), file("./x/y/z", b"")]);
    assert_eq!(bench.error(), "package p: the rules for paths exclude the directory /x, but not /x/y in it");
    // Another package has brought the directory by another name.
    let mut bench = excluding(&["/usr/lib/x"]);
    bench.add("o", "", &[], &[directory("./lib/x/")]);
    bench.add("p", "", &[], &[directory("./usr/lib/x/"), file("./usr/lib/x/y", b"")]);
    bench.run().unwrap();
}
