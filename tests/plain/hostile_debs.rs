//! Malformed and hostile `.deb` files, in tables. dpkg judges each of them while the test runs:
//! whatever it refuses is refused here, what both install is the same, and what only fam-build
//! refuses has a reason in the table. Nothing outside the root is touched.

mod compression;
mod container;
mod contents;
mod control;
mod fields;
mod names;
mod old_faults;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::num::NonZero;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use fam_archive::digest::sha256;
use fam_progress::Progress;
use fam_rootfs::staging::Staging;
use fam_rootfs::unpack::{DebFile, Filters, UnpackOptions, unpack};
use fam_tree::Kind;
use support::files::{Aspects, differences, walk};
use support::handmade::deb::{ar, deb, stanza};
use support::handmade::tar;

support::tests! {
    needs [support::harness::ROOT, "dpkg", "timeout"];
    containers,
    compressed_members,
    control_archives,
    control_fields,
    names_in_data_archives,
    contents_of_data_archives,
    old_faults_of_dpkg,
    bombs_take_no_memory,
}

fn containers() {
    judge(&container::cases());
}

fn compressed_members() {
    judge(&compression::cases());
}

fn control_archives() {
    judge(&control::cases());
}

fn control_fields() {
    judge(&fields::cases());
}

fn names_in_data_archives() {
    judge(&names::cases());
}

fn contents_of_data_archives() {
    judge(&contents::cases());
}

fn old_faults_of_dpkg() {
    judge(&old_faults::cases());
}

/// What a bomb is made of may be large on a disk, and not in memory.
fn bombs_take_no_memory() {
    for case in compression::bombs() {
        case.refused_by_fam_build();
    }
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_mib = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10;
    assert!(peak_mib < 600, "{peak_mib} MiB");
}

/// A `.deb` of the package `evil`, version 1.0, and what becomes of it.
struct Case {
    what: &'static str,
    /// A package `other`, version 1.0, that is unpacked before it.
    other: Option<Vec<u8>>,
    deb: Vec<u8>,
    verdict: Verdict,
}

