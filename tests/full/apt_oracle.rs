//! The resolver against apt itself: same lists, same two runs as mmdebstrap makes, same packages
//! and versions.
//!
//! Needs apt-get (apt 2.x), and the mirror of this machine's apt sources. `APT_ORACLE_LISTS=FILE`
//! adds include lists, one a line.

#[path = "apt_oracle/apt.rs"]
pub mod apt;
#[path = "apt_oracle/lists.rs"]
mod lists;

use apt::{Base, Choice, Installed, Release};
use clap::ValueEnum as _;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use fam_archive::local::{self, LocalDeb};
use fam_archive::packages::{Package, PackageIndex};
use fam_archive::resolve::{Recommends, Request, Variant, resolve};
use fam_archive::version;
use support::archive::Deb;

support::tests! {
    needs [support::harness::ROOT, "apt-get", "mmdebstrap"];
    orders_versions_as_dpkg_does,
    selects_what_apt_selects,
    selects_what_apt_selects_with_recommends,
    selects_what_mmdebstrap_selects,
    takes_files_as_apt_takes_them,
}

/// Lists on which the resolver may differ from apt, each with the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Both releases, fetched once.
fn releases() -> &'static [Release; 2] {
    static RELEASES: LazyLock<[Release; 2]> = LazyLock::new(|| ["trixie", "bookworm"].map(Release::fetch));
    &RELEASES
}

fn orders_versions_as_dpkg_does() {
    let versions: Vec<_> =
        releases().iter().flat_map(|release| release.index.packages()).map(|p| p.version()).collect();
    // Neighbours in the index, which are often versions of one source package, and pairs from afar.
    let pairs: Vec<_> = (0..versions.len())
        .step_by(16)
        .flat_map(|i| [i + 1, i * 7 + 13, i * 31 + 5].map(|j| (versions[i], versions[j % versions.len()])))
        .collect();
    let program = r#"use Dpkg::Version; while (<>) { my ($x, $y) = split; print version_compare($x, $y), "\n" }"#;
    let mut perl = Command::new("perl")
        .args(["-e", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("perl, with Dpkg::Version of libdpkg-perl");
    let mut stdin = perl.stdin.take().unwrap();
    let text: String = pairs.iter().map(|(left, right)| format!("{left} {right}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).unwrap());
    let output = perl.wait_with_output().unwrap();
    writer.join().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && answers.lines().count() == pairs.len());
    for ((left, right), answer) in pairs.iter().zip(answers.lines()) {
        assert_eq!(version::compare(left, right) as i32, answer.parse::<i32>().unwrap(), "{left} against {right}");
    }
    for (left, right) in pairs.iter().step_by(pairs.len() / 100) {
        let status = Command::new("dpkg").args(["--compare-versions", left, "lt", right]).status().unwrap();
        assert_eq!(version::compare(left, right).is_lt(), status.success(), "{left} against {right}");
    }
    println!("{} pairs of versions are ordered as dpkg orders them", pairs.len());
}

fn selects_what_apt_selects() {
    let extra = std::env::var("APT_ORACLE_LISTS").map(|path| fs_err::read_to_string(path).unwrap()).unwrap_or_default();
    let stages: Vec<_> = releases().iter().map(|release| Stages::simulate(release, &Recommends::None)).collect();
    let mut cases = Vec::new();
    // The second release is to show that the rules are not the first one's: every other list will
    // do.
    for (stages, step) in stages.iter().zip([1, 2]) {
        cases.extend(Variant::value_variants().iter().map(|&variant| Case { stages, variant, include: "" }));
        cases.extend(Variant::value_variants().iter().map(|&variant| Case {
            stages,
            variant,
            include: lists::DEFAULT,
        }));
        // Each list with one variant, in turn: what is there beforehand decides between
        // alternatives.
        let lists = lists::LISTS.iter().copied().step_by(step).chain(extra.lines());
        let variants = Variant::value_variants().iter().copied().cycle();
        cases.extend(lists.zip(variants).map(|(list, variant)| match list.split_once(": ") {
            Some((variant, include)) => Case { stages, variant: variant.parse().unwrap(), include },
            None => Case { stages, variant, include: list },
        }));
    }

    compare(&cases);
}

fn selects_what_apt_selects_with_recommends() {
    let stages: Vec<_> = releases().iter().map(|release| Stages::simulate(release, &Recommends::All)).collect();
    let mut cases = Vec::new();
    for (stages, step) in stages.iter().zip([1, 2]) {
        cases.extend(Variant::value_variants().iter().map(|&variant| Case { stages, variant, include: "" }));
        let lists = lists::WITH_RECOMMENDS.iter().step_by(step);
        let variants = Variant::value_variants().iter().cycle();
        cases.extend(lists.zip(variants).map(|(include, &variant)| Case { stages, variant, include }));
    }
    compare(&cases);
}

/// Asserts that the resolver and apt come to the same.
fn compare(cases: &[Case<'_>]) {
    let next = AtomicUsize::new(0);
    let (differences, refused) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (ours, apts) = (case.ours(), case.apts());
                    if let (Err(message), Err(_)) = (&ours, &apts) {
                        refused.lock().unwrap().push(format!("{case}: {message}"));
                    }
                    if let Some(difference) = difference(&ours, &apts) {
                        differences.lock().unwrap().push(format!("{case}:\n{difference}"));
                    }
                }
            });
        }
    });
    let differences = differences.into_inner().unwrap();
    let refused = refused.into_inner().unwrap();
    println!("refused by apt as well:\n{}", refused.join("\n"));
    println!(
        "{} of {} include lists come to apt's exact set, {} of them because both refuse",
        cases.len() - differences.len(),
        cases.len(),
        refused.len()
    );
    let excepted = |difference: &&String| {
        EXCEPTIONS.iter().any(|(suite, include, _)| {
            difference.starts_with(&format!("{suite} ")) && difference.contains(&format!("[{include}]"))
        })
    };
    let (excepted, differences): (Vec<_>, Vec<_>) = differences.iter().partition(excepted);
    for difference in excepted {
        println!("excepted: {difference}");
    }
    assert!(differences.is_empty(), "{}", differences.into_iter().cloned().collect::<Vec<_>>().join("\n"));
}

