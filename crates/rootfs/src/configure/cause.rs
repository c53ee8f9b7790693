//! Why a script failed, as far as its output says so: programs have set phrases for what a build
//! does not have.
//!
//! This looks at one line, and knows nothing of who printed it; [`super::printed`] does.

/// What a script lacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A running service manager.
    ServiceManager,
    /// A network.
    Network,
    /// The hardware of a machine.
    Hardware,
    /// Room for files.
    Space,
    /// Memory.
    Memory,
    /// A right that scripts do not have in a build.
    Privilege,
    /// A program, library or module, by the name in the message.
    Missing(String),
}

/// Phrases that say it wherever they stand in a line. The first that fits counts.
const PHRASES: &[(&str, Cause)] = &[
    // systemctl, then the programs of sysvinit and D-Bus.
    ("System has not been booted with systemd", Cause::ServiceManager),
    ("Failed to connect to bus", Cause::ServiceManager),
    ("Failed to connect to system scope bus", Cause::ServiceManager),
    ("Failed to get D-Bus connection", Cause::ServiceManager),
    ("Failed to talk to init daemon", Cause::ServiceManager),
    ("Failed to open connection to \"system\" message bus", Cause::ServiceManager),
    ("/run/dbus/system_bus_socket", Cause::ServiceManager),
    // The C library, then apt, wget, curl, Node.js and Go in words of their own.
    ("Temporary failure in name resolution", Cause::Network),
    ("Name or service not known", Cause::Network),
    ("Network is unreachable", Cause::Network),
    ("Could not resolve", Cause::Network),
    ("Temporary failure resolving", Cause::Network),
    ("unable to resolve host address", Cause::Network),
    ("curl: (6)", Cause::Network),
    ("curl: (7)", Cause::Network),
    ("getaddrinfo EAI_AGAIN", Cause::Network),
    ("dial tcp: lookup ", Cause::Network),
    // mkinitramfs with MODULES=dep, grub-probe.
    ("requires mounted sysfs on /sys", Cause::Hardware),
    ("(is /dev mounted?)", Cause::Hardware),
    ("(Try mounting /sys.)", Cause::Hardware),
    ("No space left on device", Cause::Space),
    ("Disk quota exceeded", Cause::Space),
    // The C library, Python, C++, run-parts; "killed by signal" is how dpkg and this program say
    // it.
    ("Cannot allocate memory", Cause::Memory),
    ("MemoryError", Cause::Memory),
    ("std::bad_alloc", Cause::Memory),
    ("uncaught signal 9", Cause::Memory),
    ("killed by signal (Killed)", Cause::Memory),
    ("killed by signal 9", Cause::Memory),
    ("Operation not permitted", Cause::Privilege),
    ("Function not implemented", Cause::Privilege),
    // `You` or `you`.
    ("ou must be root", Cause::Privilege),
    ("must be superuser", Cause::Privilege),
    ("modprobe: FATAL: ", Cause::Privilege),
    ("modprobe: ERROR: ", Cause::Privilege),
];

/// What stands before and after the name of something that is missing.
const MISSING: &[(&str, &str)] = &[
    // Perl, Python, Ruby and Node.js.
    ("Can't locate ", " in @INC"),
    ("Can't exec \"", "\": No such file or directory"),
    ("ModuleNotFoundError: No module named '", "'"),
    ("FileNotFoundError: [Errno 2] No such file or directory: '", "'"),
    ("cannot load such file -- ", " (LoadError)"),
    ("Error: Cannot find module '", "'"),
    // The dynamic loader, env, xargs and run-parts.
    ("error while loading shared libraries: ", ": cannot open shared object file"),
    ("env: '", "': No such file or directory"),
    ("env: ‘", "’: No such file or directory"),
    ("xargs: ", ": No such file or directory"),
    ("run-parts: failed to exec ", ": No such file or directory"),
];

/// Complaints that programs go on after: debconf with a simpler frontend when a Perl module is
/// missing, sudo with its command when the host's name has no address. Without this, their words
/// would count as a cause.
const HARMLESS: [&str; 2] = ["debconf: ", "sudo: unable to resolve host "];

impl Cause {
    /// What a line of a script's output, or how it ended, says of why it failed.
    pub(super) fn of(line: &str) -> Option<Self> {
        if HARMLESS.iter().any(|start| line.starts_with(start)) {
            return None;
        }
        let phrase = PHRASES.iter().find(|(phrase, _)| line.contains(phrase));
        phrase
            .map(|(_, cause)| cause.clone())
            .or_else(|| is_killed(line).then_some(Self::Memory))
            .or_else(|| is_denied(line).then_some(Self::Privilege))
            .or_else(|| is_about_hardware(line).then_some(Self::Hardware))
            .or_else(|| missing(line).map(|name| Self::Missing(name.to_owned())))
    }

