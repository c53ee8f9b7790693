//! Several archives, pins and requests of versions and releases: the resolver against apt with the
//! same sources and preferences, in the two runs that mmdebstrap makes.
//!
//! Needs apt-get (apt 2.6), and the mirror of this machine's apt sources.

#[path = "apt_policy/cases.rs"]
mod cases;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fam_archive::policy::{Pin, Policy};
use fam_archive::resolve::{Recommends, Request, Variant};

use crate::apt_oracle::apt::{Base, Choice, Installed, Release, mirror};
use crate::apt_oracle::{choose, difference, narrow, priorities};
use cases::{BOOKWORM, MIXED, SID, TRIXIE};

support::tests! {
    needs [support::harness::ROOT, "apt-get"];
    chooses_what_apt_chooses,
}

/// Pins, as `packages | pin | priority`, with `&&` between them; and the variant with the list of
/// what is included.
type Case = (&'static str, &'static str);

fn chooses_what_apt_chooses() {
    let sets = [
        (&["trixie", "trixie-updates", "trixie-security", "trixie-backports"][..], TRIXIE),
        (&["bookworm", "bookworm-updates", "bookworm-security", "bookworm-backports"], BOOKWORM),
        (&["sid", "experimental"], SID),
        (&["bookworm", "bookworm-updates", "bookworm-security", "trixie"], MIXED),
    ];
    let (mut total, mut refused, mut differences) = (0, 0, Vec::new());
    for (suites, cases) in sets {
        let outcome = compare(&Archives::fetch(suites), cases);
        total += cases.len();
        refused += outcome.refused.len();
        println!("{}, refused by apt as well:\n{}", suites.join(" "), outcome.refused.join("\n"));
        differences.extend(outcome.differences);
    }
    println!(
        "{} of {total} cases come to apt's exact set, {refused} of them because both refuse",
        total - differences.len()
    );
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[derive(Default)]
struct Outcome {
    refused: Vec<String>,
    differences: Vec<String>,
}

fn compare(archives: &Archives, cases: &[Case]) -> Outcome {
    let (next, outcome) = (AtomicUsize::new(0), Mutex::new(Outcome::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let policy = policy(case.0);
                    let (ours, apts) = (archives.ours(&policy, case.1), archives.apts(&policy, case.1));
                    let mut outcome = outcome.lock().unwrap();
                    if let (Err(message), Err(_)) = (&ours, &apts) {
                        outcome.refused.push(format!("{case:?}: {message}"));
                    }
                    if let Some(difference) = difference(&ours, &apts) {
                        outcome.differences.push(format!("{} {case:?}:\n{difference}", archives.release.suite));
                    }
                }
            });
        }
    });
    outcome.into_inner().unwrap()
}

fn policy(pins: &str) -> Policy {
    let mirror = mirror();
    let host = mirror.split_once("://").unwrap().1.split(['/', ':']).next().unwrap();
    let pin = |text: &str| {
        let [packages, versions, priority] = text.split(" | ").collect::<Vec<_>>().try_into().unwrap();
        let versions = versions.replace("HOST", host).parse().unwrap();
        Pin::new(packages.parse().unwrap(), versions, priority.parse().unwrap(), None).unwrap()
    };
    Policy::new(pins.split(" && ").filter(|pin| !pin.is_empty()).map(pin).collect())
}

/// The words of a case: the variant, and what is included.
fn words(wanted: &str) -> (Variant, Vec<String>) {
    let mut words = wanted.split_whitespace();
    (words.next().unwrap().parse().unwrap(), words.map(str::to_owned).collect())
}

struct Archives {
    release: Release,
    /// What apt's first runs came to. Most preferences lead to the same, and apt reads a database
    /// of dpkg that it has read before in no time.
    installed: Mutex<BTreeMap<Choice, Installed>>,
}

impl Archives {
    fn fetch(suites: &[&'static str]) -> Self {
        Self { release: Release::fetch_all(suites, suites[0]), installed: Mutex::default() }
    }

    fn ours(&self, policy: &Policy, wanted: &str) -> Result<Choice, String> {
        let (variant, include) = words(wanted);
        let suite = Some(self.release.suite);
        choose(&self.release.index, &Request { variant, include: &include, suite, policy, ..Request::default() })
    }

    fn apts(&self, policy: &Policy, wanted: &str) -> Result<Choice, String> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);

        let release = &self.release;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let preferences = release.preferences(&number.to_string(), &policy.to_preferences());
        let (variant, include) = words(wanted);
        let (base, first) = match variant {
            Variant::Apt => (Base::Apt, vec!["dist-upgrade".to_owned()]),
            _ => (Base::Essential, vec!["install".to_owned(), narrow(release.suite, "?essential")]),
        };
        let first = [vec![preferences.clone()], first].concat();
        let choice = release.simulate(base, &Recommends::None, &release.nothing(), &first)?;
        let installed = {
            let mut all = self.installed.lock().unwrap();
            let install = || release.install(choice.clone());
            all.entry(choice.clone()).or_insert_with(install).clone()
        };
        let build_essential = (variant == Variant::Buildd).then(|| "build-essential".to_owned());
        let wanted: Vec<_> =
            include.into_iter().chain(build_essential).chain(priorities(release.suite, variant)).collect();
        if wanted.is_empty() {
            return Ok(choice);
        }
        release.simulate(
            base,
            &Recommends::None,
            &installed,
            &[vec![preferences, "install".to_owned()], wanted].concat(),
        )
    }
}
