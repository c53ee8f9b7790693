//! What holds code from outside back on this host, beyond what every build has or fails without:
//! namespaces, a filter of system calls, a session keyring of its own, sizes of file systems in
//! memory, limits of time.

use fam_host::space::control_group_room;

use super::isolation::Isolation;
use super::limits::{PROCESSES, has_process_limit_of_namespaces};
use crate::sandbox::{describe_ids, try_own_ids};

/// A protection that not every host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// What is limited or kept away.
    pub what: &'static str,
    /// What holds where it is active.
    pub state: Result<String, Inactive>,
}

/// Why a protection is not active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inactive {
    /// What follows, and why it is so.
    pub why: String,
    /// What changes it.
    pub hint: &'static str,
}

impl Isolation {
    /// The protections of builds on this host, as the trial found them. None where no trial was
    /// made, as packages' programs do not run. Who these are on the host takes a trial of its own:
    /// [`programs_ids`].
    #[must_use]
    pub fn protections(&self) -> Vec<Protection> {
        if *self == Self::none() {
            return Vec::new();
        }
        let protection = |what, state| Protection { what, state };
        vec![
            protection("plugins' files", plugins_files(self.landlock)),
            protection("processes", processes(self.ids().needs_user_namespace())),
            protection("programs' memory", Ok(programs_memory(control_group_room()))),
        ]
    }
}

/// Who programs of the new system are on the host, by a trial. A build has no need of it: it says
/// what came of the real thing.
#[must_use]
pub fn programs_ids() -> Protection {
    let state = match try_own_ids() {
        None => Ok(describe_ids(false).into()),
        Some(Ok(())) => Ok(describe_ids(true).into()),
        Some(Err(error)) => Err(Inactive {
            why: format!("{}: {error}", describe_ids(false)),
            hint: "build as a normal user, or take Linux 6.3 or later, which translates ids of files in memory",
        }),
    };
    Protection { what: "programs' ids", state }
}

fn plugins_files(landlock: Option<i32>) -> Result<String, Inactive> {
    match landlock {
        Some(version) => Ok(format!("Landlock, version {version}, keeps plugins from writing, beside their mounts")),
        None => Err(Inactive {
            why: "plugins can write to FIFOs in directories that they see, as this kernel has no Landlock".into(),
            hint: "take a kernel with Landlock (Linux 5.13), where it is enabled (`lsm=landlock,...`)",
        }),
    }
}

fn processes(is_user: bool) -> Result<String, Inactive> {
    match (has_process_limit_of_namespaces(), is_user) {
        (true, _) => Ok(format!("a sandbox has at most {PROCESSES} processes")),
        (false, true) => Ok(format!("the user who builds has at most {PROCESSES} processes in a sandbox")),
        (false, false) => Err(Inactive {
            why: "nothing limits how many processes a sandbox of root's has".into(),
            hint: "build as a normal user, or take Linux 6.14 or later",
        }),
    }
}

fn programs_memory(room: Option<u64>) -> String {
    let limit = match room {
        Some(bytes) => format!("the control group of the build has {} MiB left for all", bytes >> 20),
        None => "no control group limits the build".into(),
    };
    format!("{limit}; where memory ends, programs of the new system and plugins are ended first")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_has_a_hint() {
        assert!(plugins_files(Some(6)).unwrap().contains("version 6"));
        assert!(plugins_files(None).unwrap_err().hint.contains("5.13"));
        assert!(programs_memory(None).starts_with("no control group limits the build"));
        assert!(programs_memory(Some(3 << 20)).contains("has 3 MiB left"));
    }
}
