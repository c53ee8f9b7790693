//! What running the nodes needs of the host: the programs that the launch script calls, QEMU, room
//! for the shared memory.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::ask::{ask, find};
use super::distribution::{Distribution, Package};
use super::{Findings, emulator, mebibytes, network};
use crate::fabric::SHARED_MEMORY_NAME;
use crate::recipe::Settings;
use crate::report::{Finding, Purpose};
use crate::supervisor::{available_memory, free_space};

/// Programs without which the launch script cannot work; every distribution has them, containers
/// may not.
const TOOLS: [&str; 12] =
    ["awk", "cat", "cksum", "df", "grep", "mkfifo", "readlink", "stat", "tail", "timeout", "tr", "truncate"];
const PATIENCE: Duration = Duration::from_secs(10);
const SSH: Package = Package { debian: "openssh-client", fedora: "openssh-clients", arch: "openssh" };

/// Examines the host for running nodes as `settings` describe them.
pub(super) fn examine(settings: &Settings, distribution: Distribution) -> Vec<Finding> {
    let mut findings = Findings::new(Purpose::Run);
    shell(&mut findings, distribution);
    let qemu = emulator::examine(&mut findings, distribution, settings.recipe.fabric.kind.value);
    if let Some(qemu) = &qemu {
        emulator::examine_kvm(&mut findings, qemu);
    }
    memory(&mut findings, settings);
    shared_memory(&mut findings, settings);
    network::examine(&mut findings, distribution, qemu.as_deref());
    for (program, package, what_for) in
        [("ssh", SSH, "log in to nodes"), ("socat", Package::named("socat"), "use the nodes' serial consoles")]
    {
        match find(program) {
            Some(path) => findings.ok(program, path.display().to_string()),
            None => findings.warning(
                program,
                format!("it is not installed, and serves to {what_for}"),
                distribution.install(package),
            ),
        }
    }
    findings.all
}

fn shell(findings: &mut Findings, distribution: Distribution) {
    const WHAT: &str = "bash";
    match find("bash") {
        None => findings.fault(WHAT, "it is not installed", Some(distribution.install(Package::named("bash")))),
        Some(bash) => {
            let mut command = Command::new(&bash);
            command.args(["-c", "((BASH_VERSINFO[0] >= 4)) && echo $BASH_VERSION"]);
            match ask(command, PATIENCE, None) {
                Ok(answer) if answer.succeeded() => {
                    findings.ok(WHAT, format!("{} {}", bash.display(), answer.last_line()));
                }
                Ok(_) => findings.fault(
                    WHAT,
                    format!("{} is older than 4.0", bash.display()),
                    Some(distribution.install(Package::named("bash"))),
                ),
                Err(error) => findings.fault(
                    WHAT,
                    format!("{}: {error}", bash.display()),
                    Some(distribution.install(Package::named("bash"))),
                ),
            }
        }
    }
    let missing: Vec<_> = TOOLS.into_iter().filter(|tool| find(tool).is_none()).collect();
    if !missing.is_empty() {
        let tools =
            Package { debian: "coreutils grep gawk", fedora: "coreutils grep gawk", arch: "coreutils grep gawk" };
        findings.fault("tools", format!("not installed: {}", missing.join(" ")), Some(distribution.install(tools)));
    }
}

fn memory(findings: &mut Findings, settings: &Settings) {
    const WHAT: &str = "memory of the nodes";
    let recipe = &settings.recipe;
    let count = recipe.nodes.count.get();
    let needed = u64::from(count) * recipe.nodes.memory.get().bytes() + recipe.fabric.size.get().bytes();
    let takes = format!("{count} nodes and the memory that they share take up to {}", mebibytes(needed));
    match available_memory() {
        Some(available) if available >= needed => {
            findings.ok(WHAT, format!("{takes}; {} are available", mebibytes(available)));
        }
        Some(available) => findings.warning(
            WHAT,
            format!("{takes}; {} are available", mebibytes(available)),
            "build fewer or smaller nodes: --nodes N, --memory SIZE",
        ),
        None => findings.warning(WHAT, format!("{takes}; /proc/meminfo does not say how much there is"), "mount /proc"),
    }
}

fn shared_memory(findings: &mut Findings, settings: &Settings) {
    const WHAT: &str = "shared memory";
    let named = std::env::var_os("SHM").filter(|name| !name.is_empty()).map(PathBuf::from);
    let path = named.unwrap_or_else(|| Path::new("/dev/shm").join(SHARED_MEMORY_NAME));
    let size = settings.recipe.fabric.size.get().bytes();
    match check_shared_memory(&path, size) {
        Ok(says) => findings.ok(WHAT, says),
        Err((says, hint)) => findings.fault(WHAT, says, Some(hint)),
    }
}

/// As the launch script decides it: a file that is there must be the user's, and of the right size;
/// else there must be room for it.
fn check_shared_memory(path: &Path, size: u64) -> Result<String, (String, String)> {
    let shown = path.display();
    let elsewhere = "take another file when nodes are started: SHM=FILE ./fabric_emulation.bash";
    let fail = |says: String, hint: String| Err((says, hint));
    let may = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS).is_ok();
    if let Ok(metadata) = fs_err::metadata(path) {
        if !metadata.is_file() || !may(path, Access::READ_OK | Access::WRITE_OK) {
            return fail(format!("{shown} is there and not this user's"), elsewhere.into());
        }
        if metadata.size() != size {
            let says = format!("{shown} has {}, but the nodes share {}", mebibytes(metadata.size()), mebibytes(size));
            return fail(says, format!("if nobody uses it: rm {shown}; or {elsewhere}"));
        }
        return Ok(format!("{shown} is there and keeps its contents"));
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    if !directory.is_dir() || !may(directory, Access::WRITE_OK | Access::EXEC_OK) {
        return fail(format!("{shown} cannot be made"), elsewhere.into());
    }
    match free_space(directory) {
        Ok(free) if free < size => fail(
            format!(
                "{} has {} free; the shared memory takes {}",
                directory.display(),
                mebibytes(free),
                mebibytes(size)
            ),
            format!("sudo mount -o remount,size={}M {}; or {elsewhere}", size >> 20, directory.display()),
        ),
        Ok(free) => Ok(format!("{shown} can be made; {} has {} free", directory.display(), mebibytes(free))),
        Err(error) => fail(error.to_string(), elsewhere.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_as_the_launch_script_takes_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shared");
        assert!(check_shared_memory(&path, 1 << 20).unwrap().contains("can be made"));
        let (says, hint) = check_shared_memory(&path, u64::MAX).unwrap_err();
        assert!(says.contains("free; the shared memory takes") && hint.contains("remount"), "{says} {hint}");
        fs_err::write(&path, vec![0; 1 << 20]).unwrap();
        assert!(check_shared_memory(&path, 1 << 20).unwrap().contains("keeps its contents"));
        let (says, hint) = check_shared_memory(&path, 2 << 20).unwrap_err();
        assert!(says.contains("has 1 MiB, but the nodes share 2 MiB") && hint.contains("rm "), "{says} {hint}");
        assert!(check_shared_memory(directory.path(), 1).unwrap_err().0.contains("not this user's"));
        assert!(check_shared_memory(Path::new("/proc/1/none/shared"), 1).unwrap_err().0.contains("cannot be made"));
    }
}
