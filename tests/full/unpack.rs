//! Unpacking against its oracles: `dpkg-deb -x` for files, and dpkg itself, unpacking the same
//! packages, for the tree and the database. Needs root (for owners) and the machine's Debian
//! mirror; `FAM_TEST_DEBS=DIR` takes the packages of a directory instead, for example those of a
//! whole system.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use fam_progress::Progress;
use fam_rootfs::staging::Staging;
use fam_rootfs::unpack::{DebFile, Filters, UnpackOptions, Unpacked, unpack};
use sha2::{Digest, Sha256};
use support::shared::shared;
use support::succeed;

use crate::downloads::{Apt, debs_in, describe};

support::tests! {
    needs [support::harness::ROOT, "apt-get", "dpkg-deb"];
    files_equal_those_of_dpkg_deb,
    tree_and_database_equal_dpkgs,
    dpkg_finds_nothing_to_say_but_that_packages_are_unpacked,
}

/// Setuid and setgid files, capabilities, many conffiles, triggers, hard links, Multi-Arch, links
/// of every kind.
const INTERESTING: &[&str] = &[
    "base-files",
    "bash",
    "coreutils",
    "dash",
    "debconf",
    "dpkg",
    "initramfs-tools",
    "iputils-ping",
    "libc-bin",
    "libc6",
    "linux-base",
    "login",
    "openssh-server",
    "passwd",
    "perl-base",
    "procps",
    "sudo",
    "tzdata",
    "udev",
    "util-linux",
    "vim-common",
    "zlib1g",
];

/// The packages to try, downloaded once, in the order of their file names.
fn debs() -> &'static [DebFile] {
    static DEBS: OnceLock<Vec<DebFile>> = OnceLock::new();
    DEBS.get_or_init(|| {
        let download = || {
            shared("interesting-packages", |place| {
                let apt = Apt::new(&place.join("apt"), "trixie");
                apt.run(place, &[&["download"], INTERESTING].concat());
            })
        };
        let debs = debs_in(&std::env::var_os("FAM_TEST_DEBS").map_or_else(download, PathBuf::from));
        assert!(!debs.is_empty());
        debs
    })
}

fn unpack_all(debs: &[DebFile], root: &Path) -> Vec<Unpacked> {
    let options =
        UnpackOptions { architecture: "amd64".into(), merged_usr: true, filters: Filters::default(), jobs: None };
    unpack(debs, &Staging::open(root).unwrap(), &options, &Progress::silent()).unwrap_or_else(|error| panic!("{error}"))
}

/// Everything in a tree: path, and what one can tell of it. Contents as SHA-256; times of
/// directories are left out, since they tell of the order of unpacking.
fn listing(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, directory: &Path, links: &mut BTreeMap<u64, String>, out: &mut BTreeMap<String, String>) {
        let mut entries: Vec<_> = fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            let mut line = format!("{:o} {}:{}", metadata.mode(), metadata.uid(), metadata.gid());
            if !metadata.is_dir() {
                write!(line, " {}.{:09}", metadata.mtime(), metadata.mtime_nsec()).unwrap();
            }
            if metadata.is_symlink() {
                write!(line, " -> {}", fs_err::read_link(&path).unwrap().display()).unwrap();
            } else if metadata.is_file() {
                write!(line, " {:x}", Sha256::digest(fs_err::read(&path).unwrap())).unwrap();
                if metadata.nlink() > 1 {
                    let first = links.entry(metadata.ino()).or_insert_with(|| name.clone());
                    write!(line, " = {first}").unwrap();
                }
            }
            out.insert(name, line);
            if metadata.is_dir() {
                walk(root, &path, links, out);
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut BTreeMap::new(), &mut out);
    out
}

/// A directory on a tmpfs if there is one, since the tests move gigabytes for whole systems.
fn tempdir() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn assert_root() {
    assert_eq!(rustix::process::geteuid().as_raw(), 0, "this test compares owners and must run as root");
}

