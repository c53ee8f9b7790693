//! Finds out why the kernel refused a namespace or a mount, and the command that helps.

use std::io;
use std::path::{Path, PathBuf};

/// What is known about a refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// The cause, where one was found.
    pub reason: Option<String>,
    /// What the user should do.
    pub hint: Option<String>,
}

/// The settings of a host that bear on namespaces, as read from /proc.
#[derive(Debug, Clone, Default)]
struct Settings {
    unprivileged_userns_clone: Option<u64>,
    max_user_namespaces: Option<u64>,
    apparmor_restrict_unprivileged_userns: Option<u64>,
    seccomp: Option<u64>,
    /// Whether the root directory of this process is a mount point; where unknown, it is not in a
    /// plain chroot.
    root_is_mounted: Option<bool>,
    /// The file of this program.
    program: PathBuf,
}

impl Settings {
    fn read() -> Self {
        let sysctl = |name: &str| fs_err::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok();
        Self {
            unprivileged_userns_clone: sysctl("kernel/unprivileged_userns_clone"),
            max_user_namespaces: sysctl("user/max_user_namespaces"),
            apparmor_restrict_unprivileged_userns: sysctl("kernel/apparmor_restrict_unprivileged_userns"),
            seccomp: fs_err::read_to_string("/proc/self/status").ok().as_deref().and_then(seccomp_mode),
            root_is_mounted: root_is_mounted(),
            program: std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/fam-build".into()),
        }
    }
}

/// `None` before Linux 5.8.
fn root_is_mounted() -> Option<bool> {
    let flags = rustix::fs::AtFlags::empty();
    let status = rustix::fs::statx(rustix::fs::CWD, "/", flags, rustix::fs::StatxFlags::empty()).ok()?;
    let mount_root = rustix::fs::StatxAttributes::MOUNT_ROOT;
    status.stx_attributes_mask.contains(mount_root).then(|| status.stx_attributes.contains(mount_root))
}

fn seccomp_mode(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("Seccomp:")?.trim().parse().ok())
}

/// Explains `error`, got from unsharing namespaces or from the first mounts inside.
pub(crate) fn diagnose(error: &io::Error) -> Diagnosis {
    explain(error.raw_os_error().unwrap_or(0), &Settings::read())
}

fn explain(errno: i32, settings: &Settings) -> Diagnosis {
    let found = |reason: &str, hint: &str| Diagnosis { reason: Some(reason.into()), hint: Some(hint.into()) };
    let forbidden = errno == libc::EPERM || errno == libc::EACCES;
    if settings.root_is_mounted == Some(false) && (forbidden || errno == libc::EINVAL) {
        // The kernel makes no user namespace there, and the mounts cannot be cut off from the
        // host's.
        found(
            "this is a chroot whose / is no mount point",
            "enter it as root by: unshare --mount sh -c 'mount --bind DIRECTORY DIRECTORY; exec chroot DIRECTORY'; \
             or by bwrap or systemd-nspawn",
        )
    } else if settings.unprivileged_userns_clone == Some(0) && forbidden {
        found(
            "kernel.unprivileged_userns_clone is 0",
            "as root: sysctl -w kernel.unprivileged_userns_clone=1 (and a line in /etc/sysctl.d to keep it)",
        )
    } else if settings.max_user_namespaces == Some(0) {
        found(
            "user.max_user_namespaces is 0",
            "as root: sysctl -w user.max_user_namespaces=15000 (and a line in /etc/sysctl.d to keep it)",
        )
    } else if settings.apparmor_restrict_unprivileged_userns == Some(1) && forbidden {
        found("kernel.apparmor_restrict_unprivileged_userns is 1", &allow_by_apparmor(&settings.program))
    } else if settings.seccomp.is_some_and(|mode| mode != 0) && forbidden {
        found(
            "a seccomp filter confines this process, as in a container",
            "start the container with --security-opt seccomp=unconfined --security-opt systempaths=unconfined \
             (podman: unmask=ALL for the latter), and where AppArmor is active --security-opt apparmor=unconfined",
        )
    } else if errno == libc::ENOSPC || errno == libc::EUSERS {
        found("too many or too deeply nested namespaces", "as root: sysctl -w user.max_user_namespaces=15000")
    } else if errno == libc::EINVAL || errno == libc::ENOSYS {
        Diagnosis {
            reason: None,
            hint: Some(
                "Linux 5.6 or later with user, mount, PID, IPC, UTS and network namespaces and seccomp filters is needed"
                    .into(),
            ),
        }
    } else if forbidden {
        Diagnosis {
            reason: None,
            hint: Some(
                "something on this host forbids namespaces or mounts in them (a container, a security module): \
                 allow it, or run fam-build as root"
                    .into(),
            ),
        }
    } else {
        Diagnosis::default()
    }
}

/// The command that installs a profile of `AppArmor` under which a program may make user
/// namespaces: one that allows all else, too, as the profiles of Ubuntu for such programs do.
fn allow_by_apparmor(program: &Path) -> String {
    let program = program.display();
    format!(
        "as root: printf '%s\\n' 'abi <abi/4.0>,' 'include <tunables/global>' \
         'profile fam-build \"{program}\" flags=(unconfined) {{' '  userns,' '}}' > /etc/apparmor.d/fam-build && \
         apparmor_parser --replace /etc/apparmor.d/fam-build"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_setting_to_change() {
        let open = Settings { max_user_namespaces: Some(1000), seccomp: Some(0), ..Settings::default() };
        let cases = [
            (
                Settings { unprivileged_userns_clone: Some(0), ..open.clone() },
                libc::EPERM,
                "unprivileged_userns_clone=1",
            ),
            (Settings { max_user_namespaces: Some(0), ..open.clone() }, libc::ENOSPC, "max_user_namespaces=15000"),
            (
                Settings {
                    apparmor_restrict_unprivileged_userns: Some(1),
                    program: "/usr/bin/fam-build".into(),
                    ..open.clone()
                },
                libc::EACCES,
                "'profile fam-build \"/usr/bin/fam-build\" flags=(unconfined) {' '  userns,' '}' > /etc/apparmor.d/fam-build",
            ),
            (Settings { seccomp: Some(2), ..open.clone() }, libc::EPERM, "seccomp=unconfined"),
            (Settings { root_is_mounted: Some(false), ..open.clone() }, libc::EINVAL, "mount --bind"),
            (open.clone(), libc::EPERM, "run fam-build as root"),
            (open.clone(), libc::EINVAL, "Linux 5.6"),
        ];
        for (settings, errno, expected) in cases {
            let hint = explain(errno, &settings).hint.unwrap();
            assert!(hint.contains(expected), "{hint}");
        }
        assert_eq!(explain(libc::EIO, &open), Diagnosis::default());
    }

    #[test]
    fn reads_the_seccomp_mode() {
        assert_eq!(seccomp_mode("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"), Some(2));
        assert_eq!(seccomp_mode("Name:\tx\n"), None);
    }
}
