//! Rules for paths of packages, on a system of the tests' own; `full` compares them with dpkg.

use std::process::Command;

use support::archive::Deb;
use support::files::in_tarball;
use support::succeed;

use crate::small::{Bench, archive, assert_fails, recipe_with};

support::tests! {
    needs [support::harness::ROOT, "dpkg-deb", "gpg", "tar"];
    excluded_paths_are_left_out_here_and_in_the_guest,
    an_excluded_directory_that_is_needed_is_an_error,
}

fn excluded_paths_are_left_out_here_and_in_the_guest() {
    let documented = Deb::new("documented")
        .file("/usr/share/doc/documented/copyright", "mine\n")
        .file("/usr/share/doc/documented/examples/one", "1\n")
        .file("/usr/share/man/man1/documented.1", "manual\n");
    let bench = Bench::new(archive().with(documented));
    let rules =
        "[{ exclude = '/usr/share/doc/*' }, { include = '/usr/share/doc/*/copyright' }, { exclude = '*/man1/*' }]";
    bench.write("tiny.toml", &format!("include = ['documented']\npaths = {rules}\n{}", recipe_with("")));
    succeed(&mut bench.build(&[]));
    let template = bench.output().join("fabric_template.tar");
    let list = || succeed(Command::new("tar").arg("--list").arg("--file").arg(&template));
    let paths = list();
    let has = |path: &str| paths.lines().any(|line| line.trim_end_matches('/') == format!("./{path}"));
    assert!(has("usr/share/doc/documented/copyright") && has("usr/share/man/man1"), "{paths}");
    // dpkg keeps directories under which an included path might lie.
    assert!(has("usr/share/doc/documented/examples"), "{paths}");
    assert!(!has("usr/share/doc/documented/examples/one") && !has("usr/share/man/man1/documented.1"), "{paths}");
    let configuration = in_tarball(&template, "./etc/dpkg/dpkg.cfg.d/fam-build-paths");
    let lines: Vec<&str> = configuration.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        lines,
        ["path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright", "path-exclude=*/man1/*"]
    );
    let plan = succeed(&mut bench.build(&["plan"]));
    assert!(plan.contains("exclude /usr/share/doc/*") && plan.contains("include /usr/share/doc/*/copyright"), "{plan}");
    let shown = succeed(&mut bench.build(&["recipe", "show"]));
    assert!(shown.contains("    { include = \"/usr/share/doc/*/copyright\" }, # recipe "), "{shown}");

    // Other rules make another template.
    bench.write("tiny.toml", &format!("include = ['documented']\n{}", recipe_with("")));
    succeed(&mut bench.build(&[]));
    let list = list();
    assert!(list.contains("./usr/share/doc/documented/examples/one") && !list.contains("fam-build-paths"), "{list}");
}

fn an_excluded_directory_that_is_needed_is_an_error() {
    let bench = Bench::new(archive().with(Deb::new("documented").file("/usr/share/documented/a", "")));
    let rules = "paths = [{ exclude = '/usr/share/documented' }]";
    bench.write("tiny.toml", &format!("include = ['documented']\n{rules}\n{}", recipe_with("")));
    let error = "package documented: the rules for paths exclude the directory /usr/share/documented, but not \
                 /usr/share/documented/a in it";
    assert_fails(&mut bench.build(&[]), 1, &[error], "add { include = \"/usr/share/documented\" } to `paths`");
}
