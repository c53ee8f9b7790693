//! Disks that fill up, become read-only or break, and quotas that are used up: in the output directory
//! and in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err::File;
use support::archive::{Archive, Deb, Fault};
use support::mounted::Mounted;
use support::{succeed, user};

use super::{Place, said, wait_until};
use crate::running::Run;
use crate::small::{Bench, Who, archive, assert_failed, assert_fails};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "gpg", "dpkg-deb", "mke2fs", "perl", "strace"];
    the_output_fills_up,
    the_output_breaks,
    the_cache_fills_up,
    the_cache_is_read_only,
    a_quota_is_used_up,
}

/// An ext4 of its own that all may write to.
fn ext4(image: &Path, at: &Path, mib: u64) -> Mounted {
    File::create(image).unwrap().set_len(mib << 20).unwrap();
    succeed(Command::new("mke2fs").args(["-q", "-t", "ext4"]).arg(image));
    let disk = Mounted::image(image, at);
    succeed(Command::new("chmod").arg("0777").arg(at));
    fs_err::remove_dir(at.join("lost+found")).unwrap();
    disk
}

/// Leaves only so many bytes.
fn fill(disk: &Mounted, leave: u64) -> PathBuf {
    let filler = disk.path().join("filler");
    let file = File::create(&filler).unwrap();
    // A build may write in the midst of this.
    wait_until("a full disk", || {
        let room = rustix::fs::statvfs(disk.path()).unwrap();
        let bytes = (room.f_bavail * room.f_frsize).saturating_sub(leave);
        bytes == 0 || rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).is_ok()
    });
    filler
}

/// No other process of the machine sleeps as long.
const SLEEP: &str = "sleep 1.0519";
const DISK_MIB: u64 = 700;

fn with_a_pause() -> Archive {
    archive().with(Deb::new("slow").script("postinst", SLEEP))
}

/// A place whose output directory is on a disk of its own.
fn on_a_disk(who: Who, disk: impl FnOnce(&Bench) -> Mounted) -> (Place, Mounted) {
    // The first build shows what all artifacts come to.
    let mut place = Place::new(who, with_a_pause(), &["--include", "slow"]);
    place.clear();
    let disk = disk(&place.bench);
    if who == Who::User {
        succeed(Command::new("chown").arg(user()).arg(place.bench.output()));
    }
    succeed(&mut place.build());
    place.artifacts = place.found();
    (place, disk)
}

impl Place {
    /// The bytes that the artifacts take on the disk.
    fn bytes(&self) -> u64 {
        let blocks = |name: &String| {
            std::os::unix::fs::MetadataExt::blocks(&fs_err::metadata(self.bench.output().join(name)).unwrap())
        };
        self.artifacts.keys().map(|name| blocks(name) * 512).sum()
    }

    /// Builds, and does something while a script runs.
    fn build_with(&self, meanwhile: impl FnOnce()) -> std::process::Output {
        let run = Run::start(&mut self.build());
        run.wait_for_process(SLEEP);
        meanwhile();
        run.wait()
    }

    #[track_caller]
    fn assert_no_room(&self, case: &str, output: &std::process::Output) {
        assert_failed(output, 1, &[], "free some space");
        assert!(!self.bench.output().join(".fam-build").exists(), "{case}: {}", said(output));
    }
}

fn the_output_fills_up() {
    let (place, disk) =
        on_a_disk(Who::Root, |bench| Mounted::in_memory(&bench.output(), &format!("size={DISK_MIB}M,mode=755")));
    let all = place.bytes();
    for part in 0..8 {
        place.clear();
        let mut filler = PathBuf::new();
        let leave = all * part / 8;
        let output = place.build_with(|| filler = fill(&disk, leave));
        let case = format!("{leave} of {all} bytes are left");
        place.assert_no_room(&case, &output);
        fs_err::remove_file(filler).unwrap();
        place.assert_whole(&case);
        place.assert_works(&case);
    }
}

