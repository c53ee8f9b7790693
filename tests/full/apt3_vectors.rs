//! The vectors of trust with apt 3, which judges signatures by Sequoia's sqv, in a small system of
//! trixie: see `tests/plain/vectors.rs`.

#[path = "../plain/vectors/ours.rs"]
mod ours;

use std::path::PathBuf;
use std::process::Command;

use support::apt::Apt;
use support::files::extract;
use support::shared::shared;
use support::vectors::{INDEXES, KEYRINGS, MESSAGES, RELEASES, SIGNATURES, STRENGTH, compare};
use support::{SMALL_SYSTEM, mirror, program, succeed};

use ours::ours;

support::tests! {
    needs [support::harness::ROOT, "chroot", "gpg", "gpgconf", "newuidmap"];
    apt_3_accepts_what_fam_build_accepts,
}

/// A system of trixie with apt.
fn root() -> PathBuf {
    shared("apt3", |place| {
        fs_err::write(place.join("apt3.toml"), SMALL_SYSTEM).unwrap();
        let mut build = Command::new(program());
        build.args(["--mirror", &mirror(), "--recipe"]).arg(place.join("apt3.toml"));
        succeed(build.arg("--output").arg(place.join("output")));
        extract(&place.join("output/fabric_template.tar"), &place.join("root"));
    })
    .join("root")
}

fn apt_3_accepts_what_fam_build_accepts() {
    let apt = Apt::in_root(&root());
    assert_eq!(apt.major(), 3, "trixie has apt 3");
    for group in [STRENGTH, KEYRINGS, SIGNATURES, MESSAGES, RELEASES, INDEXES] {
        compare(group, &apt, ours);
    }
}
