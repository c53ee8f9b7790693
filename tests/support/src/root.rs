//! Roots of Debian that the program under test makes from this machine's mirror, for programs that
//! this host lacks, or has in another version.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use crate::files::extract;
use crate::{directory_of, mirror, public_program, succeed};

/// The root tree of what `recipe` describes, in a directory that everyone may pass through.
pub fn root_of(recipe: &str) -> TempDir {
    let (build, root) = (directory_of("root"), directory_of("root"));
    let path = build.path().join("recipe.toml");
    fs_err::write(&path, recipe).unwrap();
    let mut program = Command::new(public_program());
    program.args(["--accept-expired", "--mirror", &mirror(), "--recipe"]).arg(path);
    succeed(program.arg("--output").arg(build.path()));
    extract(&build.path().join("fabric_template.tar"), root.path());
    fs_err::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    root
}