fn selects_what_mmdebstrap_selects() {
    let release = &releases()[0];
    let index = release.suite_alone();
    // Its simulation makes both runs on an empty system, so that in the second one alternatives may
    // fall out otherwise than with the essential packages in place. These sets have none such;
    // include lists are compared with apt itself.
    for variant in [Variant::Apt, Variant::Standard, Variant::Buildd] {
        let output = Command::new("mmdebstrap")
            .args(["--simulate", "--verbose", "--mode=root", &format!("--variant={variant}")])
            .args([release.suite, "/dev/null", &apt::mirror()])
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{log}");
        // Inst libc6 (2.41-12 Debian:13.0/stable [amd64])
        let theirs: Choice = log
            .lines()
            .filter_map(|line| line.strip_prefix("Inst ")?.split_once(" ("))
            .map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap().to_owned()))
            .collect();
        assert!(theirs.len() > 50, "{log}");
        let difference = difference(&ours(&index, variant, release.suite, "", &Recommends::None), &Ok(theirs));
        assert_eq!(difference, None, "{variant}");
    }
}

/// Packages in files, as `apt-get install ./x.deb` takes them: their versions beside those of the
/// archive, and what they depend on there.
fn takes_files_as_apt_takes_them() {
    let stages = Stages::simulate(&releases()[0], &Recommends::None);
    let release = stages.release;
    let of_archive = |name: &str| release.index.find(name).unwrap().version().to_owned();
    let hello = |version: &str| Deb::new("hello").field("Version", version).field("Architecture", "amd64");
    let cases: [(&str, Vec<Deb>, &str); 9] = [
        ("older", vec![hello("0.1").field("Depends", "nginx-light | apache2, libc6 (>= 2.4)")], ""),
        ("equal", vec![hello(&of_archive("hello")).field("Depends", "netbase")], ""),
        ("newer", vec![hello("99").field("Depends", "vim | nano, default-mta | mail-transport-agent")], "hello"),
        (
            "of each other",
            vec![hello("1").field("Depends", "friend (= 2)"), Deb::new("friend").field("Version", "2")],
            "",
        ),
        ("instead of one that is needed", vec![Deb::new("netbase").field("Version", "0.1")], "ifupdown openssh-server"),
        ("which provides a choice", vec![Deb::new("my-mta").field("Provides", "mail-transport-agent")], "bsd-mailx"),
        (
            "which conflicts with a choice",
            vec![Deb::new("no-exim").field("Conflicts", "exim4-daemon-light")],
            "bsd-mailx",
        ),
        ("which breaks what is asked for", vec![Deb::new("foe").field("Breaks", "vim")], "vim"),
        ("which nothing can be had for", vec![hello("1").field("Depends", "hello-data (>= 1000)")], ""),
    ];
    for (what, debs, names) in cases {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<_> = debs
            .iter()
            .map(|deb| {
                let path = directory.path().join(deb.filename().strip_prefix("pool/").unwrap());
                fs_err::write(&path, deb.build()).unwrap();
                path
            })
            .collect();
        let files = local::read_all(paths.iter().map(PathBuf::as_path), "amd64").unwrap();
        let names = names.split_whitespace().filter(|name| files.iter().all(|file| file.name != *name));
        let names: Vec<_> = names.map(str::to_owned).collect();
        let include = [names.clone(), files.iter().map(LocalDeb::request).collect()].concat().join(" ");
        let ours = ours(&release.with_files(&files), Variant::Minbase, release.suite, &include, stages.recommends);
        let mut arguments = vec!["install".to_owned()];
        arguments.extend(names);
        arguments.extend(paths.iter().map(|path| path.display().to_string()));
        arguments.push(narrow(release.suite, "?and(?priority(required),?not(?essential))"));
        let apts = release.simulate(Base::Essential, stages.recommends, &stages.essential, &arguments);
        println!("{what}: {:?} of ours, {:?} of apt's", ours.as_ref().map(Choice::len), apts.as_ref().map(Choice::len));
        assert_eq!(ours.is_err(), what.contains("breaks") || what.contains("nothing"), "{what}: {ours:?}");
        if what.contains("conflicts") {
            // apt leaves some of what it marked for its first choice; here nothing stays that nothing
            // needs.
            let (ours, apts) = (ours.unwrap(), apts.unwrap());
            assert!(ours.iter().all(|(name, version)| apts.get(name) == Some(version)), "{ours:?} {apts:?}");
            continue;
        }
        assert_eq!(difference(&ours, &apts), None, "{what}");
    }
}

