//! What other packages pre-depend on is installed before them, while these are still on their way; and the same comes
//! of a lock that does not say which packages those are.

use support::archive::Deb;
use support::files::in_tarball;
use support::harness::ROOT;
use support::succeed;

use crate::small::{Bench, Who, archive};

support::tests! {
    needs [ROOT, "dpkg-deb", "gpg", "newuidmap", "tar"];
    what_is_waited_for_comes_before_all_else,
}

fn what_is_waited_for_comes_before_all_else() {
    [Who::Root, Who::User].into_iter().for_each(comes_before_all_else);
}

fn comes_before_all_else(who: Who) {
    let see =
        |what: &str| format!("mkdir -p /var/lib/order\necho {what} $(ls /usr/share/order) >>/var/lib/order/seen\n");
    let archive = archive()
        .with(Deb::new("deep").file("/usr/share/order/deep", ""))
        .with(Deb::new("awaited").field("Depends", "deep").script("postinst", &see("awaited")))
        .with(Deb::new("waits").field("Pre-Depends", "awaited").script("preinst", &see("waits")))
        // Large, and the first by name.
        .with(Deb::new("another").file("/usr/share/order/another", vec![7; 8 << 20]));
    let bench = Bench::of(who, archive.serve());
    // It begins with the digest of what it was made of, the text of the lock among it.
    let template = || {
        let mut bytes = fs_err::read(bench.output().join("fabric_template.tar")).unwrap();
        let key = b"fam-build template ";
        let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len();
        bytes.drain(at..at + 64);
        bytes
    };
    succeed(&mut bench.build(&["--include", "waits,another"]));
    let seen = in_tarball(&bench.output().join("fabric_template.tar"), "./var/lib/order/seen");
    assert_eq!(seen, "awaited deep\nwaits another deep\n");

    let lock = fs_err::read_to_string(bench.output().join("fabric.lock")).unwrap();
    let packages = lock.split("[[package]]").skip(1).filter(|package| package.contains("\nearly = true\n"));
    let names: Vec<&str> = packages.filter_map(|package| package.split('"').nth(1)).collect();
    assert_eq!(names, ["awaited", "deep"]);
    let (marked, unmarked) =
        (bench.write("marked", &lock), bench.write("unmarked", &lock.replace("\nearly = true", "")));
    let before = template();
    for lock in [marked, unmarked] {
        succeed(&mut bench.build(&["--locked", lock.to_str().unwrap(), "--fresh"]));
        assert!(before == template(), "{}", lock.display());
    }
}
