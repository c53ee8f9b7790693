//! The tutorial of plugins, typed as it stands there by a normal user, in a small root of Debian.

use std::process::Command;

use support::bare::{command_in, move_in};
use support::documents::{blocks, document};
use support::files::extract;
use support::{SMALL_SYSTEM, directory_of, mirror, public_program, succeed};

support::tests! {
    needs [support::harness::ROOT, "newuidmap"];
    the_first_plugin_in_a_clean_root,
}

/// The smallest system of Debian in which a user can build.
fn clean_root() -> tempfile::TempDir {
    let (build, root) = (directory_of("root"), directory_of("root"));
    let recipe = build.path().join("clean.toml");
    fs_err::write(&recipe, format!("include = [\"uidmap\"]\n{SMALL_SYSTEM}")).unwrap();
    let mut program = Command::new(public_program());
    program.args(["--mirror", &mirror(), "--recipe"]).arg(recipe).arg("--output").arg(build.path());
    succeed(&mut program);
    extract(&build.path().join("fabric_template.tar"), root.path());
    fs_err::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    move_in(root.path());
    root
}

fn the_first_plugin_in_a_clean_root() {
    let root = clean_root();
    let home = root.path().join("output");
    let shell = |commands: &str| {
        let mut shell = command_in(root.path(), "sh");
        shell.env("MIRROR", mirror()).args(["-ec", &format!("[ ! -d first ] || cd first\n{commands}")]);
        succeed(&mut shell)
    };
    let tutorial = document("docs/plugins/tutorial.md");
    let blocks = blocks(&tutorial);
    let [begin, check, checked, recipe, build, look, place, line, again] = &blocks[..] else {
        panic!("the tutorial has other blocks than this test: {blocks:#?}");
    };
    shell(begin);
    let said = shell(check);
    assert!(said.starts_with("ok\n") && said.ends_with(checked), "{said}");
    let (code, said) = support::fail(command_in(root.path(), "fam-build").args([
        "plugin",
        "check",
        "first/greet/greet",
        "--set",
        "txt=hello",
    ]));
    assert!(code == 2 && said.contains("setting text: is missing"), "{said}");
    fs_err::write(home.join("first/first.toml"), recipe).unwrap();
    shell(build);
    assert_eq!(shell(look), "Welcome to the fabric\n");

    let plugin = home.join("first/greet/greet");
    let text = fs_err::read_to_string(&plugin).unwrap();
    let stage = text.find(place.as_str()).expect("the plugin has the lines that the tutorial shows");
    let end = stage + place.find(";;").unwrap();
    fs_err::write(&plugin, format!("{}{line}        {}", &text[..end], &text[end..])).unwrap();
    let said = shell(again);
    let version = fs_err::read_to_string(root.path().join("etc/debian_version")).unwrap();
    assert!(said.ends_with(&format!("\nWelcome to the fabric\n{version}")), "{said}");
    assert!(!said.contains("Fetching"), "{said}");
}
