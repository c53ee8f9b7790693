//! QEMU as this host has it: its version, its devices, and whether KVM really runs a system in it.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Findings;
use super::ask::{ask, find};
use super::distribution::{Distribution, Package};
use crate::fabric::{KVM_PROBE_EXIT, kvm_probe};
use crate::recipe::FabricKind;

/// Where the launch script looks, too: enterprise distributions hide it.
const ELSEWHERE: &str = "/usr/libexec/qemu-kvm";
const PATIENCE: Duration = Duration::from_secs(20);
const PACKAGE: Package = Package { debian: "qemu-system-x86", fedora: "qemu-system-x86-core", arch: "qemu-system-x86" };

/// A version as it is compared: major, minor.
type Version = (u32, u32);

/// What a kind of fabric needs of QEMU.
struct Needs {
    kind: FabricKind,
    device: &'static str,
    since: Version,
}

const NEEDS: [Needs; 3] = [
    Needs { kind: FabricKind::Ivshmem, device: "ivshmem-plain", since: (5, 2) },
    Needs { kind: FabricKind::Nvdimm, device: "nvdimm", since: (5, 2) },
    // Its volatile memory, that is.
    Needs { kind: FabricKind::Cxl, device: "cxl-type3", since: (8, 1) },
];

/// Examines QEMU for nodes on a fabric of `kind`. Gives back where it is, if it runs.
pub(super) fn examine(findings: &mut Findings, distribution: Distribution, kind: FabricKind) -> Option<PathBuf> {
    const WHAT: &str = "QEMU";
    let named = std::env::var_os("QEMU").filter(|name| !name.is_empty());
    let name = named.unwrap_or_else(|| OsString::from("qemu-system-x86_64"));
    let Some(qemu) = find(&name).or_else(|| find(ELSEWHERE)) else {
        findings.fault(WHAT, format!("{} is not installed", name.display()), Some(distribution.install(PACKAGE)));
        return None;
    };
    let said = |argument: &[&str]| {
        let mut command = Command::new(&qemu);
        command.args(argument);
        let answer = ask(command, PATIENCE, None).map_err(|error| error.to_string())?;
        if answer.succeeded() { Ok(answer.text) } else { Err(answer.last_line().to_owned()) }
    };
    let version = said(&["--version"]).and_then(|text| version(&text).ok_or(text));
    let devices = said(&["-device", "help"]);
    let (version, devices) = match (version, devices) {
        (Ok(version), Ok(devices)) => (version, devices),
        (Err(error), _) | (_, Err(error)) => {
            let reinstall = distribution.install(PACKAGE).replace(" install ", " reinstall ");
            findings.fault(WHAT, format!("{} does not run: {}", qemu.display(), error.trim_end()), Some(reinstall));
            return None;
        }
    };
    let shown = format!("{} {}.{}", qemu.display(), version.0, version.1);
    for Needs { kind: of, device, since } in NEEDS {
        let what = format!("fabric {of}");
        let lacks = if !devices.contains(&format!("\"{device}\"")) {
            format!("{shown} was built without the device {device}")
        } else if version < since {
            format!("{shown} is older than {}.{}", since.0, since.1)
        } else {
            findings.ok(&what, format!("{shown} has the device {device}"));
            continue;
        };
        let hint = "install another build, as Debian's or Arch's qemu-system-x86, or name one: QEMU=PROGRAM";
        if of == kind {
            findings.fault(&what, lacks, Some(hint.into()));
        } else {
            findings.warning(&what, lacks, hint);
        }
    }
    Some(qemu)
}

/// The version in what QEMU says of itself.
fn version(text: &str) -> Option<Version> {
    let (_, rest) = text.split_once("version ")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Runs a trial system in KVM: one that can be opened may still fail, nested in another hypervisor
/// above all.
pub(super) fn examine_kvm(findings: &mut Findings, qemu: &Path) {
    const WHAT: &str = "KVM";
    let slower = |says: String| format!("{says}; nodes run emulated (TCG), some ten times slower");
    let device = Path::new("/dev/kvm");
    if !device.exists() {
        let hint = "turn on virtualization in the firmware, or nested virtualization in the hypervisor around this \
                    host; then: sudo modprobe -a kvm_intel kvm_amd";
        findings.warning(WHAT, slower("there is no /dev/kvm".into()), hint);
        return;
    }
    if let Err(error) = fs_err::OpenOptions::new().read(true).write(true).open(device) {
        findings.warning(WHAT, slower(error.to_string()), "sudo usermod -aG kvm $USER, and log in again");
        return;
    }
    match runs_in_kvm(qemu) {
        Ok(true) => findings.ok(WHAT, "a trial system ran in it"),
        Ok(false) => findings.warning(
            WHAT,
            slower("/dev/kvm is there, but a trial system did not run in it".into()),
            "allow nested virtualization in the hypervisor around this host",
        ),
        Err(error) => findings.warning(
            WHAT,
            slower(format!("no trial: {error}")),
            "make room in the directory for temporary files",
        ),
    }
}

fn runs_in_kvm(qemu: &Path) -> std::io::Result<bool> {
    // Without a name, so that nothing of it can be left.
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let mut image: std::fs::File = rustix::fs::open(std::env::temp_dir(), flags, mode)?.into();
    image.write_all(&kvm_probe())?;
    let mut command = Command::new(qemu);
    command.args(["-accel", "kvm", "-cpu", "host", "-machine", "pc", "-m", "32", "-nodefaults", "-no-user-config"]);
    command.args(["-display", "none", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-drive"]);
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&image);
    command.arg(format!("file=/proc/{}/fd/{descriptor},format=raw,if=ide", std::process::id()));
    // After an error of KVM itself QEMU stays, paused, for somebody to look at.
    let answer = ask(command, PATIENCE, Some("internal error"))?;
    Ok(answer.status.and_then(|status| status.code()) == Some(KVM_PROBE_EXIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright"), Some((10, 0)));
        assert_eq!(version("QEMU emulator version 5.2.0"), Some((5, 2)));
        assert_eq!(version("bash: version"), None);
        assert!((5, 1) < (5, 2) && (5, 2) < (10, 0));
    }
}
