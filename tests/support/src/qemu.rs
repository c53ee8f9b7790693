//! A virtual machine under test: QEMU without hardware acceleration, driven over its serial
//! console.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::dialogue::Dialogue;

/// How long a boot may take: some 40 s on an idle machine, several times that where tests share two
/// cores.
const BOOT_TIMEOUT: Duration = Duration::from_secs(600);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(600);

/// What starts the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, QEMU's default.
    Bios,
    /// OVMF, with a fresh variable store: no boot entry names the disk.
    Uefi,
    /// OVMF that starts only what the keys in its variable store vouch for, which are Microsoft's.
    SecureBoot,
}

impl Firmware {
    /// Adds OVMF and its variables, which last as long as the file, to QEMU's arguments.
    fn add_to(self, qemu: &mut Command) -> Option<tempfile::NamedTempFile> {
        let (code, variables) = match self {
            Self::Bios => return None,
            Self::Uefi => ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
            Self::SecureBoot => {
                // Only the firmware itself, in system management mode, may write its variables.
                qemu.args(["-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"]);
                ("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd")
            }
        };
        let directory = Path::new("/usr/share/OVMF");
        let own = tempfile::NamedTempFile::new().unwrap();
        std::io::copy(
            &mut fs_err::File::open(directory.join(variables)).unwrap(),
            &mut fs_err::File::create(own.path()).unwrap(),
        )
        .unwrap();
        let code = directory.join(code);
        qemu.arg("-drive").arg(format!("if=pflash,format=raw,readonly=on,file={}", code.display()));
        qemu.arg("-drive").arg(format!("if=pflash,format=raw,file={}", own.path().display()));
        Some(own)
    }
}

/// How to start a machine.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The image it boots from.
    pub disk: &'a Path,
    /// The format of the image, as QEMU names it.
    pub format: &'a str,
    /// What starts the boot loader.
    pub firmware: Firmware,
    /// QEMU's arguments for the controller and a disk of it, which takes the drive `disk`; without
    /// any, the disk is one of virtio.
    pub controller: Vec<String>,
    /// Whether what the guest writes reaches the disk.
    pub keep_writes: bool,
    /// Further arguments for QEMU.
    pub arguments: Vec<String>,
}

impl<'a> Machine<'a> {
    /// A machine that boots a qcow2 image by BIOS, and forgets what it writes.
    pub fn new(disk: &'a Path) -> Self {
        let (controller, arguments) = (Vec::new(), Vec::new());
        Self { disk, format: "qcow2", firmware: Firmware::Bios, controller, keep_writes: false, arguments }
    }

    /// Starts QEMU; the console is read from the first byte on.
    pub fn start(&self) -> Console {
        let mut qemu = Command::new("qemu-system-x86_64");
        // One processor: see `Nodes::start` for what may happen to more.
        qemu.args(["-accel", "tcg", "-smp", "1", "-m", "1G", "-display", "none", "-monitor", "none"]);
        qemu.args(["-serial", "stdio", "-no-reboot", "-nodefaults", "-vga", "std"]);
        qemu.arg("-drive").arg(format!(
            "file={},format={},if={},snapshot={}",
            self.disk.display(),
            self.format,
            if self.controller.is_empty() { "virtio" } else { "none,id=disk" },
            if self.keep_writes { "off" } else { "on" }
        ));
        let variables = self.firmware.add_to(&mut qemu);
        qemu.args(&self.controller).args(&self.arguments);
        let name = self.disk.display().to_string();
        Console { dialogue: Dialogue::start(name.clone(), &mut qemu), name, _variables: variables }
    }
}

/// What a kernel, an initramfs or systemd prints where a system cannot boot, before it waits for
/// ever.
const CANNOT_BOOT: [&str; 3] = ["Kernel panic - not syncing", "(initramfs) ", "Give root password for maintenance"];

/// The serial console of a running machine. Dropping it ends the machine.
#[derive(Debug)]
pub struct Console {
    dialogue: Dialogue,
    name: String,
    _variables: Option<tempfile::NamedTempFile>,
}

impl Console {
    /// As [`Dialogue::wait_for`].
    #[track_caller]
    pub fn wait_for(&mut self, pattern: &str, timeout: Duration) -> String {
        self.dialogue.wait_for(pattern, timeout)
    }

    fn type_line(&mut self, line: &str) {
        self.dialogue.type_line(line);
    }

    /// Has getty prompt again, after whatever was printed since.
    pub fn press_enter(&mut self) {
        self.type_line("");
    }

    /// Waits until a system that boots prints `mark`; returns what came before it.
    ///
    /// # Panics
    /// As [`Dialogue::wait_for`], and as soon as it is seen that the system cannot boot.
    #[track_caller]
    pub fn wait_for_boot(&mut self, mark: &str) -> String {
        let patterns: Vec<&str> = [mark].into_iter().chain(CANNOT_BOOT).collect();
        let (found, before) = self.dialogue.wait_for_any(&patterns, BOOT_TIMEOUT);
        assert_eq!(found, 0, "{}: {}:\n{before}", self.name, patterns[found]);
        before
    }

    /// Waits for the login prompt; returns the host name it shows.
    #[track_caller]
    pub fn wait_for_login(&mut self) -> String {
        self.wait_for_boot(" login: ").rsplit(['\n', '\r', ' ']).next().unwrap_or_default().to_owned()
    }

    /// Logs in at the prompt that [`Console::wait_for_login`] waited for.
    pub fn log_in(&mut self, user: &str, password: &str) {
        self.type_line(user);
        self.wait_for("assword: ", COMMAND_TIMEOUT);
        // login(1) throws away what was typed before it turned the echo off, and prompts before it
        // does.
        std::thread::sleep(Duration::from_secs(1));
        self.type_line(password);
        self.wait_for(&format!("{user}@"), COMMAND_TIMEOUT);
        // A shell that neither edits lines nor prompts; the kernel's messages stay out of the
        // output of commands.
        self.type_line("stty -echo cols 200; dmesg --console-off 2>/dev/null; exec env PS1= PS2= sh");
        // The quotes keep an echo of the line from looking like its output.
        self.type_line("echo READY'':");
        self.wait_for("READY:", COMMAND_TIMEOUT);
    }

    /// Runs a shell command; returns its exit status and what it printed.
    pub fn run(&mut self, command: &str) -> (i32, String) {
        self.type_line(&format!("{{ {command}\n}} 2>&1; echo \"@@\"STATUS:$?:"));
        let output = self.wait_for("@@STATUS:", COMMAND_TIMEOUT);
        let status = self.wait_for(":", COMMAND_TIMEOUT);
        (status.trim().parse().unwrap(), output.replace('\r', "").trim().to_owned())
    }

    /// Runs a command that must succeed; returns what it printed.
    pub fn check(&mut self, command: &str) -> String {
        let (status, output) = self.run(command);
        assert_eq!(status, 0, "{}: {command}: {output}", self.name);
        output
    }

    /// Types a command that ends the machine, and waits for its end.
    pub fn power_off(mut self) {
        self.type_line("poweroff");
        self.dialogue.wait_for_end(COMMAND_TIMEOUT);
    }
}
