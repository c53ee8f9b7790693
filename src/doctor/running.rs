//! What running the nodes needs of the host. The launch script examines that itself, since it runs
//! on hosts without this program; here it is run, and what it says is read.

use std::process::Command;
use std::time::Duration;

use super::Findings;
use super::distribution::{Distribution, Package};
use super::probe::{find, run_probe};
use crate::fabric::{Cluster, Seed, launch_script};
use crate::pipeline::present_seed;
use crate::recipe::Settings;
use crate::report::{Finding, Purpose, Verdict};

/// How the script names itself in its hints.
const SCRIPT: &str = "./fabric_emulation.bash";
/// How long bash may take to say its version.
const SHORT_PATIENCE: Duration = Duration::from_secs(10);
/// How long the script may take; each of its trials has a limit of its own.
const PATIENCE: Duration = Duration::from_secs(90);

/// Examines the host for running nodes as `settings` describe them.
pub(super) fn examine(settings: &Settings, distribution: Distribution) -> Vec<Finding> {
    let mut findings = Findings::new(Purpose::Run);
    if let Some(bash) = bash(&mut findings, distribution) {
        // Without a seed, of a build to come, only the names beside another cluster are made up.
        let seed = present_seed(settings).ok().flatten().unwrap_or(Seed::from_bytes([0; 32]));
        script(&mut findings, bash, &launch_script(&Cluster::new(&settings.recipe), &seed));
    }
    findings.all
}

/// A command of bash, if the host has one that is new enough.
fn bash(findings: &mut Findings, distribution: Distribution) -> Option<Command> {
    const WHAT: &str = "bash";
    let hint = distribution.install(Package::named("bash"));
    let Some(bash) = find("bash") else {
        findings.fault(WHAT, "it is not installed; nothing else can be examined without it", Some(hint));
        return None;
    };
    let mut command = Command::new(&bash);
    command.args(["-c", "((BASH_VERSINFO[0] >= 4)) && echo $BASH_VERSION"]);
    let detail = match run_probe(command, SHORT_PATIENCE) {
        Ok(answer) if answer.succeeded() => {
            findings.ok(WHAT, format!("{} {}", bash.display(), answer.last_line()));
            return Some(Command::new(bash));
        }
        Ok(_) => format!("{} is older than 4.0", bash.display()),
        Err(error) => format!("{}: {error}", bash.display()),
    };
    findings.fault(WHAT, detail, Some(hint));
    None
}

/// Has the launch script examine the host.
fn script(findings: &mut Findings, mut bash: Command, script: &str) {
    const WHAT: &str = "launch script";
    // From memory, since the doctor leaves no files; SCRIPT becomes `$0`, which hints show.
    bash.arg("-c").arg(script).args([SCRIPT, "check"]);
    let answer = match run_probe(bash, PATIENCE) {
        Ok(answer) => answer,
        Err(error) => return findings.fault(WHAT, error.to_string(), None),
    };
    let before = findings.all.len();
    findings.all.extend(answer.text.lines().filter_map(finding));
    if answer.status.is_none() {
        findings.fault(WHAT, format!("`check` had not ended after {} s", PATIENCE.as_secs()), None);
    } else if findings.all.len() == before {
        findings.fault(WHAT, format!("`check` found nothing: {}", answer.last_line()), None);
    }
}

/// Parses a line of the script's `check`: verdict, check, detail and hint, with tabs between.
fn finding(line: &str) -> Option<Finding> {
    let mut fields = line.split('\t');
    let verdict = match fields.next()? {
        "ok" => Verdict::Ok,
        "warning" => Verdict::Warning,
        "fault" => Verdict::Fault,
        _ => return None,
    };
    let [check, detail, hint] = [fields.next()?, fields.next()?, fields.next()?].map(str::to_owned);
    Some(Finding { purpose: Purpose::Run, check, verdict, detail, hint: (!hint.is_empty()).then_some(hint) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lines_of_findings() {
        let found = finding("warning\tKVM\tthere is no /dev/kvm\tsudo modprobe kvm").unwrap();
        assert_eq!((found.verdict, found.check.as_str()), (Verdict::Warning, "KVM"));
        assert_eq!((found.detail.as_str(), found.hint.as_deref()), ("there is no /dev/kvm", Some("sudo modprobe kvm")));
        assert_eq!(finding("ok\tssh\t/usr/bin/ssh\t").unwrap().hint, None);
        for other in ["", "bash: line 1: syntax error", "ok\tssh", "fine\tssh\tx\t"] {
            assert_eq!(finding(other), None, "{other}");
        }
    }
}