    /// What the user should do where `package` is at fault.
    pub(super) fn hint(&self, package: &str) -> String {
        let later = format!("leave {package} out, or install it in a running node");
        match self {
            Self::ServiceManager => {
                format!("it calls a service manager without asking whether one runs, and in a build none does: {later}")
            }
            Self::Network => format!(
                "scripts have no network in a build: leave {package} out and put what it downloads into the image with the \
                 plugin `files`, or install it in a running node"
            ),
            Self::Hardware => format!("scripts see no hardware in a build, neither the host's nor a node's: {later}"),
            Self::Space => {
                "the new system is full, or what its scripts have as /tmp: make room, or set TMPDIR or --output to a \
                 larger file system; where the system is made in memory, more of that helps"
                    .into()
            }
            Self::Memory => format!(
                "memory ran out, which `dmesg` shows, or it was killed on purpose; a build without {package} (--include, the \
                 recipe) shows whether it is at fault"
            ),
            Self::Privilege => format!(
                "in a build no script may mount, make devices or namespaces, load modules or change settings of the kernel: \
                 {later}"
            ),
            Self::Missing(name) => format!(
                "{package} needs {name} and does not depend on what has it: --include the package that has {name}, or leave \
                 {package} out"
            ),
        }
    }
}

/// The words of dash and bash for a program that SIGKILL ended.
fn is_killed(line: &str) -> bool {
    // bash prints the state in a column of its own, before the command that was killed.
    line == "Killed" || line.contains(": line ") && line.contains(" Killed  ")
}

/// The words of mount and of whatever writes settings of the kernel.
fn is_denied(line: &str) -> bool {
    line.starts_with("mount: ") && line.to_ascii_lowercase().contains("permission denied")
        || line.contains("/proc/sys/") && line.contains("Read-only file system")
}

/// Whether a line complains of a file of /sys, or of one in /proc that shows hardware.
fn is_about_hardware(line: &str) -> bool {
    const COMPLAINTS: [&str; 6] = ["no such file", "cannot", "can't", "could not", "unable", "failed"];
    // A path alone tells nothing: programs print paths of /sys when all is well, too.
    let is_place = |word: &str| word.starts_with("/sys/") || word.starts_with("/proc/modules");
    let complaint = line.to_ascii_lowercase();
    line.split(|c: char| c.is_whitespace() || "'\"‘’:(".contains(c)).any(is_place)
        && COMPLAINTS.iter().any(|word| complaint.contains(word))
}

/// The name of what is missing.
fn missing(line: &str) -> Option<&str> {
    let between = |(before, after): &(_, _)| Some(line.split_once(before)?.1.split_once(after)?.0);
    MISSING
        .iter()
        .find_map(between)
        .or_else(|| of_shell(line))
        .or_else(|| of_dpkg(line))
        .filter(|name| !name.is_empty())
}

/// What a shell did not find: `NAME: command not found` of bash, `SCRIPT: LINE: NAME: not found` of
/// dash, and `SCRIPT: NAME: bad interpreter: No such file or directory`.
fn of_shell(line: &str) -> Option<&str> {
    const ENDS: [&str; 2] = [": command not found", ": bad interpreter: No such file or directory"];
    if let Some(found) = ENDS.iter().find_map(|end| line.strip_suffix(end)) {
        return found.rsplit(": ").next();
    }
    let mut words = line.strip_suffix(": not found")?.split(": ").skip(1);
    // Without the number of a line it may be any program's message (`key: not found`).
    let has_number = words.next()?.parse::<u32>().is_ok();
    words.last().filter(|_| has_number)
}

