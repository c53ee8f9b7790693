//! The bridge that nodes can be on: QEMU's helper and its rules, and libvirt, which makes the
//! bridge. All of it is optional, as nodes go to user-mode networking without.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Findings;
use super::ask::{ask, find, is_executable};
use super::distribution::{Distribution, Package};
use crate::fabric::{BRIDGE, NETWORK};

/// Where distributions put the helper, as the launch script has them.
const HELPERS: [&str; 8] = [
    "/run/wrappers/bin",
    "/usr/lib/qemu",
    "/usr/libexec",
    "/usr/lib64/qemu",
    "/usr/lib",
    "/usr/libexec/qemu",
    "/usr/lib/qemu/bin",
    "/usr/local/libexec",
];
const RULES: &str = "/etc/qemu/bridge.conf";
const PATIENCE: Duration = Duration::from_secs(10);
const HELPER: Package = Package { debian: "qemu-system-common", fedora: "qemu-common", arch: "qemu-base" };
const LIBVIRT: Package =
    Package { debian: "libvirt-daemon-system libvirt-clients", fedora: "libvirt", arch: "libvirt dnsmasq" };

/// Examines the host for nodes on the bridge.
pub(super) fn examine(findings: &mut Findings, distribution: Distribution, qemu: Option<&Path>) {
    bridge(findings, distribution, qemu);
    libvirt(findings, distribution);
}

fn bridge(findings: &mut Findings, distribution: Distribution, qemu: Option<&Path>) {
    const WHAT: &str = "bridge helper";
    let instead = |says: String| format!("{says}; nodes use user-mode networking");
    let found =
        HELPERS.iter().map(|place| Path::new(place).join("qemu-bridge-helper")).find(|path| is_executable(path));
    let Some(helper) = found else {
        findings.warning(WHAT, instead("qemu-bridge-helper is not installed".into()), distribution.install(HELPER));
        return;
    };
    let place = helper.display();
    if !may_make_interfaces(&helper) {
        findings.warning(
            WHAT,
            instead(format!("{place} may not make interfaces for users")),
            format!("sudo chmod u+s {place}"),
        );
        return;
    }
    let allow = format!("sudo mkdir -p /etc/qemu; echo 'allow {BRIDGE}' | sudo tee -a {RULES}");
    if !Path::new("/sys/class/net").join(BRIDGE).join("bridge").exists() {
        // It cannot be tried, so its rules are read, if they can be.
        match fs_err::read_to_string(RULES) {
            Ok(rules) if allows(&rules, &read_rules) => {
                findings.ok(WHAT, format!("{place} may be used, by {RULES}; the bridge {BRIDGE} is not up"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                findings.ok(
                    WHAT,
                    format!("{place} is there; this user cannot read {RULES}, and the bridge {BRIDGE} is not up"),
                );
            }
            _ => findings.warning(WHAT, instead(format!("{RULES} does not allow {BRIDGE}")), allow),
        }
        return;
    }
    let Some(qemu) = qemu else {
        findings.ok(WHAT, format!("{place} is there; without QEMU it cannot be tried"));
        return;
    };
    match try_bridge(qemu, &helper) {
        Ok(()) => findings.ok(WHAT, format!("{place} gave access to {BRIDGE}")),
        Err(said) => {
            findings.warning(WHAT, instead(format!("{place} does not give access to {BRIDGE}: {said}")), allow);
        }
    }
}

fn may_make_interfaces(helper: &Path) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let setuid_root = fs_err::metadata(helper)
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o4000 != 0 && metadata.uid() == 0);
    setuid_root || rustix::fs::getxattr(helper, "security.capability", &mut [0u8; 64]).is_ok()
}

