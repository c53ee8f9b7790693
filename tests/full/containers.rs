//! Builds in a container: by podman as root and as a normal user. With its usual settings a
//! container may not make what a build needs, and the hint says which settings do.

use std::path::Path;
use std::process::{Command, Output};

use support::archive::Mirror;
use support::bare::bare_root;
use support::harness::ROOT;
use support::{as_user, directory_of, succeed, user};

use crate::small::{archive, recipe_with};

support::tests! {
    needs [ROOT, "crun", "gpg", "newuidmap", "podman"];
    the_hint_names_the_settings_of_a_container_of_roots,
    the_hint_names_the_settings_of_a_container_of_a_users,
}

fn the_hint_names_the_settings_of_a_container_of_roots() {
    the_hint_names_the_settings("root");
}

fn the_hint_names_the_settings_of_a_container_of_a_users() {
    the_hint_names_the_settings(user());
}

fn the_hint_names_the_settings(who: &str) {
    const SETTINGS: [&str; 2] = ["seccomp=unconfined", "unmask=ALL"];
    let container = Container::new(who);
    let refused = container.build(&[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("(a seccomp filter confines this process, as in a container)"), "{said}");
    let hint = said.lines().find(|line| line.starts_with("hint: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(SETTINGS.iter().all(|setting| hint.contains(setting)), "{hint}");

    let built = container.build(&SETTINGS.map(|setting| format!("--security-opt={setting}")));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let output = container.place.path().join("root/output");
    assert!(output.join("fabric1.qcow2").exists());
    assert!(!output.join(".fam-build").exists());
}

/// A place for containers with the program and nothing else in them.
struct Container {
    who: String,
    place: tempfile::TempDir,
    mirror: Mirror,
}

impl Container {
    fn new(who: &str) -> Self {
        let place = directory_of(who);
        let mirror = archive().serve();
        let root = place.path().join("root");
        bare_root(&root);
        fs_err::copy(mirror.keyring(), root.join("etc/keyring.gpg")).unwrap();
        fs_err::write(root.join("etc/tiny.toml"), recipe_with("")).unwrap();
        fs_err::create_dir(place.path().join("home")).unwrap();
        succeed(Command::new("chown").arg("--recursive").arg(who).arg(place.path()));
        Self { who: who.to_owned(), place, mirror }
    }

    fn build(&self, options: &[String]) -> Output {
        let at = |name: &str| self.place.path().join(name);
        let mut podman = if self.who == "root" { Command::new("/usr/bin/env") } else { as_user("/usr/bin/env") };
        podman.arg(format!("HOME={}", at("home").display())).arg(format!("XDG_RUNTIME_DIR={}", at("run").display()));
        podman.args(["podman", "--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file", "--root"]);
        podman.arg(at("storage")).arg("--runroot").arg(at("run")).arg("--tmpdir").arg(at("run"));
        podman.args(["run", "--rm", "--network=host", "--cgroups=disabled"]);
        // Where root may not raise its own limits, podman's are too high.
        podman.args(["--ulimit=nofile=1024:1024", "--ulimit=nproc=8192:8192"]).args(options);
        podman.arg("--rootfs").arg(at("root")).arg("/usr/bin/fam-build").args(["--mirror", self.mirror.url()]);
        podman.args(["--keyring=/etc/keyring.gpg", "--recipe=/etc/tiny.toml", "--output=/output"]);
        with_newer_control_groups(&podman).output().unwrap()
    }
}

impl Drop for Container {
    /// A user's podman leaves a process that holds its namespaces.
    fn drop(&mut self) {
        let pid = fs_err::read_to_string(self.place.path().join("run/pause.pid"));
        if let Ok(pid) = pid {
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
    }
}

/// The command where only control groups of version 2 are to be seen, which crun insists on.
fn with_newer_control_groups(command: &Command) -> Command {
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "sh", "-c", "mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"", "sh"]);
    wrapped.arg(command.get_program()).args(command.get_args()).current_dir(Path::new("/"));
    wrapped
}
