//! The template of the default packages against mmdebstrap's tree: see `comparison`.

use std::path::PathBuf;
use std::process::Command;

use support::files::extract;
use support::packages::assert_installed;
use support::{mirror, program, scratch, succeed};

use crate::comparison::{Reference, assert_same};

support::tests! {
    needs [support::harness::ROOT, "mmdebstrap"];
    trixie_equals_mmdebstrap,
    bookworm_equals_mmdebstrap,
}

/// Where fam-build keeps packages, if it is not told.
fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("fam-build")
}

fn compare(suite: &str) {
    let work = tempfile::Builder::new().prefix("fam-build-tree.").tempdir_in(scratch()).unwrap();
    let work = work.path();
    // The packages of the default list; nothing but packages, so that what differs is the work of
    // the unpacker.
    let recipe = work.join("packages-only.toml");
    let include = support::default_include(suite);
    fs_err::write(&recipe, support::packages_only_recipe(suite, &include)).unwrap();
    succeed(
        Command::new(program())
            .args(["--nodes", "1", "--mirror", &mirror(), "--security-mirror", "none"])
            .arg("--recipe")
            .arg(&recipe)
            .arg("--cache-dir")
            .arg(cache())
            .arg("--output")
            .arg(work),
    );
    let ours = work.join("ours");
    extract(&work.join("fabric_template.tar"), &ours);
    assert_installed(&ours, &include, &[]);
    let reference = Reference { suite, group: None, variant: "buildd", components: "main", include: &include };
    assert_same(&reference, work, &ours, &cache());
}

fn trixie_equals_mmdebstrap() {
    compare("trixie");
}

fn bookworm_equals_mmdebstrap() {
    compare("bookworm");
}
