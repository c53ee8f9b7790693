//! What `tests/run --full` runs beside the plain tests: comparisons with apt, dpkg and mmdebstrap
//! on real packages, every shipped recipe, every fabric, and every other way to run nodes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod addresses;
mod apt3_vectors;
mod apt_oracle;
mod apt_policy;
mod archive;
mod archives;
mod boot_files;
mod comparison;
mod configure;
mod containers;
mod controllers;
mod disks;
mod downloads;
mod export;
mod fabrics;
mod faults;
mod install_order;
mod installer_options;
mod libvirt;
mod nodes;
mod packages;
mod plugins;
mod recipes;
mod release;
#[path = "../plain/running.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod running;
mod sbom;
mod secure_boot;
#[path = "../plain/small.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod small;
mod suites;
mod thin_cluster;
mod tree;
mod tutorial;
mod unpack;

use std::process::ExitCode;

use fam_isolation::supervisor::enter_role;

fn main() -> ExitCode {
    if let Some(code) = enter_role(configure::work, &fam_build::plugins::ROLES) {
        return code;
    }
    let tests = [
        addresses::tests(),
        apt3_vectors::tests(),
        apt_oracle::tests(),
        apt_policy::tests(),
        archive::tests(),
        archives::tests(),
        boot_files::tests(),
        configure::tests(),
        containers::tests(),
        controllers::tests(),
        controllers::each(),
        disks::tests(),
        export::tests(),
        fabrics::tests(),
        faults::tests(),
        install_order::tests(),
        installer_options::tests(),
        libvirt::tests(),
        nodes::tests(),
        packages::tests(),
        packages::generated(),
        plugins::tests(),
        recipes::tests(),
        recipes::shipped(),
        release::tests(),
        sbom::tests(),
        secure_boot::tests(),
        suites::tests(),
        thin_cluster::tests(),
        tree::tests(),
        tutorial::tests(),
        unpack::tests(),
    ];
    support::harness::run(tests.into_iter().flatten().collect())
}
