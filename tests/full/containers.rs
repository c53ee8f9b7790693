//! Builds in a container: by podman as root and as a normal user, and by docker. With its usual settings
//! a container may not make what a build needs, and the hint says which settings do.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::archive::Mirror;
use support::bare::bare_root;
use support::harness::ROOT;
use support::{as_user, directory_of, succeed, user};

use crate::small::{archive, recipe_with};

support::tests! {
    needs [ROOT, "crun", "docker", "dockerd", "gpg", "newuidmap", "podman"];
    the_hint_names_the_settings_of_a_container_of_roots,
    the_hint_names_the_settings_of_a_container_of_a_users,
    the_hint_names_the_settings_of_a_container_of_docker,
}

fn the_hint_names_the_settings_of_a_container_of_roots() {
    the_hint_names_the_settings("root", ["seccomp=unconfined", "unmask=ALL"], Podman::run);
}

fn the_hint_names_the_settings_of_a_container_of_a_users() {
    the_hint_names_the_settings(user(), ["seccomp=unconfined", "unmask=ALL"], Podman::run);
}

fn the_hint_names_the_settings_of_a_container_of_docker() {
    the_hint_names_the_settings("root", ["seccomp=unconfined", "systempaths=unconfined"], Docker::run);
}

/// Builds in containers of `who`, which `run` runs: without and with the settings.
fn the_hint_names_the_settings<R>(who: &str, settings: [&str; 2], start: fn(Place) -> R)
where
    R: Runner,
{
    let mut runner = start(Place::new(who));
    let refused = runner.build(&[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("(a seccomp filter confines this process, as in a container)"), "{said}");
    let hint = said.lines().find(|line| line.starts_with("hint: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(settings.iter().all(|setting| hint.contains(setting)), "{hint}");

    let built = runner.build(&settings.map(|setting| format!("--security-opt={setting}")));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let output = runner.output();
    assert!(output.join("fabric1.qcow2").exists());
    assert!(!output.join(".fam-build").exists());
}

/// What runs containers.
trait Runner {
    /// Builds the small system in a container with these options more.
    fn build(&mut self, options: &[String]) -> Output;

    /// Where the build's output directory is on the host.
    fn output(&self) -> PathBuf;
}

/// A root directory with the program and nothing else in it, and a mirror.
struct Place {
    who: String,
    directory: tempfile::TempDir,
    mirror: Mirror,
}

impl Place {
    fn new(who: &str) -> Self {
        let directory = directory_of(who);
        let mirror = archive().serve();
        let root = directory.path().join("root");
        bare_root(&root);
        fs_err::copy(mirror.keyring(), root.join("etc/keyring.gpg")).unwrap();
        fs_err::write(root.join("etc/tiny.toml"), recipe_with("")).unwrap();
        fs_err::create_dir(directory.path().join("home")).unwrap();
        succeed(Command::new("chown").arg("--recursive").arg(who).arg(directory.path()));
        Self { who: who.to_owned(), directory, mirror }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program and its arguments, as seen in the container.
    fn command(&self) -> [String; 5] {
        let mirror = format!("--mirror={}", self.mirror.url());
        ["/usr/bin/fam-build", &mirror, "--keyring=/etc/keyring.gpg", "--recipe=/etc/tiny.toml", "--output=/output"]
            .map(str::to_owned)
    }
}

struct Podman {
    place: Place,
    /// Podman takes no path of more than 50 letters for it.
    run: tempfile::TempDir,
}

impl Podman {
    fn run(place: Place) -> Self {
        let run = tempfile::Builder::new().prefix("podman.").tempdir_in("/tmp").unwrap();
        succeed(Command::new("chown").arg(&place.who).arg(run.path()));
        Self { place, run }
    }
}

impl Runner for Podman {
    fn build(&mut self, options: &[String]) -> Output {
        let Self { place, run } = self;
        let mut podman = if place.who == "root" { Command::new("/usr/bin/env") } else { as_user("/usr/bin/env") };
        podman.arg(format!("HOME={}", place.path("home").display()));
        podman.arg(format!("XDG_RUNTIME_DIR={}", run.path().display()));
        podman.args(["podman", "--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file", "--root"]);
        podman.arg(place.path("storage")).arg("--runroot").arg(run.path()).arg("--tmpdir").arg(run.path());
        podman.args(["run", "--rm", "--network=host", "--cgroups=disabled"]);
        // Where root may not raise its own limits, podman's are too high.
        podman.args(["--ulimit=nofile=1024:1024", "--ulimit=nproc=8192:8192"]).args(options);
        podman.arg("--rootfs").arg(place.path("root")).args(place.command());
        with_newer_control_groups(&podman).output().unwrap()
    }

    fn output(&self) -> PathBuf {
        self.place.path("root/output")
    }
}

impl Drop for Podman {
    /// A user's podman leaves a process that holds its namespaces.
    fn drop(&mut self) {
        let pid = fs_err::read_to_string(self.run.path().join("pause.pid"));
        if let Ok(pid) = pid {
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
    }
}

/// A daemon of docker's of its own, which touches no network of the host.
struct Docker {
    place: Place,
    daemon: Child,
}

impl Docker {
    fn run(place: Place) -> Self {
        let mut dockerd = Command::new("dockerd");
        dockerd.arg("--data-root").arg(place.path("data")).arg("--exec-root").arg(place.path("exec"));
        dockerd.arg("--pidfile").arg(place.path("pid")).arg("--host").arg(Self::address(&place));
        dockerd.args(["--bridge=none", "--iptables=false", "--storage-driver=vfs"]);
        let mut command = with_newer_control_groups(&dockerd);
        let daemon = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !Self::docker(&place).arg("version").output().unwrap().status.success() {
            assert!(Instant::now() < deadline, "dockerd does not answer");
            std::thread::sleep(Duration::from_millis(200));
        }
        let tarball = place.path("root.tar");
        succeed(
            Command::new("tar").arg("--create").arg("--file").arg(&tarball).arg("-C").arg(place.path("root")).arg("."),
        );
        succeed(Self::docker(&place).arg("import").arg(tarball).arg("fam:test"));
        fs_err::create_dir(place.path("output")).unwrap();
        Self { place, daemon }
    }

    fn address(place: &Place) -> String {
        format!("unix://{}", place.path("docker.sock").display())
    }

    fn docker(place: &Place) -> Command {
        let mut docker = Command::new("docker");
        docker.arg("--host").arg(Self::address(place)).env("HOME", place.path("home"));
        docker
    }
}

impl Runner for Docker {
    fn build(&mut self, options: &[String]) -> Output {
        let mut docker = Self::docker(&self.place);
        docker.args(["run", "--rm", "--network=host"]).args(options);
        docker.arg(format!("--volume={}:/output", self.output().display()));
        docker.arg("fam:test").args(self.place.command()).output().unwrap()
    }

    fn output(&self) -> PathBuf {
        self.place.path("output")
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = fs_err::read_to_string(self.place.path("pid")).unwrap_or_default();
        let _ = Command::new("kill").arg(pid.trim()).status();
        let _ = self.daemon.wait();
    }
}

/// The command where only control groups of version 2 are to be seen, which crun insists on.
fn with_newer_control_groups(command: &Command) -> Command {
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "sh", "-c", "mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"", "sh"]);
    wrapped.arg(command.get_program()).args(command.get_args()).current_dir(Path::new("/"));
    wrapped
}
