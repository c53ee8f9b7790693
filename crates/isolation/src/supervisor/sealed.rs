//! A copy of this program that lies in memory and can no longer be changed.
//!
//! Programs of the new system can open the file that the first process of their sandbox executes,
//! by `/proc/1/exe`. Were that the program's own file, those of root could change its mode, or its
//! bytes on kernels that allow to write what is being executed (6.11), and the host's administrator
//! would run that one day.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

const SEALS: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// The path of the copy, for a child to execute. It is made once and kept as long as this process.
/// Where memory cannot be executed (`vm.memfd_noexec` of the kernel) it is the program itself: see
/// [`is_this_process`].
pub(super) fn this_program() -> PathBuf {
    static COPY: OnceLock<Option<OwnedFd>> = OnceLock::new();
    match COPY.get_or_init(|| copy().ok()) {
        Some(copy) => format!("/proc/self/fd/{}", copy.as_raw_fd()).into(),
        None => "/proc/self/exe".into(),
    }
}

/// Whether this process executes such a copy.
pub(crate) fn is_this_process() -> bool {
    let seals = || io::Result::Ok(fcntl_get_seals(fs_err::File::open("/proc/self/exe")?.file())?);
    seals().is_ok_and(|seals| seals.contains(SEALS))
}

fn copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = match memfd_create("fam-build", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 there was no such flag, and everything could be executed.
        Err(rustix::io::Errno::INVAL) => memfd_create("fam-build", flags)?,
        made => made?,
    };
    let mut copy = File::from(memory);
    io::copy(fs_err::File::open("/proc/self/exe")?.file_mut(), &mut copy)?;
    fcntl_add_seals(&copy, SEALS)?;
    // What is open for writing cannot be executed.
    let copy = fs_err::File::open(format!("/proc/self/fd/{}", copy.as_raw_fd()))?;
    Ok(copy.into_file().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn can_be_executed_and_not_be_changed() {
        let copy = copy().unwrap();
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        assert_eq!(fs_err::read(&path).unwrap(), fs_err::read("/proc/self/exe").unwrap());
        let mut file = fs_err::OpenOptions::new().write(true).open(&path).unwrap().into_file();
        assert_eq!(io::Write::write(&mut file, b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
        drop(file);
        let output = std::process::Command::new(path).args(["--list", "can_be_executed"]).output().unwrap();
        assert!(String::from_utf8(output.stdout).unwrap().contains("can_be_executed_and_not_be_changed"));
        assert!(!is_this_process());
    }
}
