//! Suites other than those of the shipped recipes, and the other maker of initramfs: each is built
//! as a normal user, and booted. The guest's own e2fsck checks the root file system on the way,
//! with the guest's own kernel.

use std::path::{Path, PathBuf};

use support::harness::ROOT;
use support::{as_user, directory_of, mirror, public_program, succeed, user};

use crate::recipes::boot;

support::tests! {
    needs [ROOT, "newuidmap", "qemu-system-x86_64"];
    bullseye_boots,
    forky_boots,
    trixie_with_dracut_boots,
}

/// The default command line, and `fsck.mode=force`, which has the root checked though it was never
/// mounted.
const CHECKED: &str = r#"
[kernel]
cmdline = """\
    console=tty0 console=ttyS0,115200 net.ifnames=0 fsck.mode=force \
    systemd.default_timeout_start_sec=300 systemd.default_device_timeout_sec=300"""
"#;

/// Builds the recipe `minimal` with these changes, and boots it.
fn build_and_boot(changes: &str, flags: &[&str]) {
    let directory = directory_of(user());
    let recipe = build_changed(&format!("{changes}{CHECKED}"), flags, directory.path());
    boot(recipe.to_str().unwrap(), directory.path());
}

/// Builds one node of the recipe `minimal` with these changes, as a normal user, into a directory
/// of that user's; returns the recipe.
pub fn build_changed(changes: &str, flags: &[&str], directory: &Path) -> PathBuf {
    build_nodes(1, changes, flags, directory)
}

/// As [`build_changed`], with this number of nodes.
pub fn build_nodes(count: u8, changes: &str, flags: &[&str], directory: &Path) -> PathBuf {
    let count = count.to_string();
    let arguments = [&[count.as_str()], flags].concat();
    build_recipe(&format!("extends = \"minimal\"\n{changes}"), &arguments, directory)
}

/// Builds a recipe as a normal user, into a directory of that user's, where the recipe is put, too;
/// returns its path.
pub fn build_recipe(text: &str, arguments: &[&str], directory: &Path) -> PathBuf {
    let recipe = directory.join("changed.toml");
    fs_err::write(&recipe, text).unwrap();
    let mut build = as_user(public_program());
    build.args(arguments).args(["--mirror", &mirror(), "--recipe"]).arg(&recipe).arg("--output").arg(directory);
    succeed(&mut build);
    recipe
}

/// Linux 5.10, e2fsprogs 1.46 and GRUB 2.06, and / and /usr that no package merges. Its security
/// archive loses its packages.
fn bullseye_boots() {
    let packages = "include.drop = [\"dhcpcd-base\", \"systemd-repart\"]\ninclude.add = [\"isc-dhcp-client\"]";
    build_and_boot(&format!("suite = \"bullseye\"\nsecurity = false\n{packages}"), &[]);
}

/// The initramfs is by dracut, and the kernel lies beside its modules until it is configured.
fn forky_boots() {
    // A mirror that is held back has a forky that is past its date.
    build_and_boot("suite = \"forky\"\nsecurity = false", &["--accept-expired"]);
}

/// Where `initramfs-tools | linux-initramfs-tool` is asked for, dracut is taken if the recipe names
/// it.
fn trixie_with_dracut_boots() {
    build_and_boot("include.add = [\"dracut\"]", &[]);
}