fn assert_same(ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) {
    let mut differences = Vec::new();
    for path in ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (mine, other) = (ours.get(path), theirs.get(path));
        if mine != other {
            differences.push(format!(
                "{path}\n  ours   {}\n  theirs {}",
                mine.map_or("-", |x| x),
                other.map_or("-", |x| x)
            ));
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences[..differences.len().min(30)].join("\n")
    );
}

/// Each package's files are those that `dpkg-deb -x` gives, conffiles under their temporary names.
fn files_equal_those_of_dpkg_deb() {
    assert_root();
    let root = tempdir();
    let unpacked = unpack_all(debs(), root.path());
    let ours = listing(root.path());
    let mut theirs = BTreeMap::new();
    let mut taken = 0;
    for (deb, unpacked) in debs().iter().zip(&unpacked) {
        let alone = tempdir();
        succeed(Command::new("dpkg-deb").arg("-x").arg(&deb.path).arg(alone.path()));
        for (path, line) in listing(alone.path()) {
            if !unpacked.files.iter().any(|file| file.as_bytes() == path.as_bytes()) {
                taken += 1;
                continue;
            }
            let is_conffile =
                unpacked.package.conffiles.iter().any(|conffile| conffile.path.as_bytes() == path.as_bytes());
            // In a merged /usr, what a package ships as /lib/x is found as /usr/lib/x.
            let top = path.split('/').next().unwrap();
            let path = match ["bin", "sbin", "lib", "lib64"].contains(&top) && path != top {
                true => format!("usr/{path}"),
                false if line.starts_with("4") && ["bin", "sbin", "lib", "lib64"].contains(&top) => continue,
                false => path,
            };
            let path = if is_conffile { path + ".dpkg-new" } else { path };
            let line = line.replace(" = bin/", " = usr/bin/").replace(" = sbin/", " = usr/sbin/");
            theirs.entry(path).or_insert(line);
        }
    }
    assert!(taken < 20, "{taken} files went to packages that replace others");
    let database = |path: &str| path.starts_with("var/lib/dpkg/");
    // What no package brings: the links of a merged /usr and their targets where base-files lacks
    // them, the database.
    let ours = ours.into_iter().filter(|(path, _)| theirs.contains_key(path) || !database(path));
    let made = [
        "bin",
        "sbin",
        "lib",
        "lib64",
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "var",
        "var/lib",
        "var/lib/dpkg",
        "usr",
    ];
    let ours = ours.filter(|(path, _)| theirs.contains_key(path) || !made.contains(&path.as_str())).collect();
    assert_same(&ours, &theirs);
}

