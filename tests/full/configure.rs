//! Configuration of real Debian systems, trixie's and bookworm's, by their own maintainer scripts:
//! dpkg has nothing to say of the result, nothing is left over, and root and a normal user get the
//! same bytes.
//!
//! The packages come from the machine's Debian mirror, by apt.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc};

use fam_build::hints;
use fam_build::plugins::StagingRoot;
use fam_isolation::sandbox::{Command as Inside, Sandbox, Settings};
use fam_isolation::supervisor::{Failure, Interrupts, Isolation, run};
use fam_progress::{Event, Progress, Reporter, Task};
use fam_rootfs::configure::{Configuration, Initramfs, clean};
use fam_rootfs::install::Installation;
use fam_rootfs::staging::Staging;
use fam_rootfs::tmpfs;
use fam_rootfs::unpack::{Filters, UnpackOptions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use support::harness::{ROOT, Test, again_as_user, is_root};
use support::shared::shared;

use crate::downloads::{Apt, debs_in};

/// Each suite by root, and by a user, who must make the same.
pub fn tests() -> Vec<Test> {
    let of_suite = |suite| {
        let as_root = Test::new(module_path!(), &format!("{suite}_as_root"), move || drop(listing_of_root(suite)));
        let as_user = Test::new(module_path!(), &format!("{suite}_as_user"), move || same_by_user(suite));
        [as_root.needs(&[ROOT, "apt-get"]), as_user.needs(&["apt-get", "newuidmap", "setpriv"])]
    };
    SUITES.into_iter().flat_map(of_suite).collect()
}

fn listing_of_root(suite: &str) -> String {
    let place = shared(&format!("configured-{suite}"), |place| {
        fs_err::write(place.join("listing"), configures(suite)).unwrap();
    });
    fs_err::read_to_string(place.join("listing")).unwrap()
}

fn same_by_user(suite: &str) {
    let of_root = listing_of_root(suite);
    if is_root() {
        return again_as_user(&format!("configure::{suite}_as_user"));
    }
    let of_user = configures(suite);
    let differences: Vec<_> = of_root.lines().zip(of_user.lines()).filter(|(a, b)| a != b).take(10).collect();
    assert!(of_root == of_user, "root and a user build different trees: {differences:#?}");
}

const SUITES: [&str; 2] = ["trixie", "bookworm"];

/// A small system with what makes configuration hard: a kernel, users, host keys, conffiles,
/// locales, Python's bytecode.
const PACKAGES: [&str; 10] = [
    "?essential",
    "apt",
    "e2fsprogs",
    "initramfs-tools",
    "linux-image-cloud-amd64",
    "locales",
    "openssh-server",
    "python3",
    "systemd-sysv",
    "zstd",
];

const EPOCH: i64 = 1_700_000_000;

/// What the worker of this program does: it makes the system of some packages.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    debs: PathBuf,
    directory: PathBuf,
    initramfs: Initramfs,
    /// A script to run in the finished tree.
    script: String,
}

/// The system that was made.
#[derive(Debug, Serialize, Deserialize)]
pub struct Built {
    /// One line a path.
    listing: String,
    /// What the script said.
    said: Vec<String>,
}

/// Does a job in the worker.
#[allow(clippy::needless_pass_by_value, reason = "the supervisor hands it over")]
pub fn work(job: Job, progress: Progress) -> Result<Built, Failure> {
    let place = job.directory.join("staging");
    fs_err::create_dir(&place).unwrap();
    tmpfs::mount(&place, 4 << 30).unwrap();
    let [root, aside] = ["root", "aside"].map(|name| place.join(name));
    for directory in [&root, &aside] {
        fs_err::create_dir(directory).unwrap();
    }
    let staging = Arc::new(Staging::open(&root).unwrap());
    let debs = debs_in(&job.debs);
    let installation = Installation {
        debs: &debs,
        first: &[],
        early: &[],
        unpack: &UnpackOptions {
            architecture: "amd64".into(),
            merged_usr: true,
            filters: Filters::default(),
            jobs: None,
        },
        configuration: &Configuration {
            initramfs: job.initramfs,
            source_date_epoch: EPOCH,
            ..Configuration::default()
        },
    };
    let (sender, arrivals) = mpsc::channel();
    (0..debs.len()).for_each(|position| sender.send(position).unwrap());
    drop(sender);
    let installed =
        installation.run(arrivals, &AtomicBool::new(false), &staging, &Staging::open(&aside).unwrap(), &progress);
    installed.map_err(|error| Failure::new(&error, None))?;
    let mut files = StagingRoot::new(Arc::clone(&staging), Settings::default(), progress, EPOCH);
    clean(&mut files).map_err(|error| hints::failure(&error))?;
    let mut listing = String::new();
    list(&root, &root, &mut listing);
    let mut sandbox = Sandbox::enter(&root, &Settings::default()).map_err(|error| hints::failure(&error))?;
    let mut said = Vec::new();
    let script = Inside::new("/bin/sh").args(["-c", job.script.as_str()]);
    sandbox.run(&script, |line| said.push(line.to_owned())).map_err(|error| hints::failure(&error))?;
    Ok(Built { listing, said })
}

