//! What is exported, before programs of those that it is for, each in a root of its own: Incus, without a
//! network and without KVM, which it needs only where a machine starts; and virt-v2v, which takes machines
//! from VMware.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::archive::sha256;
use support::bare::{command_in_as_root, prepare_root};
use support::harness::ROOT;
use support::root::root_of;
use support::{SMALL_SYSTEM, fail, succeed};
use tempfile::TempDir;

use crate::small::{Bench, Who, archive, program_with};

support::tests! {
    needs [ROOT, "dpkg-deb", "gpg"];
    incus_takes_an_image_and_its_disks,
    virt_v2v_finds_each_device_of_a_machine,
}

/// A node with these further disks, exported.
fn exported(format: &str, labels: &[&str]) -> Bench {
    let bench = Bench::new(archive());
    let disks: Vec<_> = labels.iter().map(|label| format!("{{ size = '100M', label = '{label}' }}")).collect();
    let recipe = format!("extends = './tiny.toml'\nnodes.memory = '1G'\ndisk.more = [{}]\n", disks.join(", "));
    let recipe = bench.write("disks.toml", &recipe).display().to_string();
    succeed(&mut bench.build(&["--recipe", &recipe]));
    let mut export = program_with(Who::Root, &bench.output(), &bench.cache());
    succeed(export.args(["export", "--format", format]));
    bench
}

/// A root of Debian with this package, which has these artifacts in its directory `images`.
fn root_with(package: &str, bench: &Bench, artifacts: &[&str]) -> TempDir {
    let system = SMALL_SYSTEM.replace("1G", "4G");
    let root = root_of(&format!("include = [\"{package}\"]\n{system}"));
    prepare_root(root.path());
    let images = images(root.path());
    fs_err::create_dir(&images).unwrap();
    for name in artifacts {
        succeed(Command::new("cp").arg("--sparse=always").arg(bench.output().join(name)).arg(&images));
    }
    root
}

fn images(root: &Path) -> PathBuf {
    root.join("images")
}

/// Starts Incus, imports the image, and says what Incus has then. The settings of the profile are those
/// that docs/export.md names.
const IN_ROOT: &str = r"
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
/usr/libexec/incus/incusd --group root --logfile /incusd.log 2>/dev/null &
{
    incus admin waitready --timeout 120
    cd /images
    incus image import fabric1.incus.tar --alias fabric1
    incus profile create machine
    incus profile set machine security.secureboot=false
    incus profile set machine raw.qemu='-object memory-backend-file,id=fabric,share=on,mem-path=/dev/shm/fabric_em,size=1024M -device ivshmem-plain,memdev=fabric'
    incus profile set machine raw.apparmor='/dev/shm/fabric_em rwk,'
    incus profile device add machine data disk source=/images/fabric1-data.incus.img
    incus profile device add machine seed disk source=/images/fabric1-seed.img readonly=true
} >&2
incus query /1.0/images?recursion=1
";

fn incus_takes_an_image_and_its_disks() {
    let bench = exported("incus", &["data"]);
    let root = root_with("incus-base", &bench, &["fabric1.incus.tar", "fabric1-data.incus.img"]);
    let mut unshare = command_in_as_root(root.path(), "unshare");
    unshare.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", IN_ROOT]);
    let listed: Value = serde_json::from_str(&succeed(&mut unshare)).unwrap();
    let [image] = &listed.as_array().unwrap()[..] else { panic!("{listed}") };
    let sbom: Value = serde_json::from_slice(&fs_err::read(bench.output().join("fabric.spdx.json")).unwrap()).unwrap();
    let imported = fs_err::read(images(root.path()).join("fabric1.incus.tar")).unwrap();
    for (key, expected) in [
        ("type", "virtual-machine".into()),
        ("architecture", "x86_64".into()),
        ("fingerprint", sha256(&imported).into()),
        ("created_at", sbom["creationInfo"]["created"].clone()),
    ] {
        assert_eq!(image[key], expected, "{image}");
    }
    let properties = &image["properties"];
    assert_eq!((&properties["name"], &properties["requirements.secureboot"]), (&"fabric1".into(), &"false".into()));
}

fn virt_v2v_finds_each_device_of_a_machine() {
    let bench = exported("ova", &["a", "b", "c", "d"]);
    let root = root_with("virt-v2v", &bench, &["fabric1.ova"]);
    let read = || {
        let mut virt_v2v = command_in_as_root(root.path(), "virt-v2v");
        virt_v2v.args(["-i", "ova", "/images/fabric1.ova", "--print-source"]);
        virt_v2v
    };
    let said = succeed(&mut read());
    for expected in [
        "source name: fabric1\n",
        "memory: 1073741824 (bytes)\n",
        "nr vCPUs: 2\n",
        "disks:\n\t0 [ide]\n\t1 [ide]\n\t2 [ide]\n\t3 [ide]\n\t4 [scsi]\n",
        "NICs:\n\tBridge \"NAT\" [e1000]\n",
    ] {
        assert!(said.contains(expected), "{expected} {said}");
    }
    // The digests are those of the files: with another byte of the last disk it refuses them.
    let ova = images(root.path()).join("fabric1.ova");
    let mut bytes = fs_err::read(&ova).unwrap();
    let place = bytes.len() - (30 << 10);
    bytes[place] ^= 1;
    fs_err::write(&ova, bytes).unwrap();
    let (_, said) = fail(&mut read());
    assert!(said.contains("-disk5.vmdk"), "{said}");
}
