//! File names that are not UTF-8, which no image can hold: whatever brings one, the error names it
//! and who did, and nothing is published.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use support::archive::Deb;
use support::{fail, succeed};

use crate::small::{Bench, archive, assert_fails, assert_nothing_left, recipe_with};

support::tests! {
    needs [support::harness::ROOT, "gpg", "dpkg-deb", "tar"];
    of_a_package,
    of_a_maintainer_script,
    of_a_script_of_the_recipe,
    of_a_tarball,
}

/// `café` in Latin-1, and as errors show it.
const NAME: &[u8] = b"caf\xe9";
const SHOWN: &str = r"/usr/share/caf\xe9";
/// The same, for printf(1).
const ESCAPED: &str = r"caf\351";

fn make(tree: &Path) {
    fs_err::create_dir_all(tree.join("usr/share")).unwrap();
    fs_err::write(tree.join("usr/share").join(OsStr::from_bytes(NAME)), "").unwrap();
}

fn of_a_package() {
    let control = Deb::new("latin").stanza() + "\n";
    let directory = tempfile::tempdir().unwrap();
    let (tree, deb) = (directory.path().join("tree"), directory.path().join("deb"));
    make(&tree);
    fs_err::create_dir(tree.join("DEBIAN")).unwrap();
    fs_err::write(tree.join("DEBIAN/control"), &control).unwrap();
    succeed(Command::new("dpkg-deb").args(["-Znone", "--root-owner-group", "--build"]).arg(&tree).arg(&deb));
    let bench = Bench::new(archive().with_made(control, fs_err::read(deb).unwrap()));
    let error = ["package latin: data archive: ", SHOWN, "not UTF-8"];
    assert_fails(
        &mut bench.build(&["--include", "latin"]),
        1,
        &error,
        "leave latin out: names in an image must be UTF-8",
    );
    assert_nothing_left(&bench.output());
}

fn of_a_maintainer_script() {
    for script in ["preinst", "postinst"] {
        let make = format!("mkdir -p /usr/share; >\"/usr/share/$(printf '{ESCAPED}')\"");
        let bench = Bench::new(archive().with(Deb::new("scripted").script(script, &make)));
        let error = ["a maintainer script made ", SHOWN, "not UTF-8"];
        assert_fails(
            &mut bench.build(&["--include", "scripted"]),
            1,
            &error,
            "leave out the package whose script makes it",
        );
        assert_nothing_left(&bench.output());
    }
}

fn of_a_script_of_the_recipe() {
    let bench = Bench::new(archive());
    for make in ["ln -s x", "ln -s \"$(printf 'to-\\377')\""] {
        let name = if make.ends_with('x') { ESCAPED } else { "link" };
        let plugin = format!(
            "[[plugin]]\nname = \"script\"\nsettings.script = '''mkdir -p /usr/share; {make} \"/usr/share/$(printf '{name}')\"'''\n"
        );
        let recipe = bench.write("named.toml", &recipe_with(&plugin));
        let (code, error) = fail(&mut bench.build(&["--recipe", recipe.to_str().unwrap()]));
        let shown = if make.ends_with('x') { SHOWN } else { "/usr/share/link" };
        assert_eq!(code, 1, "{error}");
        assert!(
            error.contains(&format!("error: plugin script: keep {shown}: its name or link target is not UTF-8")),
            "{error}"
        );
        assert_nothing_left(&bench.output());
    }
}

fn of_a_tarball() {
    let bench = Bench::new(archive());
    let (tree, tarball) = (bench.directory.path().join("tree"), bench.directory.path().join("named.tar"));
    make(&tree);
    // For the plugin hostname.
    fs_err::create_dir(tree.join("etc")).unwrap();
    succeed(Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&tarball).arg("."));
    let mut command = bench.build(&["--from-tarball", tarball.to_str().unwrap()]);
    assert_fails(&mut command, 1, &[SHOWN, "not UTF-8"], "rename it in the tarball");
    assert_nothing_left(&bench.output());
}