/// apt's first runs: what the second ones find installed.
struct Stages<'r> {
    release: &'r Release,
    recommends: &'r Recommends,
    essential: Installed,
    apt: Installed,
}

impl<'r> Stages<'r> {
    fn simulate(release: &'r Release, recommends: &'r Recommends) -> Self {
        let nothing = release.nothing();
        let install = ["install".to_owned(), narrow(release.suite, "?essential")];
        let essential = release.simulate(Base::Essential, recommends, &nothing, &install).unwrap();
        let apt = release.simulate(Base::Apt, recommends, &nothing, &["dist-upgrade".to_owned()]).unwrap();
        let (essential, apt) = (release.install(essential), release.install(apt));
        Self { release, recommends, essential, apt }
    }
}

/// mmdebstrap's pattern for packages of the suite itself.
pub fn narrow(suite: &str, pattern: &str) -> String {
    format!("?narrow(?or(?archive(^{suite}$),?codename(^{suite}$)),?architecture(amd64),{pattern})")
}

struct Case<'r> {
    stages: &'r Stages<'r>,
    variant: Variant,
    include: &'r str,
}

impl std::fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Stages { release, recommends, .. } = self.stages;
        let with = if **recommends == Recommends::All { " with Recommends" } else { "" };
        write!(f, "{} {}{with} [{}]", release.suite, self.variant, self.include)
    }
}

impl Case<'_> {
    fn ours(&self) -> Result<Choice, String> {
        let release = self.stages.release;
        ours(&release.index, self.variant, release.suite, self.include, self.stages.recommends)
    }

    fn apts(&self) -> Result<Choice, String> {
        let Stages { release, recommends, essential, apt } = self.stages;
        let (base, first) = if self.variant == Variant::Apt { (Base::Apt, apt) } else { (Base::Essential, essential) };
        let mut arguments: Vec<_> = self.include.split_whitespace().map(str::to_owned).collect();
        if self.variant == Variant::Buildd {
            arguments.push("build-essential".into());
        }
        arguments.extend(priorities(release.suite, self.variant));
        if arguments.is_empty() {
            return Ok(first.choice.clone());
        }
        arguments.insert(0, "install".into());
        release.simulate(base, recommends, first, &arguments)
    }
}

/// The packages of the suite that a variant asks for by their priority, as apt takes it.
pub fn priorities(suite: &str, variant: Variant) -> Option<String> {
    let wanted = match variant {
        Variant::Essential | Variant::Apt => return None,
        Variant::Minbase | Variant::Buildd => "?priority(required)",
        Variant::Important => "?or(?priority(required),?priority(important))",
        Variant::Standard => "?or(~prequired,~pimportant,~pstandard)",
    };
    Some(narrow(suite, &format!("?and({wanted},?not(?essential))")))
}

fn ours(
    index: &PackageIndex,
    variant: Variant,
    suite: &str,
    include: &str,
    recommends: &Recommends,
) -> Result<Choice, String> {
    let include: Vec<_> = include.split_whitespace().map(str::to_owned).collect();
    choose(index, &Request { variant, include: &include, suite: Some(suite), recommends, ..Request::default() })
}

/// What the resolver chooses.
pub fn choose(index: &PackageIndex, request: &Request<'_>) -> Result<Choice, String> {
    let selection = resolve(index, request).map_err(|error| error.to_string())?;
    let pair = |package: Package<'_>| (package.name().into(), package.version().into());
    Ok(selection.packages().iter().map(|selected| pair(selected.package)).collect())
}

/// How the two choices differ, a line each.
pub fn difference(ours: &Result<Choice, String>, apts: &Result<Choice, String>) -> Option<String> {
    let (ours, apts) = match (ours, apts) {
        (Ok(ours), Ok(apts)) => (ours, apts),
        (Err(_), Err(_)) => return None,
        (Ok(_), Err(apts)) => return Some(format!("  apt refuses:\n{apts}")),
        (Err(ours), Ok(_)) => return Some(format!("  only apt finds a way: {ours}")),
    };
    let (ours, apts): (BTreeSet<_>, BTreeSet<_>) = (ours.iter().collect(), apts.iter().collect());
    let line = |sign, (name, version): &(&String, &String)| format!("  {sign} {name}={version}");
    let lines: Vec<_> = ours
        .difference(&apts)
        .map(|package| line('+', package))
        .chain(apts.difference(&ours).map(|package| line('-', package)))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