/// As a disk that is pulled out, or one whose file system stops on an error.
fn the_output_breaks() {
    let image = tempfile::NamedTempFile::new_in(support::scratch()).unwrap();
    let (place, disk) = on_a_disk(Who::Root, |bench| ext4(image.path(), &bench.output(), DISK_MIB));
    place.clear();
    let output = place.build_with(|| {
        // EXT4_IOC_SHUTDOWN, without flushing the log.
        let shut_down =
            "open(my $d, '<', $ARGV[0]) or die $!; my $f = pack('L', 2); ioctl($d, 0x8004587d, $f) or die $!";
        succeed(Command::new("perl").args(["-e", shut_down]).arg(disk.path()));
    });
    assert_failed(&output, 1, &["Input/output error"], "see `dmesg`");
    drop(disk);
    let _disk = Mounted::image(image.path(), &place.bench.output());
    place.assert_works("a disk that broke");
}

impl Bench {
    /// Puts the cache on a disk of its own.
    fn cache_on(&self, disk: impl FnOnce(&Path) -> Mounted) -> Mounted {
        let _ = fs_err::remove_dir_all(self.cache());
        fs_err::create_dir(self.cache()).unwrap();
        disk(&self.cache())
    }
}

const DEB: &str = "/pool/base_1_all.deb";

impl Place {
    /// Uses the cache's room up while a package is fetched.
    fn cache_without_room(&self, use_up: impl Fn(), give_back: impl Fn()) {
        let hint = "name a directory on another file system with --cache-dir";
        let full = format!("the file system of the cache {}/fam-build is full", self.bench.cache().display());
        // At once, and when a part of the package has come.
        use_up();
        assert_fails(&mut self.build(), 1, &[&full], hint);
        give_back();
        self.assert_works("a full cache");

        self.clear();
        succeed(Command::new("find").arg(self.bench.cache()).args(["-type", "f", "-delete"]));
        self.bench.mirror.fault(DEB, Fault::Slow(2 << 20));
        let asked = self.bench.mirror.requests_of(DEB);
        let run = Run::start(&mut self.build());
        wait_until("a request", || self.bench.mirror.requests_of(DEB) > asked);
        use_up();
        assert_failed(&run.wait(), 1, &[&full], hint);
        self.bench.mirror.repair();
        give_back();
        self.assert_works("a cache that filled up");
    }
}

fn the_cache_fills_up() {
    let place = Place::new(Who::Root, archive(), &[]);
    let disk = place.bench.cache_on(|at| Mounted::in_memory(at, "size=200M"));
    place.cache_without_room(|| drop(fill(&disk, 0)), || fs_err::remove_file(disk.path().join("filler")).unwrap());
}

fn the_cache_is_read_only() {
    let place = Place::new(Who::Root, archive(), &[]);
    let error = format!("the cache {}/fam-build cannot be used", place.bench.cache().display());
    let hint = "name a directory that you may write with --cache-dir DIR";
    let disk = place.bench.cache_on(|at| Mounted::in_memory(at, "size=200M"));
    // Empty, and with all that a build needs.
    for case in ["an empty cache", "a full one"] {
        disk.remount("ro");
        place.clear();
        assert_fails(&mut place.build(), 1, &[&error, "Read-only file system"], hint);
        disk.remount("rw");
        place.assert_works(case);
    }
    // It becomes so while nothing of it is open.
    place.clear();
    succeed(Command::new("find").arg(place.bench.cache()).args(["-type", "f", "-delete"]));
    let release = "/dists/tiny/InRelease";
    place.bench.mirror.fault(release, Fault::Slow(100));
    let asked = place.bench.mirror.requests_of(release);
    let run = Run::start(&mut place.build());
    wait_until("a request", || place.bench.mirror.requests_of(release) > asked);
    disk.remount("ro");
    assert_failed(&run.wait(), 1, &[&error, "Read-only file system"], hint);
    place.bench.mirror.repair();
    disk.remount("rw");
    place.assert_works("a cache that became read-only");
}

/// The kernel need not know quotas for this: strace answers for it.
fn a_quota_is_used_up() {
    let place = Place::new(Who::Root, archive(), &[]);
    let inject = ["-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EDQUOT:when=1+"];
    for file in ["fabric_template.img", "fabric1.qcow2"] {
        // The images that are there are kept, so it is the only one to be written.
        fs_err::remove_file(place.bench.output().join(file)).unwrap();
        let build = place.build();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null"]).args(inject);
        strace.arg(build.get_program()).args(build.get_args());
        assert_fails(&mut strace, 1, &[file, "Disk quota exceeded"], "free some space, or choose another directory");
        place.assert_works("a quota that was used up");
    }
}
