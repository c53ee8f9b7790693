//! Configuration of real Debian systems, trixie's and bookworm's, by their own maintainer scripts: dpkg has nothing to say
//! of the result, nothing is left over, and root and a normal user get the same bytes.
//!
//! Needs root (it runs everything once more as the user `famtest1`, made for it) and the machine's Debian mirror.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod support;

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use fam_build::progress::{Event, Progress, Reporter, Task};
use fam_build::rootfs::configure::{Configuration, Initramfs, clean, configure};
use fam_build::rootfs::sandbox::{Command as Inside, Sandbox, Settings};
use fam_build::rootfs::staging::Staging;
use fam_build::rootfs::tmpfs;
use fam_build::rootfs::unpack::{DebFile, UnpackOptions, unpack};
use fam_build::supervisor::{Failure, Interrupts, Isolation, enter_role, run};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const SUITES: [&str; 2] = ["trixie", "bookworm"];

/// A small system with what makes configuration hard: a kernel, users, host keys, conffiles, locales, Python's bytecode.
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

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    debs: PathBuf,
    directory: PathBuf,
    initramfs: Initramfs,
    /// A script to run in the finished tree.
    script: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Built {
    /// One line a path.
    listing: String,
    /// What the script said.
    said: Vec<String>,
}

fn work(job: Job, progress: Progress) -> Result<Built, Failure> {
    let root = job.directory.join("staging");
    fs_err::create_dir(&root).unwrap();
    tmpfs::mount(&root, 4 << 30).unwrap();
    let staging = Staging::open(&root).unwrap();
    let options = UnpackOptions { architecture: "amd64".into(), merged_usr: true, jobs: None };
    unpack(&describe_all(&job.debs), &staging, &options, &progress)
        .map_err(|error| Failure::new(&error, error.hint()))?;
    let configuration = Configuration { initramfs: job.initramfs, source_date_epoch: EPOCH };
    configure(&staging, &configuration, &progress).map_err(|error| Failure::new(&error, error.hint()))?;
    clean(&staging).map_err(|error| Failure::new(&error, error.hint()))?;
    let mut listing = String::new();
    list(&root, &root, &mut listing);
    let mut sandbox = Sandbox::enter(&root, Settings::default()).map_err(|error| Failure::new(&error, error.hint()))?;
    let mut said = Vec::new();
    let script = Inside::new("/bin/sh").args(["-c", job.script.as_str()]);
    sandbox.run(&script, |line| said.push(line.to_owned())).map_err(|error| Failure::new(&error, error.hint()))?;
    Ok(Built { listing, said })
}

fn main() -> ExitCode {
    if let Some(code) = enter_role(work) {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("configures_debian: test");
        return ExitCode::SUCCESS;
    }
    if let [mode, directory] = arguments.as_slice()
        && mode == "--as-user"
    {
        everything(Path::new(directory));
        return ExitCode::SUCCESS;
    }
    assert!(rustix::process::geteuid().is_root(), "needs root, to compare what root and a normal user build");
    // Where a normal user can read it.
    let directory = &support::scratch().join("configure");
    fs_err::create_dir_all(directory).unwrap();
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    SUITES.iter().for_each(|suite| download(&directory.join(suite), suite));
    make_broken_packages(directory);
    everything(directory);
    ExitCode::from(u8::from(!again_as_user(directory)))
}

fn again_as_user(directory: &Path) -> bool {
    let user = "famtest1";
    if !fs_err::read_to_string("/etc/passwd").unwrap().contains(&format!("{user}:")) {
        assert!(Command::new("useradd").args(["-m", user]).status().unwrap().success());
    }
    let program = directory.join("configure");
    fs_err::copy("/proc/self/exe", &program).unwrap();
    let mut command = Command::new("runuser");
    command.args(["-u", user, "--"]).arg(&program).arg("--as-user").arg(directory).env_remove("TMPDIR");
    command.current_dir("/").status().unwrap().success()
}

