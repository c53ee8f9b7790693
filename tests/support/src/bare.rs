//! A host that has nothing but this program, the C library, and what maps ids.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount};

use crate::{public_program, succeed, user};

/// Fills a new directory with what a host without any of Debian's tools still has.
pub fn bare_root(path: &Path) {
    fs_err::create_dir_all(path).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    for directory in ["etc/ssl/certs", "tmp", "usr/bin", "home"] {
        fs_err::create_dir_all(path.join(directory)).unwrap();
    }
    fs_err::write(path.join("etc/passwd"), "root:x:0:0::/:/nologin\n").unwrap();
    fs_err::write(path.join("etc/nsswitch.conf"), "passwd: files\nhosts: files dns\n").unwrap();
    fs_err::write(path.join("etc/os-release"), "ID=bare\n").unwrap();
    for program in ["/usr/bin/newuidmap", "/usr/bin/newgidmap"] {
        copy_with_libraries(Path::new(program), path);
    }
    for library in libraries(&public_program()) {
        copy(&library, path);
    }
    // Names are looked up by libraries that the C library loads itself.
    for name in ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"] {
        copy(&Path::new("/lib/x86_64-linux-gnu").join(name), path);
    }
    copy(Path::new("/etc/ssl/certs/ca-certificates.crt"), path);
    move_in(path);
}

/// The libraries that a program of this host is linked with; none if it is a script.
pub fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let words = String::from_utf8(listed.stdout).unwrap();
    words.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// Copies a program of this host and the libraries that it is linked with to the same places in
/// `root`.
pub fn copy_with_libraries(program: &Path, root: &Path) {
    copy(program, root);
    // Programs share most of them.
    let is_missing = |library: &PathBuf| !root.join(library.strip_prefix("/").unwrap()).exists();
    for library in libraries(program).iter().filter(|library| is_missing(library)) {
        copy(library, root);
    }
}

/// Copies a file of this host to the same place in `root`.
fn copy(from: &Path, root: &Path) {
    let to = root.join(from.strip_prefix("/").unwrap());
    fs_err::create_dir_all(to.parent().unwrap()).unwrap();
    succeed(Command::new("cp").args(["--dereference", "--preserve=mode,ownership"]).arg(from).arg(&to));
}

/// Adds [`user`], this host's names of the network, and the program under test to the root of
/// another system, so that [`command_in`] can run there.
pub fn move_in(root: &Path) {
    prepare_root(root);
    fs_err::create_dir_all(root.join("usr/bin")).unwrap();
    fs_err::copy(public_program(), root.join("usr/bin/fam-build")).unwrap();
}

/// As [`move_in`], without the program.
pub fn prepare_root(root: &Path) {
    for directory in ["proc", "dev", "old", "output"] {
        fs_err::create_dir_all(root.join(directory)).unwrap();
    }
    succeed(Command::new("chown").arg(user()).arg(root.join("output")));
    for file in ["/etc/subuid", "/etc/subgid", "/etc/hosts", "/etc/resolv.conf"] {
        copy(Path::new(file), root);
    }
    let account = succeed(Command::new("getent").args(["passwd", user()]));
    let accounts = root.join("etc/passwd");
    let others = fs_err::read_to_string(&accounts).unwrap();
    fs_err::write(accounts, others + &account).unwrap();
}

/// A program that runs as [`user`] with `root`, which [`move_in`] prepared, as its whole file
/// system. The user's home is /output.
pub fn command_in(root: &Path, program: &str) -> Command {
    let number = |flag: &str| succeed(Command::new("id").args([flag, user()])).trim().parse::<u32>().unwrap();
    command_of(root, program, number("-u"), number("-g"))
}

/// As [`command_in`], of root's.
pub fn command_in_as_root(root: &Path, program: &str) -> Command {
    let mut program = command_of(root, program, 0, 0);
    program.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    program
}

#[allow(unsafe_code, reason = "a process enters its namespaces between fork and exec")]
fn command_of(root: &Path, program: &str, uid: u32, gid: u32) -> Command {
    let new_root = root.to_owned();
    let mut program = Command::new(program);
    program.env_clear().env("PATH", "/usr/bin").env("HOME", "/output");
    let enter = move || -> std::io::Result<()> {
        // SAFETY: between fork and exec there is one thread only.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        mount_bind(&new_root, &new_root)?;
        mount("proc", new_root.join("proc"), "proc", MountFlags::empty(), None)?;
        rustix::mount::mount_bind_recursive("/dev", new_root.join("dev"))?;
        rustix::process::pivot_root(&new_root, new_root.join("old").as_path())?;
        rustix::process::chdir("/output")?;
        unmount("/old", UnmountFlags::DETACH)?;
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_gid(rustix::fs::Gid::from_raw(gid))?;
        rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(uid))?;
        Ok(())
    };
    // SAFETY: the closure makes system calls; what it allocates, it allocates in a child of its
    // own.
    unsafe { program.pre_exec(enter) };
    program
}
