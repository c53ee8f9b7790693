//! Namespaces for tests that would else change what belongs to the whole host: its shared memory, its
//! network, its libvirt. Needs root.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::succeed;

/// Commands of bash that give a room a network, shared memory and /run of its own.
pub const OWN_NETWORK_AND_MEMORY: &str = "
    mount -t sysfs sysfs /sys
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    ip link set lo up
";

/// Commands that, after those, start a libvirt in it: on copies of what libvirt and the bridge helper
/// read and write.
pub const OWN_LIBVIRT: &str = r#"
    for directory in /etc /var/lib/dpkg /var/lib/libvirt /var/log/libvirt /usr/lib/qemu; do
        cp -a $directory /run/copy
        mount -t tmpfs -o mode=755 tmpfs $directory
        cp -a /run/copy/. $directory/
        rm -rf /run/copy
    done
    mount -t tmpfs -o mode=755 tmpfs /dev/net
    mknod -m 600 /dev/net/tun c 10 200
    echo 'cgroup_controllers = []' >>/etc/libvirt/qemu.conf
    virtlogd --daemon
    libvirtd --daemon
"#;

/// Namespaces of mounts, network and processes. Dropped, they go with all that runs in them.
#[derive(Debug)]
pub struct Room {
    init: Child,
    /// The first process in it, as seen from outside.
    pid: String,
}

impl Room {
    /// Namespaces in which these commands of bash have run.
    pub fn open(furnish: &[&str]) -> Self {
        // The first process lasts, and reaps.
        let script = format!("{}\necho ready\nwhile :; do sleep 1; done\n", furnish.concat());
        let mut init = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-ec", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(init.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "the room is furnished");
        let children = format!("/proc/{0}/task/{0}/children", init.id());
        let pid = fs_err::read_to_string(children).unwrap().trim().to_owned();
        Self { init, pid }
    }

    /// A command in it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid, "--mount", "--net", "--pid", "--"]).arg(program.as_ref());
        command
    }

    /// The path of a file in it, seen from outside.
    pub fn path(&self, of: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{of}", self.pid))
    }

    /// What its libvirt answers.
    #[track_caller]
    pub fn virsh(&self, arguments: &[&str]) -> String {
        succeed(self.command("virsh").args(["--quiet", "--connect", "qemu:///system"]).args(arguments))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = self.init.kill();
        let _ = self.init.wait();
    }
}