fn everything(directory: &Path) {
    for suite in SUITES {
        configures_debian(directory, suite);
    }
    tells_which_script_failed(directory);
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

fn build(debs: PathBuf, script: &str, log: &Log) -> Result<Built, fam_build::supervisor::Error> {
    let directory = tempfile::tempdir().unwrap();
    let job = Job { debs, directory: directory.path().into(), initramfs: Initramfs::Vm, script: script.into() };
    let isolation = Isolation::detect().unwrap_or_else(|error| panic!("{error}"));
    run(&job, &isolation, &Progress::new(log.clone()), &Interrupts::install().unwrap())
}

fn configures_debian(directory: &Path, suite: &str) {
    let who = if rustix::process::geteuid().is_root() { "root" } else { "user" };
    let start = Instant::now();
    let log = Log::default();
    let script = "dpkg --audit; dpkg --verify; lsinitramfs /boot/initrd.img-*; cat /usr/lib/modules/*/modules.builtin; id -u _apt";
    let built =
        build(directory.join(suite).join("cache/archives"), script, &log).unwrap_or_else(|error| panic!("{error}"));

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

    // The user's turn comes after root's.
    let reference = directory.join(format!("{suite}.listing"));
    if who == "root" {
        fs_err::write(&reference, &built.listing).unwrap();
    } else {
        let roots = fs_err::read_to_string(&reference).unwrap();
        let differences: Vec<_> = roots.lines().zip(built.listing.lines()).filter(|(a, b)| a != b).take(10).collect();
        assert!(roots == built.listing, "root and a user build different trees: {differences:#?}");
    }
    println!("test configures {suite} as {who} ... ok ({:.1} s)", start.elapsed().as_secs_f64());
}

fn tells_which_script_failed(directory: &Path) {
    for (script, expected) in [
        (
            "preinst",
            "pre-installation script of package broken-preinst failed: it exited with status 3; its last lines:\n  the moon is gone",
        ),
        (
            "postinst",
            "post-installation script of package broken-postinst failed: it returned error exit status 3; its last lines:\n  the moon is gone",
        ),
    ] {
        let log = Log::default();
        let error = build(directory.join(format!("broken-{script}")), "true", &log).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().unwrap().contains("broken-"), "{:?}", error.hint());
        println!("test tells_which_script_failed {script} ... ok");
    }
}

/// trixie's system with one package more, whose script fails.
fn make_broken_packages(directory: &Path) {
    for script in ["preinst", "postinst"] {
        let debs = directory.join(format!("broken-{script}"));
        let _ = fs_err::remove_dir_all(&debs);
        let control = debs.join("package/DEBIAN");
        fs_err::create_dir_all(&control).unwrap();
        let fields = format!(
            "Package: broken-{script}\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n\
             Description: its {script} script fails\n"
        );
        fs_err::write(control.join("control"), fields).unwrap();
        fs_err::write(control.join(script), "#!/bin/sh\necho the moon is gone >&2\nexit 3\n").unwrap();
        std::fs::set_permissions(control.join(script), std::fs::Permissions::from_mode(0o755)).unwrap();
        let built = Command::new("dpkg-deb").arg("-b").arg(debs.join("package")).arg(&debs).output().unwrap();
        assert!(built.status.success(), "{built:?}");
        fs_err::remove_dir_all(debs.join("package")).unwrap();
        // The failure comes early: a kernel would only take time.
        for entry in fs_err::read_dir(directory.join("trixie/cache/archives")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.extension().is_some_and(|extension| extension == "deb") && !name.starts_with("linux-image") {
                std::fs::hard_link(&path, debs.join(name)).unwrap();
            }
        }
    }
}

/// The packages with all that they depend on, fetched once by apt.
fn download(base: &Path, suite: &str) {
    for directory in ["lists/partial", "cache/archives/partial"] {
        fs_err::create_dir_all(base.join(directory)).unwrap();
    }
    let mirror = support::mirror();
    fs_err::write(base.join("sources.list"), format!("deb [trusted=yes] {mirror} {suite} main\n")).unwrap();
    fs_err::write(base.join("status"), "").unwrap();
    for arguments in [
        vec!["update"],
        [["install", "--download-only", "--no-install-recommends", "-y"].as_slice(), &PACKAGES].concat(),
    ] {
        if arguments[0] == "update" && base.join("complete").exists() {
            return;
        }
        let mut command = Command::new("apt-get");
        for (option, value) in [
            ("Dir::Etc::SourceList", base.join("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".into()),
            ("Dir::State::Lists", base.join("lists")),
            ("Dir::State::Status", base.join("status")),
            ("Dir::Cache", base.join("cache")),
            ("APT::Sandbox::User", "root".into()),
            ("APT::Architecture", "amd64".into()),
        ] {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        let output = command.arg("-q").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    fs_err::write(base.join("complete"), "").unwrap();
}

fn describe_all(debs: &Path) -> Vec<DebFile> {
    let mut paths: Vec<PathBuf> = fs_err::read_dir(debs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    paths.sort();
    paths.into_iter().map(describe).collect()
}

fn describe(path: PathBuf) -> DebFile {
    let format = "--showformat=${Package} ${Version} ${Architecture}";
    let fields = Command::new("dpkg-deb").args(["-W", format]).arg(&path).output().unwrap().stdout;
    let fields = String::from_utf8(fields).unwrap();
    let [name, version, architecture] = fields.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let bytes = fs_err::read(&path).unwrap();
    DebFile {
        name: name.into(),
        version: version.into(),
        architecture: architecture.into(),
        size: bytes.len() as u64,
        sha256: Sha256::digest(&bytes).into(),
        path,
    }
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
            let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            write!(listing, " {} {digest}", metadata.len()).unwrap();
        }
        listing.push('\n');
        if metadata.is_dir() {
            list(root, &path, listing);
        }
    }
}