/// What becomes of a package. Texts are parts of fam-build's error.
enum Verdict {
    /// dpkg and fam-build install it, and the trees are the same.
    Installed,
    /// Neither installs it.
    Refused(&'static str),
    /// dpkg installs it, fam-build does not: the error, and the reason.
    Stricter(&'static str, &'static str),
    /// dpkg waits for ever, or did before its version 1.23.6.
    Endless(&'static str),
    /// Neither installs it, but a dpkg before this version does.
    RefusedSince(&'static str, &'static str),
}

use Verdict::{Endless, Installed, Refused, RefusedSince, Stricter};

/// A case whose package is otherwise well.
fn case(what: &'static str, deb: Vec<u8>, verdict: Verdict) -> Case {
    Case { what, other: None, deb, verdict }
}

/// A case of these members in an otherwise proper data archive.
fn data(what: &'static str, members: &[Vec<u8>], verdict: Verdict) -> Case {
    case(what, deb(&stanza("evil", "1.0", ""), &[], members), verdict)
}

/// A case of this data archive.
fn raw_data(what: &'static str, archive: &[u8], verdict: Verdict) -> Case {
    case(what, ar(&[VERSION, ("control.tar", &proper_control()), ("data.tar", archive)]), verdict)
}

const VERSION: (&str, &[u8]) = ("debian-binary", b"2.0\n");

fn proper_control() -> Vec<u8> {
    tar::archive(&[tar::directory("./"), tar::file("./control", stanza("evil", "1.0", "").as_bytes())])
}

fn judge(cases: &[Case]) {
    let failures: Vec<String> = cases.iter().filter_map(|case| case.judge().err()).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

type Tree = BTreeMap<String, Aspects>;

impl Case {
    fn judge(&self) -> Result<(), String> {
        let (ours, theirs) = (self.by_fam_build(), self.by_dpkg());
        let is_refusal = |part: &str| ours.as_ref().err().is_some_and(|error| error.contains(part));
        let (right, expected) = match self.verdict {
            Installed => (ours.is_ok() && theirs.is_ok(), "both install it"),
            Refused(error) | Endless(error) => (is_refusal(error) && theirs.is_err(), "both refuse it"),
            Stricter(error, because) => (is_refusal(error) && theirs.is_ok(), because),
            RefusedSince(error, version) => (
                is_refusal(error) && theirs.is_err() == dpkg_is_at_least(version),
                "dpkg refuses it since some version",
            ),
        };
        let differences = match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => differences(ours, theirs),
            _ => Vec::new(),
        };
        if right && differences.is_empty() {
            return Ok(());
        }
        let shown =
            |result: &Result<Tree, String>| result.as_ref().err().map_or("installs it".to_owned(), Clone::clone);
        let (what, ours, theirs) = (self.what, shown(&ours), shown(&theirs));
        Err(format!("{what} ({expected}):\n  fam-build: {ours}\n  dpkg: {theirs}\n  {differences:?}"))
    }

    fn refused_by_fam_build(&self) {
        let error = self.by_fam_build().err().unwrap_or_else(|| panic!("{}: installed", self.what));
        let (Stricter(part, _) | Refused(part)) = self.verdict else { panic!("{}", self.what) };
        assert!(error.contains(part), "{}: {error}", self.what);
    }

    /// The tree that fam-build makes of the package, or the error.
    fn by_fam_build(&self) -> Result<Tree, String> {
        let bench = Bench::new(self);
        let file = |name: &str, bytes: &[u8]| DebFile {
            name: name.into(),
            version: "1.0".into(),
            architecture: "amd64".into(),
            path: bench.path(&format!("{name}.deb")),
            size: bytes.len() as u64,
            digest: sha256(bytes),
        };
        let other = self.other.as_ref().map(|bytes| file("other", bytes));
        let files: Vec<DebFile> = other.into_iter().chain([file("evil", &self.deb)]).collect();
        let options = UnpackOptions {
            architecture: "amd64".into(),
            merged_usr: false,
            filters: Filters::default(),
            jobs: NonZero::new(1),
        };
        let staging = Staging::open(&bench.path("root")).unwrap();
        let result = unpack(&files, &staging, &options, &Progress::silent());
        bench.assert_untouched(self.what);
        result.map_err(|error| {
            let text = error.to_string();
            let named = text.contains("package evil") || text.contains("evil.deb");
            assert!(!text.contains('\n'), "{}: {text}", self.what);
            if !named {
                return format!("NOTNAMED {text}");
            }
            text
        })?;
        let mut tree = walk(&bench.path("root"));
        // Those are not made before there is an image.
        for (path, entry) in staging.devices() {
            let (word, major, minor) = match entry.kind {
                Kind::CharDevice { major, minor } => ("character", major, minor),
                Kind::BlockDevice { major, minor } => ("block", major, minor),
                other => panic!("{}: {other:?}", self.what),
            };
            let aspects = [
                ("type", format!("{word} device {}", rustix::fs::makedev(major, minor))),
                ("mode", format!("{:04o}", entry.mode)),
                ("owner", format!("{}:{}", entry.uid, entry.gid)),
                ("time", entry.mtime.seconds.to_string()),
                ("xattrs", String::new()),
            ];
            tree.insert(path.to_string(), aspects.into());
        }
        Ok(without_database(tree))
    }

    /// The tree that dpkg makes of the package, or its error.
    fn by_dpkg(&self) -> Result<Tree, String> {
        let bench = Bench::new(self);
        let database = bench.path("root/var/lib/dpkg");
        for directory in ["info", "updates", "triggers"] {
            fs_err::create_dir_all(database.join(directory)).unwrap();
        }
        fs_err::write(database.join("status"), "").unwrap();
        let mut dpkg = Command::new("timeout");
        let most_seconds = if matches!(self.verdict, Endless(_)) { "3" } else { "120" };
        dpkg.args(["--kill-after=1", most_seconds, "dpkg", "--force-unsafe-io", "--force-script-chrootless"]);
        dpkg.arg(format!("--root={}", bench.path("root").display())).arg("--unpack");
        dpkg.args(self.other.is_some().then(|| bench.path("other.deb"))).arg(bench.path("evil.deb"));
        let output = dpkg.env("LC_ALL", "C").output().unwrap();
        if output.status.success() {
            return Ok(without_database(walk(&bench.path("root"))));
        }
        Err(format!("{} {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// A tree without those files of dpkg's database that are not of the package alone.
fn without_database(mut tree: Tree) -> Tree {
    const INFO: &str = "/var/lib/dpkg/info/";
    tree.retain(|path, _| !path.starts_with("/var/lib") || path.starts_with(INFO));
    tree.remove("/var");
    tree.remove("/var/lib/dpkg/info/format");
    for (path, aspects) in &mut tree {
        // Made while the test runs.
        if path.starts_with(INFO) && (path.ends_with(".list") || path.ends_with(".md5sums")) {
            aspects.remove("time");
        }
        // dpkg leaves it to whom the control archive says, fam-build to root.
        if path.starts_with(INFO) {
            aspects.remove("owner");
        }
    }
    tree
}

fn dpkg_is_at_least(version: &str) -> bool {
    let shown = support::succeed(Command::new("dpkg-query").args(["--show", "--showformat=${Version}", "dpkg"]));
    Command::new("dpkg").args(["--compare-versions", &shown, "ge", version]).status().unwrap().success()
}

/// A directory with a root, a package to unpack into it, and something beside the root to be left
/// alone.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new(case: &Case) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        fs_err::create_dir(bench.path("root")).unwrap();
        fs_err::create_dir(bench.path("outside")).unwrap();
        fs_err::set_permissions(bench.path("outside"), Permissions::from_mode(0o751)).unwrap();
        fs_err::write(bench.path("outside/secret"), "untouched").unwrap();
        fs_err::write(bench.path("evil.deb"), &case.deb).unwrap();
        fs_err::write(bench.path("other.deb"), case.other.as_deref().unwrap_or_default()).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn assert_untouched(&self, what: &str) {
        assert_eq!(crate::small::names(self.0.path()), ["evil.deb", "other.deb", "outside", "root"], "{what}");
        assert_eq!(crate::small::names(&self.path("outside")), ["secret"], "{what}");
        assert_eq!(fs_err::metadata(self.path("outside")).unwrap().mode() & 0o7777, 0o751, "{what}");
        let secret = fs_err::metadata(self.path("outside/secret")).unwrap();
        assert_eq!((secret.nlink(), secret.mode() & 0o7777), (1, 0o644), "{what}");
        assert_eq!(fs_err::read_to_string(self.path("outside/secret")).unwrap(), "untouched", "{what}");
    }
}
