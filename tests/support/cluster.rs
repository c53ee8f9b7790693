//! The cluster under test: what the main job makes, once for all tests; and its nodes, run by the launch script.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use super::{as_user, directory_of, mirror, of_this_checkout, public_binary, succeed, user};

/// The default recipe with four nodes, built by a normal user. The first test that asks builds it; those of other binaries
/// find it unchanged. Nobody may write to it.
pub fn default_build() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let output = of_this_checkout("fam-build-default");
        fs_err::create_dir_all(&output).unwrap();
        succeed(Command::new("chown").arg(user()).arg(&output));
        let begin = Instant::now();
        let mut build = as_user(public_binary());
        succeed(build.args(["--nodes", "4", "--mirror", &mirror(), "--output"]).arg(&output));
        println!("four nodes by a normal user: {:.1} s", begin.elapsed().as_secs_f64());
        output
    })
}

/// Nodes in a directory of their own, run by a normal user in user mode, without KVM. Dropped, they leave nothing running.
#[derive(Debug)]
pub struct Nodes {
    pub directory: tempfile::TempDir,
    shared_memory: tempfile::TempDir,
    /// Node N's ssh is at this port plus N.
    port: u16,
}

impl Nodes {
    /// An empty directory; `port` differs from those of other tests.
    pub fn new(port: u16) -> Self {
        let shared_memory = tempfile::tempdir_in("/dev/shm").unwrap();
        succeed(Command::new("chown").arg(user()).arg(shared_memory.path()));
        Self { directory: directory_of(user()), shared_memory, port }
    }

    /// The host's side of the shared memory.
    pub fn shared_memory(&self) -> PathBuf {
        self.shared_memory.path().join("fabric_em")
    }

    /// The launch script with these arguments.
    pub fn script(&self, arguments: &[&str]) -> Command {
        self.patient_script(120, arguments)
    }

    fn patient_script(&self, stop_timeout: u32, arguments: &[&str]) -> Command {
        let mut command = as_user("/usr/bin/env");
        command.args(["ACCEL=tcg", "NET=user"]).arg(format!("PORT={}", self.port));
        command.arg(format!("STOP_TIMEOUT={stop_timeout}"));
        command.arg(format!("SHM={}", self.shared_memory().display()));
        command.arg(self.directory.path().join("fabric_emulation.bash")).args(arguments).current_dir("/");
        command
    }

    /// Runs a shell command on node `number` as the user fabric; gives back what it printed.
    #[track_caller]
    pub fn ssh(&self, number: u32, command: &str) -> String {
        succeed(&mut self.script(&["ssh", &number.to_string(), command])).trim().to_owned()
    }

    /// Runs a command on each of these nodes at once.
    pub fn ssh_all(&self, numbers: &[u32], command: impl Fn(u32) -> String + Sync) -> Vec<String> {
        let command = &command;
        std::thread::scope(|scope| {
            let running: Vec<_> =
                numbers.iter().map(|&number| scope.spawn(move || self.ssh(number, &command(number)))).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// Names of all that is in the directory and of the shared memory.
    pub fn files(&self) -> Vec<String> {
        let entries = [self.directory.path(), self.shared_memory.path()].into_iter().flat_map(|directory| {
            fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap())
        });
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    }

    /// The command lines that name the directory.
    pub fn processes(&self) -> Vec<String> {
        let place = self.directory.path().to_str().unwrap();
        let lines = fs_err::read_dir("/proc").unwrap().filter_map(|entry| {
            let line = fs_err::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        });
        lines.filter(|line| line.contains(place)).collect()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if self.directory.path().join("fabric_run").exists() {
            let _ = self.patient_script(0, &["stop"]).output();
        }
    }
}
