//! Clocks that are wrong, and several builds at once.

use std::path::PathBuf;
use std::process::Command;
use std::thread;

use support::archive::{Fault, days_from_now};
use support::succeed;

use super::{Place, said, wait_until};
use crate::running::{Run, Victim};
use crate::small::{Bench, Who, archive, assert_fails};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "gpg", "dpkg-deb", "faketime"];
    a_clock_that_is_wrong,
    indexes_of_another_time,
    several_builds_share_a_cache,
    a_build_that_others_wait_for_is_killed,
}

/// A clock behind the mirror's is an error; one that is ahead does not matter as long as
/// nothing has expired. The processes of a build do not take the variables by which faketime works,
/// so it is asked of a lock.
fn a_clock_that_is_wrong() {
    let place = Place::new(Who::Root, archive(), &[]);
    for (offset, works) in [("-5m", false), ("-2d", false), ("-20y", false), ("+2d", true), ("+5d", true)] {
        place.clear();
        let lock = place.bench.build(&["lock"]);
        let mut arguments: Vec<_> = lock.get_args().map(ToOwned::to_owned).collect();
        let program = arguments.iter().position(|argument| *argument == support::program()).unwrap();
        arguments.splice(program..program, ["faketime", "-f", offset].map(Into::into));
        let mut command = Command::new(lock.get_program());
        command.args(arguments);
        if works {
            succeed(&mut command);
            assert_eq!(place.found()["fabric.lock"], place.artifacts["fabric.lock"], "{offset}");
        } else {
            assert_fails(&mut command, 1, &["suite tiny", "in the future"], "clock");
        }
        place.assert_works(offset);
    }
}

fn indexes_of_another_time() {
    for (field, days, error, hint) in [
        ("Date", 1, "in the future", "clock"),
        ("Date", 400, "in the future", "clock"),
        ("Valid-Until", -1, "expired: valid until", "--accept-expired"),
        ("Valid-Until", -400, "expired: valid until", "--accept-expired"),
    ] {
        let bench = Bench::of(Who::Root, archive().release(field, days_from_now(days)).serve());
        assert_fails(&mut bench.build(&[]), 1, &["suite tiny", error], hint);
        assert!(!bench.output().join(".fam-build").exists(), "{field} {days}");
    }
}

/// Four builds of the same at the same time, from an empty cache.
fn several_builds_share_a_cache() {
    for who in [Who::Root, Who::User] {
        let place = Place::new(who, archive(), &[]);
        for round in 0..2 {
            // The cache is empty the first time, and has all the second.
            if round == 0 {
                fs_err::remove_dir_all(place.bench.cache()).unwrap();
            }
            let outputs: Vec<_> =
                (0..4).map(|number| place.bench.directory.path().join(format!("o{number}"))).collect();
            let tarballs: Vec<_> = thread::scope(|scope| {
                let build = |output: &PathBuf| {
                    let output = output.clone();
                    let mut command = place.build();
                    command.arg("--output").arg(&output);
                    scope.spawn(move || {
                        let ended = command.output().unwrap();
                        assert!(ended.status.success(), "{}", said(&ended));
                        fs_err::read(output.join("fabric1.qcow2")).unwrap()
                    })
                };
                let all: Vec<_> = outputs.iter().map(build).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert!(tarballs.iter().all(|one| *one == tarballs[0]));
            assert_eq!(place.bench.mirror.requests_of("/pool/base_1_all.deb"), 2, "fetched once for all");
            place.clear();
            place.assert_works("several builds");
        }
    }
}

/// Who waits for a file that another build fetches goes on where that one was killed.
fn a_build_that_others_wait_for_is_killed() {
    const DEB: &str = "/pool/base_1_all.deb";
    let place = Place::new(Who::Root, archive(), &[]);
    for victim in [Victim::Supervisor, Victim::Group, Victim::Worker] {
        place.clear();
        fs_err::remove_dir_all(place.bench.cache()).unwrap();
        place.bench.mirror.fault(DEB, Fault::Stalled(1000));
        let asked = place.bench.mirror.requests_of(DEB);
        let first = Run::start(&mut place.build());
        wait_until("a request", || place.bench.mirror.requests_of(DEB) > asked);
        let other = place.bench.directory.path().join("other");
        let second = Run::start(place.build().arg("--output").arg(&other));
        wait_until("the other build", || other.join(".fam-build").exists());
        place.bench.mirror.repair();
        first.kill(victim);
        let output = second.wait();
        assert!(output.status.success(), "{victim:?}: {}", said(&output));
        place.assert_works(&format!("{victim:?} of another build was killed"));
        fs_err::remove_dir_all(other).unwrap();
    }
}
