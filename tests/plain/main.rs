//! What `tests/run` runs: all that needs no network, and the default system, built once from the
//! real mirror, judged by the checkers of its formats, booted once, and asked everything about a
//! running cluster.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod additions;
mod apt_faults;
mod archive_forms;
mod archives_page;
mod boot_files;
mod c_client;
mod causes;
mod check;
mod cluster;
mod clusters;
mod credentials;
mod disks;
mod doctor;
mod documents;
mod domains;
mod early_stage;
mod examples;
mod export;
mod fabric;
mod file_names;
mod guest_apt;
mod host;
mod hostile_debs;
mod hostile_plugins;
mod hostile_scripts;
mod image;
mod interruption;
mod layers;
mod local_packages;
mod mirror_files;
mod network;
mod networked;
mod output;
mod packages;
mod paths;
mod plugins;
mod preseed;
mod providers;
mod readme;
mod rebuild;
mod recipe_files;
mod recipes;
mod recommends;
mod reference;
mod request;
mod roles;
mod running;
mod sandbox;
mod sbom;
mod sectors;
mod small;
mod socks;
mod system;
mod system_stage;
mod vectors;
mod virtiofs;
mod volumes;

use std::process::ExitCode;

use fam_isolation::supervisor::enter_role;

fn main() -> ExitCode {
    if let Some(code) = enter_role(roles::work, &fam_build::plugins::ROLES) {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, job, output] = arguments.as_slice()
        && role == sandbox::builds::SUPERVISE
    {
        return sandbox::builds::supervise(serde_json::from_str(job).unwrap(), output.as_ref());
    }
    let tests = [
        additions::tests(),
        apt_faults::tests(),
        archive_forms::tests(),
        archives_page::tests(),
        boot_files::tests(),
        c_client::tests(),
        causes::tests(),
        cluster::tests(),
        clusters::tests(),
        credentials::tests(),
        disks::tests(),
        system_stage::tests(),
        doctor::tests(),
        documents::tests(),
        domains::tests(),
        early_stage::tests(),
        examples::tests(),
        export::tests(),
        check::tests(),
        fabric::tests(),
        file_names::tests(),
        guest_apt::tests(),
        host::tests(),
        hostile_debs::tests(),
        hostile_plugins::tests(),
        hostile_scripts::tests(),
        image::tests(),
        interruption::tests(),
        layers::tests(),
        local_packages::tests(),
        mirror_files::tests(),
        network::tests(),
        networked::tests(),
        output::tests(),
        packages::tests(),
        paths::tests(),
        plugins::tests(),
        preseed::tests(),
        providers::tests(),
        readme::tests(),
        rebuild::tests(),
        recipe_files::tests(),
        recipes::tests(),
        recommends::tests(),
        reference::tests(),
        request::tests(),
        sandbox::tests(),
        sbom::tests(),
        sectors::tests(),
        socks::tests(),
        system::tests(),
        vectors::tests(),
        virtiofs::tests(),
        volumes::tests(),
    ];
    support::harness::run(tests.into_iter().flatten().collect())
}