fn try_bridge(qemu: &Path, helper: &Path) -> Result<(), String> {
    let helper = helper.display();
    let mut command = Command::new(qemu);
    command.args(["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "stdio"]);
    command.arg("-netdev").arg(format!("bridge,id=trial,br={BRIDGE},helper={helper}"));
    // The monitor, whose input is at its end, ends QEMU once the network device is there.
    let answer = ask(command, PATIENCE, Some("(qemu)")).map_err(|error| error.to_string())?;
    if answer.succeeded() || answer.text.contains("(qemu)") { Ok(()) } else { Err(answer.last_line().to_owned()) }
}

fn read_rules(path: &Path) -> Option<String> {
    fs_err::read_to_string(path).ok()
}

/// Whether rules in the form of QEMU's bridge.conf let users onto the bridge: some line allows it,
/// none denies it.
fn allows(rules: &str, read: &dyn Fn(&Path) -> Option<String>) -> bool {
    fn collect(rules: &str, read: &dyn Fn(&Path) -> Option<String>, depth: u32, verdicts: &mut Vec<bool>) {
        for line in rules.lines().map(str::trim) {
            let Some((word, argument)) = line.split_once(char::is_whitespace) else { continue };
            let argument = argument.trim();
            match word {
                "allow" if argument == BRIDGE || argument == "all" => verdicts.push(true),
                "deny" if argument == BRIDGE || argument == "all" => verdicts.push(false),
                "include" if depth > 0 => {
                    if let Some(rules) = read(&PathBuf::from(argument)) {
                        collect(&rules, read, depth - 1, verdicts);
                    }
                }
                _ => {}
            }
        }
    }
    let mut verdicts = Vec::new();
    collect(rules, read, 8, &mut verdicts);
    !verdicts.is_empty() && verdicts.iter().all(|allowed| *allowed)
}

fn libvirt(findings: &mut Findings, distribution: Distribution) {
    const WHAT: &str = "libvirt";
    let optional = |says: String| format!("{says}; it is needed for the bridge {BRIDGE} and for domains only");
    let Some(virsh) = find("virsh") else {
        findings.warning(WHAT, optional("virsh is not installed".into()), distribution.install(LIBVIRT));
        return;
    };
    let mut command = Command::new(&virsh);
    command.args(["-q", "-c", "qemu:///system", "net-list", "--all", "--name"]);
    match ask(command, PATIENCE, None) {
        Ok(answer) if answer.succeeded() => {
            let network =
                if answer.text.lines().any(|line| line.trim() == NETWORK) { "defined" } else { "not yet defined" };
            findings.ok(WHAT, format!("the daemon answers; the network {NETWORK} is {network}"));
        }
        Ok(answer) => {
            let said = answer.last_line().trim_start_matches("error: ");
            let hint = if said.contains("authentication") || said.contains("ermission") {
                "sudo usermod -aG libvirt $USER, and log in again".to_owned()
            } else {
                format!("{}; sudo systemctl start libvirtd", distribution.install(LIBVIRT))
            };
            findings.warning(WHAT, optional(format!("the daemon does not answer: {said}")), hint);
        }
        Err(error) => {
            findings.warning(WHAT, optional(format!("{}: {error}", virsh.display())), distribution.install(LIBVIRT));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_helpers_rules() {
        let more = |path: &Path| match path.to_str() {
            Some("/etc/qemu/alice.conf") => Some("allow fabric_em\n".to_owned()),
            Some("/etc/qemu/loop.conf") => Some("include /etc/qemu/loop.conf\n".to_owned()),
            _ => None,
        };
        for (rules, expected) in [
            ("allow fabric_em\n", true),
            ("# comment\n  allow\tfabric_em  \n", true),
            ("allow all\n", true),
            ("allow virbr0\n", false),
            ("allow all\ndeny fabric_em\n", false),
            ("deny all\nallow fabric_em\n", false),
            ("include /etc/qemu/alice.conf\n", true),
            ("include /etc/qemu/loop.conf\n", false),
            ("include /etc/qemu/none.conf\n", false),
            ("#allow fabric_em\nallow\n", false),
            ("", false),
        ] {
            assert_eq!(allows(rules, &more), expected, "{rules:?}");
        }
    }
}