/// What dpkg says of a script whose interpreter is not there, which it does not name.
fn of_dpkg(line: &str) -> Option<&str> {
    let unable = line.contains("unable to execute ") && line.ends_with("): No such file or directory");
    unable.then_some("the interpreter in the first line of the script")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(name: &str) -> Option<Cause> {
        Some(Cause::Missing(name.into()))
    }

    /// What the programs print in a sandbox, or what was printed where people met it.
    #[test]
    fn what_programs_say() {
        for (line, cause) in [
            ("System has not been booted with systemd as init system (PID 1). Can't operate.", Cause::ServiceManager),
            ("Failed to connect to bus: Host is down", Cause::ServiceManager),
            ("Failed to connect to bus: No such file or directory", Cause::ServiceManager),
            (
                "Failed to connect to system scope bus via local transport: No such file or directory",
                Cause::ServiceManager,
            ),
            ("Failed to talk to init daemon: Host is down", Cause::ServiceManager),
            (
                "Failed to open connection to \"system\" message bus: Failed to connect to socket /run/dbus/system_bus_socket: \
                 No such file or directory",
                Cause::ServiceManager,
            ),
            ("curl: (6) Could not resolve host: example.org", Cause::Network),
            (
                "curl: (7) Failed to connect to 192.0.2.1 port 80 after 35 ms: Couldn't connect to server",
                Cause::Network,
            ),
            ("dial tcp: lookup example.org on [::1]:53: read: connection refused", Cause::Network),
            ("wget: unable to resolve host address ‘example.org’", Cause::Network),
            ("Resolving example.org (example.org)... failed: Temporary failure in name resolution.", Cause::Network),
            ("urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>", Cause::Network),
            ("fatal: unable to access 'https://example.org/x/': Could not resolve host: example.org", Cause::Network),
            ("gpg: keyserver receive failed: Network is unreachable", Cause::Network),
            ("  Temporary failure resolving 'deb.example.org'", Cause::Network),
            ("mkinitramfs: MODULES dep requires mounted sysfs on /sys", Cause::Hardware),
            ("/usr/sbin/grub-probe: error: cannot find a device for / (is /dev mounted?).", Cause::Hardware),
            (
                "libkmod: ERROR kmod_module_new_from_loaded: could not open /proc/modules: No such file or directory",
                Cause::Hardware,
            ),
            ("ls: cannot access '/sys/class/net': No such file or directory", Cause::Hardware),
            ("cat: /sys/devices/system/cpu/online: No such file or directory", Cause::Hardware),
            ("cp: error writing '/var/x': No space left on device", Cause::Space),
            ("fork: Cannot allocate memory", Cause::Memory),
            ("Killed", Cause::Memory),
            ("bash: line 1: 30025 Killed                  sh -c \"kill -9 \\$\\$\"", Cause::Memory),
            ("run-parts: /etc/kernel/postinst.d/a exited because of uncaught signal 9", Cause::Memory),
            ("subprocess was killed by signal (Killed)", Cause::Memory),
            ("mount: /mnt: permission denied.", Cause::Privilege),
            ("mknod: /dev/x: Operation not permitted", Cause::Privilege),
            ("unshare: unshare failed: Operation not permitted", Cause::Privilege),
            ("modprobe: FATAL: Module loop not found in directory /lib/modules/6.1.0-37-amd64", Cause::Privilege),
            (
                "iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)",
                Cause::Privilege,
            ),
            ("sh: 1: cannot create /proc/sys/kernel/x: Read-only file system", Cause::Privilege),
        ] {
            assert_eq!(Cause::of(line), Some(cause), "{line}");
        }
    }

    #[test]
    fn what_is_missing_has_a_name() {
        for (line, name) in [
            ("sh: 1: frobnicate: not found", "frobnicate"),
            ("sh: 1: exec: frobnicate: not found", "frobnicate"),
            ("/var/lib/dpkg/info/x.postinst: 12: frobnicate: not found", "frobnicate"),
            ("/var/lib/dpkg/info/x.postinst: line 12: frobnicate: command not found", "frobnicate"),
            ("/usr/sbin/x: /usr/bin/ruby: bad interpreter: No such file or directory", "/usr/bin/ruby"),
            ("env: 'python3': No such file or directory", "python3"),
            ("env: ‘python3’: No such file or directory", "python3"),
            ("/usr/bin/env: ‘python3’: No such file or directory", "python3"),
            ("xargs: frobnicate: No such file or directory", "frobnicate"),
            ("Can't exec \"frobnicate\": No such file or directory at -e line 1.", "frobnicate"),
            (
                "Can't locate Foo/Bar.pm in @INC (you may need to install the Foo::Bar module) (@INC contains: /etc/perl)",
                "Foo/Bar.pm",
            ),
            ("ModuleNotFoundError: No module named 'foo'", "foo"),
            ("FileNotFoundError: [Errno 2] No such file or directory: 'frobnicate'", "frobnicate"),
            (
                "x: error while loading shared libraries: libx.so.1: cannot open shared object file: No such file or directory",
                "libx.so.1",
            ),
            ("run-parts: failed to exec /etc/x.d/a: No such file or directory", "/etc/x.d/a"),
            (
                "dpkg (subprocess): unable to execute installed x package post-installation script \
                 (/var/lib/dpkg/info/x.postinst): No such file or directory",
                "the interpreter in the first line of the script",
            ),
        ] {
            assert_eq!(Cause::of(line), missing(name), "{line}");
        }
    }

    #[test]
    fn what_says_nothing_of_a_cause() {
        for line in [
            "",
            "cannot find moon",
            "cp: cannot stat '/etc/x': No such file or directory",
            "x.c:1:10: fatal error: /usr/include/sys/types.h: No such file or directory",
            "looking at /sys/class/net",
            "curl: (22) The requested URL returned error: 404: not found",
            ": not found",
            ": command not found",
            "debconf: (Can't locate Term/ReadLine.pm in @INC (you may need to install the Term::ReadLine module) (@INC: /etc/perl))",
            "sudo: unable to resolve host x: Name or service not known",
        ] {
            assert_eq!(Cause::of(line), None, "{line}");
        }
    }
}
