//! A host that has nothing but this program, the C library, and what maps ids.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount};

use super::{directory_of, public_binary, succeed, user};

/// What a host without any of Debian's tools still has.
pub fn bare_root() -> tempfile::TempDir {
    let user = user();
    let root = directory_of("root");
    let path = root.path();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    for directory in ["etc/ssl/certs", "proc", "dev", "tmp", "old", "usr/bin", "output", "home"] {
        fs_err::create_dir_all(path.join(directory)).unwrap();
    }
    let copy = |from: &Path| {
        let to = path.join(from.strip_prefix("/").unwrap());
        fs_err::create_dir_all(to.parent().unwrap()).unwrap();
        succeed(Command::new("cp").args(["--dereference", "--preserve=mode,ownership"]).arg(from).arg(&to));
    };
    let mut libraries = Vec::new();
    fs_err::copy(public_binary(), path.join("fam-build")).unwrap();
    for program in ["/usr/bin/newuidmap", "/usr/bin/newgidmap"] {
        copy(Path::new(program));
    }
    for program in [public_binary().as_path(), Path::new("/usr/bin/newuidmap")] {
        let listed = succeed(Command::new("ldd").arg(program));
        libraries.extend(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    // Names are looked up by libraries that the C library loads itself.
    for name in ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"] {
        libraries.push(Path::new("/lib/x86_64-linux-gnu").join(name));
    }
    for library in libraries {
        copy(&library);
    }
    let bundle = Path::new("/etc/ssl/certs/ca-certificates.crt");
    for file in [
        bundle,
        Path::new("/etc/subuid"),
        Path::new("/etc/subgid"),
        Path::new("/etc/hosts"),
        Path::new("/etc/resolv.conf"),
    ] {
        copy(file);
    }
    let account = succeed(Command::new("getent").args(["passwd", user]));
    fs_err::write(path.join("etc/passwd"), format!("root:x:0:0::/:/nologin\n{account}")).unwrap();
    fs_err::write(path.join("etc/nsswitch.conf"), "passwd: files\nhosts: files dns\n").unwrap();
    fs_err::write(path.join("etc/os-release"), "ID=bare\n").unwrap();
    root
}

/// The program under test with `root`, made by [`bare_root`], as its whole file system, run by [`user`].
#[allow(unsafe_code)]
pub fn command_in(root: &Path) -> Command {
    let number = |flag: &str| succeed(Command::new("id").args([flag, user()])).trim().parse::<u32>().unwrap();
    let (uid, gid) = (number("-u"), number("-g"));
    let new_root = root.to_owned();
    let mut program = Command::new("/fam-build");
    program.env_clear().env("PATH", "/usr/bin").env("HOME", "/output");
    let enter = move || -> std::io::Result<()> {
        // SAFETY: between fork and exec there is one thread only.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        mount_bind(&new_root, &new_root)?;
        mount("proc", new_root.join("proc"), "proc", MountFlags::empty(), None)?;
        rustix::mount::mount_bind_recursive("/dev", new_root.join("dev"))?;
        rustix::process::pivot_root(&new_root, new_root.join("old").as_path())?;
        rustix::process::chdir("/")?;
        unmount("/old", UnmountFlags::DETACH)?;
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_gid(rustix::fs::Gid::from_raw(gid))?;
        rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(uid))?;
        Ok(())
    };
    // SAFETY: the closure makes system calls; what it allocates, it allocates in a child of its own.
    unsafe { program.pre_exec(enter) };
    program
}
