//! Scripts that fail in a build for want of something: the error names the package at fault, quotes
//! what tells the cause, and the hint fits it. The programs that complain are real ones.

use support::archive::{Archive, Deb};

use crate::small::{Bench, archive, assert_fails, assert_nothing_left};

support::tests! {
    needs [support::harness::ROOT, "gpg", "dpkg-deb", "run-parts"];
    the_hint_fits_what_the_script_lacked,
    a_hook_is_its_own_packages_fault,
    a_cause_is_quoted_however_much_was_printed_after_it,
}

/// A package, what its postinst does, what the error quotes of it, and the hint.
const CAUSES: [(&str, &str, &str, &str); 9] = [
    (
        "service",
        // The words of systemctl, which brings systemd's libraries with it.
        "echo \"System has not been booted with systemd as init system (PID 1). Can't operate.\" >&2; false",
        "System has not been booted with systemd",
        "calls a service manager without asking whether one runs, and in a build none does: leave service out",
    ),
    (
        "network",
        r#"perl -e 'socket(S, 2, 1, 0); connect(S, pack("Sna4x8", 2, 80, "\xc0\0\2\1")) or die "connect: $!\n"'"#,
        "connect: Network is unreachable",
        "no network in a build: leave network out and put what it downloads into the image with the plugin `files`",
    ),
    (
        "hardware",
        "cat /sys/class/net/eth0/address",
        "/sys/class/net/eth0/address",
        "scripts see no hardware in a build",
    ),
    (
        "program",
        "frobnicate --all",
        "frobnicate: not found",
        "program needs frobnicate and does not depend on what has it",
    ),
    (
        "module",
        "perl -e 'use Frob::Nicate'",
        "Can't locate Frob/Nicate.pm",
        "--include the package that has Frob/Nicate.pm",
    ),
    ("interpreter", "env frobnicate", "env: 'frobnicate': No such file", "interpreter needs frobnicate and"),
    ("space", "head -c 2000000 /dev/zero >/dev/large", "No space left on device", "make room, or set TMPDIR"),
    ("memory", "sh -c 'kill -9 $$'", "Killed", "memory ran out, which `dmesg` shows, or it was killed on purpose"),
    ("privilege", "mknod /disk b 8 0", "Operation not permitted", "in a build no script may mount, make devices"),
];

fn the_hint_fits_what_the_script_lacked() {
    let with = |archive: Archive, (name, script, ..): &(&str, &str, &str, &str)| {
        // What follows does not hide the cause.
        archive.with(Deb::new(name).script("postinst", &format!("{{ {script}\n}} || {{ echo giving up; exit 1; }}")))
    };
    let bench = Bench::new(CAUSES.iter().fold(archive(), with));
    for (name, _, quoted, hint) in CAUSES {
        let error =
            format!("post-installation script of package {name} failed: it returned error exit status 1; its last");
        assert_fails(&mut bench.build(&["--include", name]), 1, &[&error, quoted, "giving up"], hint);
        assert_nothing_left(&bench.output());
    }
}

fn a_hook_is_its_own_packages_fault() {
    let hook = |script: &str| format!("#!/bin/sh\n{script}\n");
    let kernel = |name: &str, depends: &str| {
        let run = "run-parts --arg=6.12 /etc/kernel/postinst.d";
        Deb::new(name).field("Depends", depends).script("postinst", &format!("set -e\n{run}"))
    };
    let archive = archive()
        .with(
            Deb::new("zz-foo")
                .file_with_mode("/etc/kernel/postinst.d/zz-foo", hook("frobnicate"), 0o755)
                .control_file("conffiles", "/etc/kernel/postinst.d/zz-foo\n"),
        )
        .with(kernel("linux", "zz-foo"))
        .with(Deb::new("silent").file_with_mode("/etc/kernel/postinst.d/silent", hook("exit 7"), 0o755))
        .with(kernel("linux-other", "silent"))
        .with(
            Deb::new("maker")
                .directory("/etc/kernel/postinst.d")
                .script("postinst", "cd /etc/kernel/postinst.d; printf '#!/bin/sh\\nexit 7\\n' >made; chmod 755 made"),
        )
        .with(kernel("linux-made", "maker"));
    let bench = Bench::new(archive);
    let fails = |name: &str, error: &str, hint: &str| {
        let script = format!("post-installation script of package {name} failed: it returned error exit status");
        assert_fails(&mut bench.build(&["--include", name]), 1, &[&script, error], hint);
    };
    fails(
        "linux",
        ", in /etc/kernel/postinst.d/zz-foo of package zz-foo; its last lines:\n",
        "zz-foo needs frobnicate and does not depend on what has it",
    );
    fails("linux-other", ", in /etc/kernel/postinst.d/silent of package silent;", "a build without silent (");
    fails("linux-made", ", in /etc/kernel/postinst.d/made, which no package has;", "a build without linux-made (");
}

fn a_cause_is_quoted_however_much_was_printed_after_it() {
    let script = "frobnicate\nfor i in $(seq 100); do echo \"at function $i\"; done\nexit 1";
    let bench = Bench::new(
        archive().with(Deb::new("chatty").script("postinst", &script.replace("$(seq 100)", &"x ".repeat(100)))),
    );
    let error = ["; it had printed:\n  ", "frobnicate: not found\n  [...]\n  at function x\n"];
    assert_fails(&mut bench.build(&["--include", "chatty"]), 1, &error, "chatty needs frobnicate");
}
