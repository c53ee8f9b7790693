//! A virtual machine under test: QEMU without hardware acceleration, driven over its serial console.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a boot may take: some 30 s on an idle machine, several times that where tests share two cores.
const BOOT_TIMEOUT: Duration = Duration::from_secs(300);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(240);

/// What starts the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// `SeaBIOS`, QEMU's default.
    Bios,
    /// OVMF, with a fresh variable store: no boot entry names the disk.
    Uefi,
}

/// How to start a machine.
#[derive(Debug)]
pub struct Machine<'a> {
    pub disk: &'a Path,
    pub format: &'a str,
    pub firmware: Firmware,
    /// Whether what the guest writes reaches the disk.
    pub keep_writes: bool,
    pub arguments: Vec<String>,
}

impl<'a> Machine<'a> {
    pub fn new(disk: &'a Path) -> Self {
        Self { disk, format: "qcow2", firmware: Firmware::Bios, keep_writes: false, arguments: Vec::new() }
    }

    /// Starts QEMU; the console is read from the first byte on.
    pub fn start(&self) -> Console {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "1G", "-display", "none", "-monitor", "none"]);
        qemu.args(["-serial", "stdio", "-no-reboot", "-nodefaults", "-vga", "std"]);
        qemu.arg("-drive").arg(format!(
            "file={},format={},if=virtio,snapshot={}",
            self.disk.display(),
            self.format,
            if self.keep_writes { "off" } else { "on" }
        ));
        let variables = (self.firmware == Firmware::Uefi).then(|| {
            let variables = tempfile::NamedTempFile::new().unwrap();
            std::io::copy(
                &mut fs_err::File::open("/usr/share/OVMF/OVMF_VARS_4M.fd").unwrap(),
                &mut fs_err::File::create(variables.path()).unwrap(),
            )
            .unwrap();
            qemu.args(["-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"]);
            qemu.arg("-drive").arg(format!("if=pflash,format=raw,file={}", variables.path().display()));
            variables
        });
        qemu.args(&self.arguments);
        let mut child = qemu
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("qemu-system-x86_64 is installed");
        let seen = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let mut output = child.stdout.take().unwrap();
        let sink = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut chunk) {
                sink.0.lock().unwrap().extend_from_slice(&chunk[..n]);
                sink.1.notify_all();
            }
        });
        let input = child.stdin.take().unwrap();
        Console { child, input, seen, read: 0, name: self.disk.to_owned(), _variables: variables }
    }
}

/// The serial console of a running machine. Dropping it ends the machine.
#[derive(Debug)]
pub struct Console {
    child: Child,
    input: ChildStdin,
    seen: Arc<(Mutex<Vec<u8>>, Condvar)>,
    read: usize,
    name: PathBuf,
    _variables: Option<tempfile::NamedTempFile>,
}

impl Console {
    /// Waits until `pattern` appears after what was read so far; gives back what came before it.
    pub fn wait_for(&mut self, pattern: &str, timeout: Duration) -> String {
        let deadline = Instant::now() + timeout;
        let mut seen = self.seen.0.lock().unwrap();
        loop {
            let new = &seen[self.read..];
            if let Some(at) = new.windows(pattern.len()).position(|window| window == pattern.as_bytes()) {
                let before = String::from_utf8_lossy(&new[..at]).into_owned();
                self.read += at + pattern.len();
                return before;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let tail = String::from_utf8_lossy(&seen[seen.len().saturating_sub(3000)..]).into_owned();
                panic!("{}: no {pattern:?} within {timeout:?}; the console ended with:\n{tail}", self.name.display());
            }
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    fn type_line(&mut self, line: &str) {
        self.input.write_all(line.as_bytes()).unwrap();
        self.input.write_all(b"\n").unwrap();
        self.input.flush().unwrap();
    }

    /// Has getty prompt again, after whatever was printed since.
    pub fn press_enter(&mut self) {
        self.type_line("");
    }

    /// Waits for the login prompt; gives back the host name it shows.
    pub fn wait_for_login(&mut self) -> String {
        let before = self.wait_for(" login: ", BOOT_TIMEOUT);
        before.rsplit(['\n', '\r', ' ']).next().unwrap_or_default().to_owned()
    }

    /// Logs in at the prompt that [`Console::wait_for_login`] waited for.
    pub fn log_in(&mut self, user: &str, password: &str) {
        self.type_line(user);
        self.wait_for("assword: ", COMMAND_TIMEOUT);
        // login(1) throws away what was typed before it turned the echo off, and prompts before it does.
        std::thread::sleep(Duration::from_secs(1));
        self.type_line(password);
        self.wait_for(&format!("{user}@"), COMMAND_TIMEOUT);
        // A shell that neither edits lines nor prompts; the kernel's messages stay out of the output of commands.
        self.type_line("stty -echo cols 200; dmesg --console-off 2>/dev/null; exec env PS1= PS2= sh");
        // The quotes keep an echo of the line from looking like its output.
        self.type_line("echo READY'':");
        self.wait_for("READY:", COMMAND_TIMEOUT);
    }

    /// Runs a shell command; gives back its exit status and what it printed.
    pub fn run(&mut self, command: &str) -> (i32, String) {
        self.type_line(&format!("{{ {command}\n}} 2>&1; echo \"@@\"STATUS:$?:"));
        let output = self.wait_for("@@STATUS:", COMMAND_TIMEOUT);
        let status = self.wait_for(":", COMMAND_TIMEOUT);
        (status.trim().parse().unwrap(), output.replace('\r', "").trim().to_owned())
    }

    /// Runs a command that must succeed; gives back what it printed.
    pub fn check(&mut self, command: &str) -> String {
        let (status, output) = self.run(command);
        assert_eq!(status, 0, "{}: {command}: {output}", self.name.display());
        output
    }

    /// Types a command that ends the machine, and waits for its end.
    pub fn power_off(mut self) {
        self.type_line("poweroff");
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "{}: does not power off", self.name.display());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
