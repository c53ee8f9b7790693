//! kill -9 of the supervisor, of each process around the work, of a script, and of the process
//! group, at points that are chosen by what the build does: what it asks the mirror for, which
//! program it runs, which file it makes, what it says.

use std::os::unix::process::ExitStatusExt;

use support::archive::{Archive, Deb, Fault};

use super::{Place, said, wait_until};
use crate::running::{Run, Victim};
use crate::small::{Who, archive, assert_failed, recipe_with};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "gpg", "dpkg-deb"];
    while_files_are_fetched,
    while_a_preinst_script_runs,
    while_a_postinst_script_runs,
    while_a_postinst_script_of_a_user_runs,
    while_a_script_of_a_plugin_runs,
    when_a_file_appears,
    when_it_says_what_it_does,
}

const AROUND_THE_WORKER: [Victim; 5] = [
    Victim::Supervisor,
    Victim::Group,
    Victim::Worker,
    Victim::Around("role=launcher init"),
    Victim::Around("role=init"),
];

/// Long enough to be found; no other process of the machine sleeps as long.
const SLEEP: &str = "sleep 1.0417";

const AROUND_A_SCRIPT: [Victim; 4] = [
    Victim::Around("role=launcher sandbox"),
    Victim::Around("role=sandbox"),
    Victim::Around("role=runner"),
    Victim::Script(SLEEP),
];

impl Place {
    /// Kills a build when `point` is reached, and asserts how it ends, what it leaves, and that the
    /// next one works.
    #[track_caller]
    fn kill(&self, case: &str, victim: Victim, point: impl FnOnce(&mut Run)) {
        let case = format!("{victim:?} killed {case}");
        let mut run = Run::start(&mut self.build());
        point(&mut run);
        let ended = run.kill(victim);
        match victim {
            // It may have been done just before.
            Victim::Supervisor | Victim::Group => {
                assert!(ended.status.signal() == Some(9) || ended.status.success(), "{case}: {}", said(&ended));
            }
            Victim::Worker => assert_failed(&ended, 1, &["the worker was killed by signal 9"], "fabric_emulation.log"),
            _ => assert_failed(&ended, 1, &[], "fabric_emulation.log"),
        }
        let left = self.bench.output().join(".fam-build").exists();
        assert!(!left || matches!(victim, Victim::Supervisor | Victim::Group), "{case}");
        if !left {
            self.assert_whole(&case);
        }
        self.assert_works(&case);
    }
}

fn while_files_are_fetched() {
    let place = Place::new(Who::Root, archive(), &[]);
    for path in ["/dists/tiny/InRelease", "/dists/tiny/main/binary-amd64/Packages", "/pool/base_1_all.deb"] {
        for victim in AROUND_THE_WORKER {
            place.clear();
            fs_err::remove_dir_all(place.bench.cache()).unwrap();
            let asked = place.bench.mirror.requests_of(path);
            place.bench.mirror.fault(path, Fault::Stalled(100));
            place.kill(&format!("while {path} is fetched"), victim, |_| {
                wait_until("a request", || place.bench.mirror.requests_of(path) > asked);
                place.bench.mirror.repair();
            });
        }
    }
}

/// Kills each process while the script of the package `slow`, or of a plugin, runs.
fn while_it_runs(who: Who, archive: Archive, arguments: &[&str], recipe: &str, what: &str) {
    let place = Place::with_recipe(who, archive, arguments, recipe);
    for victim in AROUND_THE_WORKER.into_iter().chain(AROUND_A_SCRIPT) {
        place.clear();
        place.kill(&format!("while {what} runs"), victim, |run| run.wait_for_process(SLEEP));
    }
}

fn with_slow(script: &str) -> Archive {
    archive().with(Deb::new("slow").script(script, SLEEP))
}

fn while_a_preinst_script_runs() {
    while_it_runs(Who::Root, with_slow("preinst"), &["--include", "slow"], &recipe_with(""), "a preinst script");
}

fn while_a_postinst_script_runs() {
    while_it_runs(Who::Root, with_slow("postinst"), &["--include", "slow"], &recipe_with(""), "a postinst script");
}

fn while_a_postinst_script_of_a_user_runs() {
    while_it_runs(Who::User, with_slow("postinst"), &["--include", "slow"], &recipe_with(""), "a user's script");
}

fn while_a_script_of_a_plugin_runs() {
    let recipe = recipe_with(&format!("[[plugin]]\nname = \"script\"\nsettings.script = \"{SLEEP}\"\n"));
    while_it_runs(Who::Root, archive(), &[], &recipe, "a script of a plugin");
}

/// In the order in which a build makes them: first under the name that they have until they are
/// whole.
const FILES: [&str; 14] = [
    ".fam-build",
    ".fam-build/staging",
    ".fam-build/staging/root/usr/bin",
    ".fam-build/fabric_template.tar.part",
    "fabric_template.tar",
    "fabric.lock",
    "fabric.spdx.json",
    ".fam-build/fabric1.qcow2.part",
    ".fam-build/fabric_template.img.part",
    "fabric1.qcow2",
    "fabric_template.img",
    "fabric_network.xml",
    "fabric1.xml",
    "fabric_emulation.bash",
];

fn when_a_file_appears() {
    let place = Place::new(Who::Root, archive(), &[]);
    for (number, name) in FILES.into_iter().enumerate() {
        place.clear();
        let victim = if number % 2 == 0 { Victim::Supervisor } else { Victim::Group };
        let path = place.bench.output().join(name);
        place.kill(&format!("when {name} appeared"), victim, |run| {
            // What lies in a mount of the build's own is not seen from here, and some files have
            // their first name for a moment only: then it has ended.
            wait_until(name, || path.exists() || run.has_ended());
        });
    }
}

fn when_it_says_what_it_does() {
    let place = Place::new(Who::Root, archive(), &[]);
    for line in ["Reading the indexes", "Fetching and unpacking", "Configuring", "Applying", "Writing", "Making disks"]
    {
        for victim in [Victim::Supervisor, Victim::Group] {
            place.clear();
            place.kill(&format!("when it said {line}"), victim, |run| run.wait_for(&format!("==> {line}")));
        }
    }
}
