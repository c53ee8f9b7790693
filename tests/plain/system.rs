//! What the main job makes, as a newcomer has it: four nodes from the mirror, built without root
//! and without any tool of Debian's. Every checker of a format finds them sound, and root makes the
//! same bytes from the lock.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::disk::extract;
use support::files::{self, differences, walk};
use support::system::default_system;
use support::{as_user, directory_of, mirror, program, public_program, succeed, user};

support::tests! {
    needs [support::harness::ROOT, "e2fsck", "fsck.vfat", "newuidmap", "qemu-img", "sgdisk"];
    a_user_builds_four_nodes_without_tools_of_debian,
    root_makes_the_same_bytes_from_the_lock,
    every_checker_finds_the_images_sound,
    the_file_system_is_the_tarball,
    raw_image_and_node_without_plugins_are_one_disk,
}

const IMAGES: [&str; 5] = ["fabric1.qcow2", "fabric2.qcow2", "fabric3.qcow2", "fabric4.qcow2", "fabric_template.img"];

fn a_user_builds_four_nodes_without_tools_of_debian() {
    let system = default_system();
    assert!(system.said.contains("\nBuilt 4 nodes in "), "{}", system.said);
    let lines = system.said.lines().skip_while(|line| !line.starts_with("Built ")).skip(1);
    let names: Vec<_> = lines.map_while(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    assert!(names.len() >= 16, "{names:?}");
    for name in names {
        assert!(system.artifact(name).exists(), "{name} is listed and not there");
    }
    assert!(!system.artifact(".fam-build").exists());
}

/// Another place, another user, a host with tools, a warm cache, one job at a time, and the lock:
/// only the seed, of which all secrets are made, is the same. Once more from the user's layer.
fn root_makes_the_same_bytes_from_the_lock() {
    let system = default_system();
    for from_layer in [false, true] {
        let output = directory_of("root");
        let seed = output.path().join("fabric.seed");
        fs_err::copy(system.artifact("fabric.seed"), &seed).unwrap();
        fs_err::set_permissions(&seed, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut build = Command::new(program());
        let lock = system.artifact("fabric.lock");
        build.args(["--mirror", &mirror(), "--nodes", "4", "--jobs", "1", "--locked"]).arg(lock);
        build.arg("--cache-dir").arg(&system.cache).arg("--output").arg(output.path());
        build.args(if from_layer { &[] } else { &["--fresh"][..] });
        let built = succeed(&mut build);
        assert_eq!(built.contains("from packages configured before"), from_layer, "{built}");
        let beside = ["fabric_template.tar", "fabric.lock", "fabric.spdx.json", "fabric_known_hosts"];
        for name in IMAGES.iter().chain(&beside) {
            succeed(Command::new("cmp").arg(system.artifact(name)).arg(output.path().join(name)));
        }
    }
}

fn every_checker_finds_the_images_sound() {
    let system = default_system();
    let work = directory_of("root");
    let raw = system.artifact("fabric_template.img");
    succeed(Command::new("sgdisk").arg("--verify").arg(&raw)).lines().for_each(|line| println!("{line}"));
    for node in &IMAGES[..4] {
        succeed(Command::new("qemu-img").arg("check").arg(system.artifact(node)));
    }
    let (esp, root) = (work.path().join("esp"), work.path().join("root"));
    for (number, file) in [(2, &esp), (3, &root)] {
        extract(&raw, number, file);
    }
    succeed(Command::new("fsck.vfat").arg("-n").arg(&esp));
    succeed(Command::new("e2fsck").arg("-fn").arg(&root));
    // A node as the guest will see it, with its own UUID.
    let node = work.path().join("node.img");
    succeed(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(system.artifact("fabric2.qcow2")).arg(&node));
    succeed(Command::new("sgdisk").arg("--verify").arg(&node));
    extract(&node, 3, &root);
    succeed(Command::new("e2fsck").arg("-fn").arg(&root));
}

fn the_file_system_is_the_tarball() {
    let system = default_system();
    let work = directory_of("root");
    let (tree, disk) = (work.path().join("tree"), work.path().join("disk"));
    fs_err::create_dir(&disk).unwrap();
    files::extract(&system.artifact("fabric_template.tar"), &tree);
    // The ESP is a file system of its own.
    fs_err::remove_dir_all(tree.join("boot/efi")).unwrap();
    fs_err::create_dir(tree.join("boot/efi")).unwrap();
    let root = work.path().join("root.img");
    extract(&system.artifact("fabric_template.img"), 3, &root);
    succeed(Command::new("mount").args(["-o", "ro,loop"]).arg(&root).arg(&disk));
    let found = std::panic::catch_unwind(|| {
        let mut found = walk(&disk);
        found.remove("/lost+found");
        differences(&found, &walk(&tree))
    });
    succeed(Command::new("umount").arg(&disk));
    let found = found.unwrap();
    assert!(found.is_empty(), "{} differences: {:#?}", found.len(), &found[..found.len().min(20)]);
}

fn raw_image_and_node_without_plugins_are_one_disk() {
    let system = default_system();
    let output = directory_of(user());
    let recipe = output.path().join("plain.toml");
    fs_err::write(&recipe, "suite = \"trixie\"\nnodes.count = 1\n").unwrap();
    let tarball = system.artifact("fabric_template.tar");
    // A tarball of someone else's needs neither namespaces nor the network.
    succeed(
        as_user(public_program())
            .arg("--recipe")
            .arg(&recipe)
            .arg("--from-tarball")
            .arg(&tarball)
            .arg("--output")
            .arg(output.path()),
    );
    succeed(
        Command::new("qemu-img")
            .args(["compare", "-f", "raw", "-F", "qcow2"])
            .arg(output.path().join("fabric_template.img"))
            .arg(output.path().join("fabric1.qcow2")),
    );
}
