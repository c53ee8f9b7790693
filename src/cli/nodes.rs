//! `fam-build up`, `stop`, `status`, `ssh`, `console`, `log`: run the launch script of a build. The
//! script does the work, so nodes run the same on hosts without this program.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use fam_host::regular;

use super::arguments::NodesRequest;
use crate::fabric::LAUNCH_SCRIPT;
use crate::recipe::Environment;
use crate::report::Failure;

/// Replaces this process by the launch script in the output directory, with `verb` as its first
/// argument.
pub(super) fn run(verb: &str, request: NodesRequest, environment: &Environment) -> Result<(), Failure> {
    let script = environment.output_directory(request.output).join(LAUNCH_SCRIPT);
    check(&script)?;
    // With a slash in it, so that it is not looked for in PATH. The script replaces this process,
    // so that it has the terminal and its signals to itself.
    let error = Command::new(Path::new(".").join(&script)).arg(verb).args(request.arguments).exec();
    let what = format!("run {}: {error}", script.display());
    Err(Failure { hint: Some("it is a script for bash 4 or later".to_owned()), ..Failure::message(what) })
}

/// Refuses a script that anybody but this user and root may have written: the directory may be
/// /tmp, where everybody can put one.
fn check(script: &Path) -> Result<(), Failure> {
    let metadata = fs_err::symlink_metadata(script).map_err(|error| {
        Failure::new(&error, Some("name the directory of the images with --output, or build them first".to_owned()))
    })?;
    if regular::is_own(&metadata) {
        return Ok(());
    }
    let what = format!("{} is not this user's own file, or others may write to it", script.display());
    Err(Failure {
        hint: Some("read it, and run it yourself if it is as it should be".to_owned()),
        ..Failure::message(what)
    })
}
