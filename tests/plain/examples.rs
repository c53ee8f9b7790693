//! The recipes under `examples`: each is valid as it stands there, and each is built, with packages of
//! the tests' own in place of Debian's.

use std::path::PathBuf;
use std::process::Command;

use support::archive::Deb;
use support::disk::RootFileSystem;
use support::documents::path;
use support::files::in_tarball;
use support::{program, succeed};

use crate::small::{Bench, SUITE, Who, archive, names};

support::tests! {
    needs [support::harness::ROOT, "dpkg-deb", "gpg", "newuidmap", "qemu-img", "sgdisk", "tar"];
    every_example_is_sound_and_listed,
    pages_beside_the_recipe_are_in_the_image,
    a_plugin_in_shell_gives_nodes_their_roles,
    nodes_on_cxl_memory_get_its_packages,
    many_thin_nodes_share_what_they_have_in_common,
}

/// The recipes, by their paths under `examples`.
fn recipes() -> Vec<String> {
    let is_recipe = |name: &String| name.ends_with(".toml");
    let mut recipes: Vec<String> = names(&path("examples")).into_iter().filter(is_recipe).collect();
    for directory in names(&path("examples")).iter().filter(|name| path(&format!("examples/{name}")).is_dir()) {
        let within = names(&path(&format!("examples/{directory}")));
        recipes.extend(within.into_iter().filter(is_recipe).map(|name| format!("{directory}/{name}")));
    }
    recipes
}

fn example(name: &str) -> PathBuf {
    fs_err::canonicalize(path("examples")).unwrap().join(name)
}

fn every_example_is_sound_and_listed() {
    let list = fs_err::read_to_string(example("README.md")).unwrap();
    assert!(recipes().len() >= 4);
    for recipe in recipes() {
        let said = succeed(Command::new(program()).args(["recipe", "check"]).arg(example(&recipe)));
        assert!(said.contains("is valid"), "{said}");
        assert!(list.contains(&format!("]({recipe})")), "{recipe} is not in examples/README.md");
        let text = fs_err::read_to_string(example(&recipe)).unwrap();
        assert!(
            text.contains(&format!("fam-build --recipe examples/{recipe}")),
            "{recipe} does not say how it is built"
        );
    }
    let plugin = ["plugin", "check", "--set", "server=2"];
    let said = succeed(Command::new(program()).args(plugin).arg(example("cluster-clock/cluster-clock.sh")));
    assert!(said.contains("settings fit"), "{said}");
}

/// A build of an example by a user, from packages of the tests' own: of those that the recipe names,
/// only these.
fn build(name: &str, packages: &[&str], arguments: &[&str]) -> Bench {
    // Its home is of base-files, which this archive has not.
    let first = archive().with(Deb::new("home").directory("/root"));
    let archive = packages.iter().fold(first, |archive, package| archive.with(Deb::new(package)));
    let bench = Bench::of(Who::User, archive.serve());
    // The user cannot pass through to the checkout.
    let copy = bench.directory.path().join("examples");
    succeed(Command::new("cp").args(["--recursive"]).arg(example("")).arg(&copy));
    succeed(Command::new("chmod").args(["-R", "a+rX"]).arg(&copy));
    let tiny = format!(
        "extends = \"examples/{name}\"\nsuite = \"{SUITE}\"\nvariant = \"essential\"\nupdates = false\nsecurity = false\n\
         include = [\"home\"]\nkernel.package = \"base\"\ndisk.size = \"1G\"\n"
    );
    bench.write("tiny.toml", &tiny);
    succeed(&mut bench.build(arguments));
    bench
}

fn in_template(bench: &Bench, file: &str) -> String {
    in_tarball(&bench.output().join("fabric_template.tar"), file)
}

fn pages_beside_the_recipe_are_in_the_image() {
    let bench = build("web-server/web-server.toml", &[], &[]);
    let page = fs_err::read_to_string(example("web-server/site/index.html")).unwrap();
    assert_eq!(in_template(&bench, "./var/www/html/index.html"), page);
    let node = RootFileSystem::of(&bench.output().join("web1.qcow2"));
    assert!(node.cat("/root/.ssh/authorized_keys").starts_with("ssh-ed25519 "));
}

fn a_plugin_in_shell_gives_nodes_their_roles() {
    let bench = build("cluster-clock/cluster-clock.toml", &[], &[]);
    let configuration = |node: u8| {
        let node = RootFileSystem::of(&bench.output().join(format!("fabric{node}.qcow2")));
        node.cat("/etc/chrony/conf.d/cluster.conf")
    };
    assert_eq!(configuration(1), "local stratum 8\nallow 192.168.42.0/24\n");
    assert_eq!([2, 3].map(configuration), ["server 192.168.42.1 iburst\n"; 2]);
}

fn nodes_on_cxl_memory_get_its_packages() {
    let bench = build("cxl-pair.toml", &["cxl", "daxctl", "kmod"], &[]);
    let lock = fs_err::read_to_string(bench.output().join("fabric.lock")).unwrap();
    assert!(lock.contains("\"cxl\"") && lock.contains("\"daxctl\""), "{lock}");
    assert!(in_template(&bench, "./home/fabric/hello_fabric.c").contains("mmap"));
    let script = fs_err::read_to_string(bench.output().join("fabric_emulation.bash")).unwrap();
    assert!(script.contains("cxl-type3"), "{script}");
}

fn many_thin_nodes_share_what_they_have_in_common() {
    let bench = build("many-nodes.toml", &[], &["--thin"]);
    let bytes = |name: &str| fs_err::metadata(bench.output().join(name)).unwrap().len();
    for node in 1..=16 {
        let (own, shared) = (bytes(&format!("fabric{node}.qcow2")), bytes("fabric_backing.qcow2"));
        assert!(own < shared / 4, "fabric{node}: {own} bytes, and {shared} in common");
    }
    let info = succeed(Command::new("qemu-img").args(["info"]).arg(bench.output().join("fabric16.qcow2")));
    assert!(info.contains("fabric_backing.qcow2"), "{info}");
    let script = fs_err::read_to_string(bench.output().join("fabric_emulation.bash")).unwrap();
    assert!(script.contains("10.77.0.16"), "{script}");
}