/// Takes the events of a build for its assertions.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Event>>>);

impl Reporter for Log {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Log {
    fn lines(&self) -> Vec<(String, String)> {
        let events = self.0.lock().unwrap();
        events
            .iter()
            .filter_map(|event| match event {
                Event::Output { source, line } => Some((source.clone(), line.clone())),
                _ => None,
            })
            .collect()
    }
}

fn build(debs: PathBuf, script: &str, log: &Log) -> Result<Built, fam_isolation::supervisor::Error> {
    let directory = tempfile::tempdir().unwrap();
    let job = Job { debs, directory: directory.path().into(), initramfs: Initramfs::Vm, script: script.into() };
    let isolation = Isolation::detect().unwrap_or_else(|error| panic!("{error}"));
    run(&job, &isolation, &Progress::new(log.clone()), &Interrupts::install().unwrap())
}

/// Makes the system of a suite, asks dpkg and looks at what its scripts did; returns a list of what
/// is in it.
fn configures(suite: &str) -> String {
    let log = Log::default();
    let script = "dpkg --audit; dpkg --verify; lsinitramfs /boot/initrd.img-*; cat /usr/lib/modules/*/modules.builtin; id -u _apt";
    let built = build(packages(suite).join("cache/archives"), script, &log).unwrap_or_else(|error| panic!("{error}"));

    // dpkg's own judgement: nothing before the initramfs is listed.
    let said = &built.said;
    assert_eq!(said[0], ".", "dpkg complains: {:?}", &said[..said.len().min(20)]);
    for file in ["virtio_blk.ko", "ext4.ko", "virtio_pci.ko", "nvme.ko", "sbin/fsck.ext4", "usr/bin/kmod"] {
        assert!(said.iter().any(|line| line.contains(file)), "the initramfs lacks {file}");
    }
    assert!(!said.iter().any(|line| line.contains("/usb/") || line.contains("btrfs.ko")), "it is for virtual machines");
    assert_eq!(said.last().unwrap(), "42");

    let lines = log.lines();
    let generated: Vec<_> = lines.iter().filter(|(_, line)| line.contains("Generating /boot/initrd")).collect();
    assert_eq!(generated.len(), 1, "made once");
    assert_eq!(generated[0].0, "update-initramfs");
    let denied = |source: &str| lines.iter().any(|(from, line)| from == source && line.contains("policy-rc.d denied"));
    assert!(denied("openssh-server postinst") || denied("ssh postinst"), "no service is started");
    let events = log.0.lock().unwrap();
    let total = events.iter().find_map(|event| match event {
        Event::Begin { task: Task::Configure, total } => Some(*total),
        _ => None,
    });
    let done = events.iter().rev().find_map(|event| match event {
        Event::Advance { task: Task::Configure, done } => Some(*done),
        _ => None,
    });
    assert_eq!(total, done, "the progress bar comes to its end");
    drop(events);

    let paths: Vec<&str> = built.listing.lines().map(|line| line.split('\0').next().unwrap()).collect();
    let leftovers = [
        "usr/sbin/policy-rc.d",
        "etc/ssh/ssh_host_ed25519_key",
        "var/log/dpkg.log",
        "var/lib/dpkg/status-old",
        "var/lib/dpkg/tmp.ci/control",
        "var/cache/ldconfig/aux-cache",
        "etc/resolv.conf",
        "dev/null",
        "run/lock",
    ];
    for leftover in leftovers {
        assert!(!paths.contains(&leftover), "{leftover} is left over");
    }
    assert!(!paths.iter().any(|path| path.contains("fam-build") || path.ends_with(".dpkg-new")), "{suite}");
    assert!(built.listing.lines().any(|line| line == "etc/machine-id\x00100644 0:0 0 e3b0c44298fc1c14"), "{suite}");
    assert!(paths.contains(&"usr/bin/awk") && paths.contains(&"etc/passwd"));

    built.listing
}

/// The packages with all that they depend on, fetched once by apt.
fn packages(suite: &str) -> PathBuf {
    shared(&format!("packages-{suite}"), |place| {
        let install = ["install", "--download-only", "--no-install-recommends", "-y"];
        Apt::new(place, suite).run(place, &[&install[..], &PACKAGES].concat());
    })
}

/// Path, NUL, mode, owner, time (as it will be in a tarball), then what is in it.
fn list(root: &Path, directory: &Path, listing: &mut String) {
    let mut paths: Vec<PathBuf> = fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let name = String::from_utf8_lossy(path.strip_prefix(root).unwrap().as_os_str().as_bytes()).into_owned();
        write!(listing, "{name}\0{:o} {}:{}", metadata.mode(), metadata.uid(), metadata.gid()).unwrap();
        if metadata.is_symlink() {
            write!(listing, " -> {}", std::fs::read_link(&path).unwrap().display()).unwrap();
        } else if metadata.is_file() {
            let digest = Sha256::digest(fs_err::read(&path).unwrap());
            let digest = hex::encode(&digest[..8]);
            write!(listing, " {} {digest}", metadata.len()).unwrap();
        }
        listing.push('\n');
        if metadata.is_dir() {
            list(root, &path, listing);
        }
    }
}