/// dpkg, unpacking the same packages (without their preinst scripts, which would need a system),
/// leaves the same tree and the same database.
fn tree_and_database_equal_dpkgs() {
    assert_root();
    let work = tempdir();
    let debs: Vec<DebFile> = debs().iter().map(|deb| describe(&without_preinst(deb, work.path()))).collect();

    let ours = tempdir();
    unpack_all(&debs, ours.path());
    let theirs = tempdir();
    let root = theirs.path();
    for directory in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        fs_err::create_dir_all(root.join(directory)).unwrap();
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    fs_err::write(root.join("var/lib/dpkg/status"), "").unwrap();
    succeed(
        dpkg(root)
            .args(["--force-depends", "--force-unsafe-io", "--force-script-chrootless", "--unpack"])
            .args(debs.iter().map(|deb| &deb.path)),
    );

    let clean = |root: &Path| -> BTreeMap<String, String> {
        let mut listing = listing(root);
        for path in [
            // What only one of the two makes: locks and the last status; what mmdebstrap and dpkg's
            // tools add later.
            "var/lib/dpkg/lock",
            "var/lib/dpkg/lock-frontend",
            "var/lib/dpkg/status-old",
            "var/lib/dpkg/triggers/Lock",
            "var/lib/dpkg/arch",
            "var/lib/dpkg/available",
            "var/lib/dpkg/diversions",
            "var/lib/dpkg/statoverride",
        ] {
            listing.remove(path);
        }
        let ours_to_write =
            |path: &str| path.starts_with("var/lib/dpkg/") || ["bin", "sbin", "lib", "lib64"].contains(&path);
        for (path, line) in &mut listing {
            // Written at the time of the test: everything but the time counts.
            if ours_to_write(path) && (path.ends_with(".list") || !path.contains("/info/") || path.ends_with("/format"))
            {
                let mut words: Vec<&str> = line.split(' ').collect();
                if words.len() > 2 {
                    words.remove(2);
                }
                *line = words.join(" ");
            }
        }
        listing
    };
    for file in ["status", "triggers/File", "triggers/ldconfig", "info/bash.list"] {
        let read = |root: &Path| fs_err::read_to_string(root.join("var/lib/dpkg").join(file)).unwrap();
        let (mine, other) = (read(ours.path()), read(root));
        for (line, (mine, other)) in mine.lines().zip(other.lines()).enumerate() {
            assert_eq!(mine, other, "{file}, line {}", line + 1);
        }
        assert_eq!(mine.len(), other.len(), "{file}");
    }
    assert_same(&clean(ours.path()), &clean(root));
}

fn dpkg(root: &Path) -> Command {
    let mut command = Command::new("dpkg");
    command.arg(format!("--root={}", root.display()));
    command
}

/// The package, or if it has a preinst script a copy without it.
fn without_preinst(deb: &DebFile, work: &Path) -> PathBuf {
    let tree = work.join(&deb.name);
    succeed(Command::new("dpkg-deb").arg("-R").arg(&deb.path).arg(&tree));
    let preinst = tree.join("DEBIAN/preinst");
    if !preinst.exists() {
        return deb.path.clone();
    }
    fs_err::remove_file(preinst).unwrap();
    let copy = work.join(deb.path.file_name().unwrap());
    succeed(Command::new("dpkg-deb").args(["-Znone", "-b"]).arg(tree).arg(&copy));
    copy
}

/// dpkg reads the database, finds every package unpacked, and misses nothing but what an unpacked
/// package lacks.
fn dpkg_finds_nothing_to_say_but_that_packages_are_unpacked() {
    let root = tempdir();
    let unpacked = unpack_all(debs(), root.path());
    let states = succeed(dpkg(root.path()).args(["-l"]));
    let listed: Vec<&str> = states.lines().filter(|line| line.starts_with("iU ")).collect();
    assert_eq!(listed.len(), unpacked.len(), "{states}");

    let verified = succeed(dpkg(root.path()).arg("--verify"));
    let conffiles: Vec<String> = unpacked
        .iter()
        .flat_map(|unpacked| &unpacked.package.conffiles)
        .filter(|conffile| !conffile.remove_on_upgrade)
        .map(|conffile| conffile.path.to_string())
        .collect();
    for line in verified.lines() {
        let path = line.strip_prefix("missing   c ").unwrap_or_else(|| panic!("dpkg --verify: {line}"));
        assert!(conffiles.iter().any(|conffile| conffile == path), "{line}");
    }

    let audit = succeed(dpkg(root.path()).arg("--audit"));
    let mut names: Vec<&str> = Vec::new();
    for line in audit.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix(' ') {
            Some(package) => names.push(package.split_whitespace().next().unwrap()),
            None => assert!(
                line.starts_with("The following packages have been unpacked but not yet configured.")
                    || line.starts_with("They must be configured using")
                    || line.starts_with("menu option in dselect"),
                "dpkg --audit: {line}"
            ),
        }
    }
    let mut expected: Vec<String> = unpacked.iter().map(|unpacked| unpacked.package.name.clone()).collect();
    expected.sort();
    let mut names: Vec<String> = names.iter().map(|name| name.split(':').next().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, expected);
}
