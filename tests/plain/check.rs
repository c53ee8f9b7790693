//! What the launch script finds out about a host that has all, or lacks something: one line for each thing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use fam_build::fabric::{Cluster, Seed, launch_script};
use fam_build::recipe::Recipe;
use support::{as_user, succeed};

support::tests! {
    needs [support::harness::ROOT, "qemu-system-x86_64", "unshare"];
    a_host_that_has_all_has_no_fault,
    missing_tools_are_named,
    an_emulator_is_examined_for_its_device,
    cxl_memory_is_mapped_by_a_newer_emulator,
    a_bridge_helper_may_have_a_capability_in_place_of_roots_rights,
    shared_memory_and_ports_follow_the_environment,
    a_network_that_is_defined_and_inactive_is_started,
}

const IVSHMEM: &str = "size = '16M'";

fn script(fabric: &str) -> String {
    let recipe = format!("suite = 'trixie'\nnodes = {{ count = 2, memory = '256M' }}\nfabric = {{ {fabric} }}");
    launch_script(&Cluster::new(&Recipe::parse("test", &recipe).unwrap()), &Seed::from_bytes([1; 32]))
}

/// What was found, by the thing: verdict, detail, hint.
type Found = BTreeMap<String, [String; 3]>;

/// Runs `check` by `command`, which runs bash.
fn check(mut command: Command, script: &str) -> (i32, Found) {
    let output = command.args(["-c", script, "./fabric_emulation.bash", "check"]).output().unwrap();
    let (said, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(errors, "");
    let found = said.lines().map(|line| {
        let fields: Vec<_> = line.split('\t').map(str::to_owned).collect();
        let [verdict, thing, detail, hint] = fields.try_into().unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(verdict == "ok", hint.is_empty(), "{line}");
        (thing, [verdict, detail, hint])
    });
    (output.status.code().unwrap(), found.collect())
}

#[track_caller]
fn shows(found: &Found, thing: &str, verdict: &str, detail: &str, hint: &str) {
    let [v, d, h] = found.get(thing).unwrap_or_else(|| panic!("nothing on {thing}: {found:#?}"));
    assert!(v == verdict && d.contains(detail) && h.contains(hint), "{thing}: {v} {d} {h}");
}

fn a_host_that_has_all_has_no_fault() {
    for bash in [Command::new("/bin/bash"), as_user("/bin/bash")] {
        let (code, found) = check(bash, &script(IVSHMEM));
        assert!(code == 0 && found.values().all(|[verdict, ..]| verdict != "fault"), "{found:#?}");
        shows(&found, "QEMU", "ok", "qemu-system-x86_64, version ", "");
        shows(&found, "fabric ivshmem", "ok", "has the device ivshmem-plain", "");
        shows(&found, "shared memory", "ok", "/dev/shm/fabric_em", "");
        for thing in ["tools", "KVM", "bridge", "bridge helper", "memory of the nodes", "libvirt", "ssh", "socat"] {
            assert!(found.contains_key(thing), "{thing}: {found:#?}");
        }
    }
    let (_, found) = check(Command::new("/bin/bash"), &script("kind = 'cxl', size = '256M'"));
    shows(&found, "fabric cxl", "ok", "has the device cxl-type3", "");
    shows(&found, "KVM", "warning", "programs may fail in KVM on CXL memory that QEMU emulates", "install QEMU 11.1");
}

/// By what a QEMU does with it, which the version of a wrapper tells.
fn cxl_memory_is_mapped_by_a_newer_emulator() {
    let directory = tempfile::tempdir().unwrap();
    let emulator = directory.path().join("qemu");
    for (version, maps) in [("10.0.2", false), ("11.0.9", false), ("11.1.3", true), ("12.0.0", true)] {
        let wrapper = format!(
            "#!/bin/sh\n[ $1 != --version ] || {{ echo 'QEMU emulator version {version}'; exit; }}\n\
             exec qemu-system-x86_64 \"$@\"\n"
        );
        support::write_executable(&emulator, wrapper);
        let mut bash = Command::new("/bin/bash");
        bash.env("QEMU", &emulator);
        let (_, found) = check(bash, &script("kind = 'cxl', size = '256M'"));
        let of_memory = if maps { "maps its memory" } else { "emulates each access to its memory" };
        shows(&found, "fabric cxl", "ok", of_memory, "");
        assert_eq!(found["KVM"][1].contains("programs may fail"), !maps, "{version}: {found:#?}");
    }
}

fn missing_tools_are_named() {
    let mut bash = Command::new("/bin/bash");
    bash.env("PATH", "/nowhere");
    let (code, found) = check(bash, &script(IVSHMEM));
    assert_eq!((code, found.len()), (1, 1));
    shows(&found, "tools", "fault", "not installed: awk basename cat ", "coreutils grep gawk");
}

fn an_emulator_is_examined_for_its_device() {
    let directory = tempfile::tempdir().unwrap();
    let emulator = directory.path().join("old-qemu");
    support::write_executable(&emulator, "#!/bin/sh\necho 'QEMU emulator version 4.2.0'\n");
    let with = |emulator: &Path| {
        let mut bash = Command::new("/bin/bash");
        bash.env("QEMU", emulator);
        check(bash, &script(IVSHMEM))
    };
    let (code, found) = with(&emulator);
    assert_eq!(code, 1);
    shows(&found, "QEMU", "ok", "old-qemu, version 4.2.0", "");
    shows(&found, "fabric ivshmem", "fault", "was built without the device ivshmem-plain", "install another build");
    let (code, found) = with(Path::new("/nowhere/qemu"));
    assert_eq!(code, 1);
    shows(&found, "QEMU", "fault", "/nowhere/qemu is not installed", "qemu-system-x86");
}

/// In a mount namespace of their own, where another helper stands in the place of the host's.
fn a_bridge_helper_may_have_a_capability_in_place_of_roots_rights() {
    const HELPER: &str = "/usr/lib/qemu/qemu-bridge-helper";
    // CAP_NET_ADMIN, permitted and effective, of revision 2 (linux/capability.h).
    let capability: Vec<u8> = [0x0200_0001_u32, 1 << 12, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    let directory = support::directory_of("root");
    let helper = directory.path().join("helper");
    fs_err::copy(HELPER, &helper).unwrap();
    fs_err::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (with, verdict, detail) in [(false, "warning", "may not make interfaces for users"), (true, "ok", HELPER)] {
        if with {
            rustix::fs::setxattr(&helper, "security.capability", &capability, rustix::fs::XattrFlags::empty()).unwrap();
        }
        let user = as_user("/bin/bash");
        let mut command = Command::new("unshare");
        let bind = "mount --bind \"$0\" \"$1\"; [ -e /dev/net/tun ] && chmod 666 /dev/net/tun; shift; exec \"$@\"";
        command
            .args(["--mount", "sh", "-c", bind])
            .arg(&helper)
            .arg(HELPER)
            .arg(user.get_program())
            .args(user.get_args());
        let (_, found) = check(command, &script(IVSHMEM));
        shows(&found, "bridge helper", verdict, detail, "");
    }
}

fn shared_memory_and_ports_follow_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("memory");
    fs_err::write(&file, "somebody's").unwrap();
    let with = |shm: &Path| {
        let mut bash = Command::new("/bin/bash");
        bash.env("SHM", shm);
        check(bash, &script(IVSHMEM))
    };
    let (code, found) = with(&file);
    assert_eq!(code, 1);
    shows(&found, "shared memory", "fault", "has 10 bytes, but the nodes share 16 MiB", "SHM=FILE");
    fs_err::write(&file, vec![0; 16 << 20]).unwrap();
    shows(&with(&file).1, "shared memory", "ok", "which was there and keeps its contents", "");
    shows(&with(Path::new("/nowhere/memory")).1, "shared memory", "fault", "cannot be made", "SHM=FILE");
}

/// After the host has started anew, libvirt knows the network and has not started it.
fn a_network_that_is_defined_and_inactive_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let (virsh, launch) = (directory.path().join("virsh"), directory.path().join("fabric_emulation.bash"));
    let script = script(IVSHMEM);
    let uuid = script.split_once("network_uuid=").unwrap().1.lines().next().unwrap();
    support::write_executable(&launch, &script);
    for (active, expected) in [("no", &["net-start fabric_emul"][..]), ("yes", &[])] {
        let log = directory.path().join(active);
        let fake = format!(
            "#!/bin/sh\nshift 3\necho \"$*\" >>{}\ncase \"$*\" in 'net-uuid fabric_emul') echo {uuid} ;; net-info*) printf \
             'Name:           fabric_emul\\nActive:         {active}\\nPersistent:     yes\\n' ;; esac\n",
            log.display()
        );
        support::write_executable(&virsh, fake);
        let mut command = Command::new(&launch);
        let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
        let said = succeed(command.args(["network", "up"]).env("PATH", path));
        assert_eq!(said, "network fabric_emul is up on bridge fabric_em\n");
        let asked = fs_err::read_to_string(log).unwrap();
        let changed: Vec<_> =
            asked.lines().filter(|line| line.starts_with("net-start") || line.contains("define")).collect();
        assert_eq!(changed, expected, "{asked}");
    }
}
