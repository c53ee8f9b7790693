//! The packages that are hardest to install, together in one system: the first group of
//! `tests/packages.toml`. The others are built by `tests/full/packages.rs`.

use support::files::extract;
use support::harness::ROOT;
use support::packages::{assert_installed, groups, output};
use support::succeed;

support::tests! {
    needs [ROOT, "newuidmap"];
    the_hardest,
}

fn the_hardest() {
    let group = groups().iter().find(|group| group.name == "hardest").unwrap();
    let output = output();
    succeed(&mut group.build("trixie", output.path()));
    let tree = output.path().join("tree");
    extract(&output.path().join("fabric_template.tar"), &tree);
    assert_installed(&tree, &group.include(), &group.changes);
}
