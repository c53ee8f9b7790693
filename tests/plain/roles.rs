//! What workers do for the tests that start builds of their own: this program, executed again in
//! fam-build's roles.

use std::path::PathBuf;

use fam_isolation::supervisor::Failure;
use fam_progress::Progress;
use serde::{Deserialize, Serialize};

use crate::{hostile_scripts, sandbox, system_stage};

/// What to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Job {
    HostileScripts(hostile_scripts::Job),
    Sandbox(sandbox::Job),
    /// To apply plugins to the tree in this directory.
    SystemStage(PathBuf),
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Done {
    HostileScripts(hostile_scripts::Ran),
    Sandbox(sandbox::Ran),
    /// What is then on the disk.
    SystemStage(Vec<String>),
}

/// Does a job in the worker.
#[allow(clippy::needless_pass_by_value, reason = "the supervisor hands it over")]
pub fn work(job: Job, progress: Progress) -> Result<Done, Failure> {
    match job {
        Job::HostileScripts(job) => hostile_scripts::work(job, &progress).map(Done::HostileScripts),
        Job::Sandbox(job) => sandbox::work(job, &progress).map(Done::Sandbox),
        Job::SystemStage(root) => system_stage::work(&root, &progress).map(Done::SystemStage),
    }
}
