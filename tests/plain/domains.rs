//! What is added to domains of libvirt: libvirt takes it, makes of it what QEMU is to have, and runs it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::room::{OWN_LIBVIRT, OWN_NETWORK_AND_MEMORY, Room};
use support::{fail, succeed};

use crate::clusters::Files;

support::tests! {
    needs [support::harness::ROOT, "dnsmasq", "libvirtd", "qemu-img", "qemu-system-x86_64", "unshare", "virsh", "virt-xml-validate"];
    domains_get_what_nodes_get,
    domains_with_a_module_get_what_nodes_get,
    domains_with_cxl_get_what_nodes_get,
    a_domain_with_additions_runs,
    what_no_domain_can_have_is_said,
}

/// Before the real virsh, one that has libvirt's schemas judge each description.
fn virsh_that_validates(room: &Room) {
    let virsh = "#!/bin/sh
case \" $* \" in
    *' define '*)
        cat >/run/defined.xml
        virt-xml-validate /run/defined.xml domain >&2 || exit 1
        exec /usr/bin/virsh \"$@\" </run/defined.xml ;;
esac
exec /usr/bin/virsh \"$@\"
";
    fs_err::create_dir(room.path("/run/bin")).unwrap();
    support::write_executable(&room.path("/run/bin/virsh"), virsh);
}

const FIRST_IN_PATH: &str = "PATH=/run/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn create(path: &Path, format: &str) {
    succeed(Command::new("qemu-img").args(["create", "-q", "-f", format]).arg(path).arg("64M"));
}

/// The words that QEMU gets by libvirt's translation of a domain.
fn words(room: &Room, domain: &str) -> String {
    room.virsh(&["domxml-to-native", "qemu-argv", "--domain", domain])
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

fn domains_get_what_nodes_get() {
    defined_with_additions(21, "");
}

fn domains_with_a_module_get_what_nodes_get() {
    defined_with_additions(22, "fabric.kind = 'nvdimm'");
}

fn domains_with_cxl_get_what_nodes_get() {
    defined_with_additions(23, "fabric.kind = 'cxl'");
}

/// Domains of a cluster with this seed and more in its recipe have what is added to them.
fn defined_with_additions(seed: u8, more: &str) {
    let room = Room::open(&[OWN_NETWORK_AND_MEMORY, OWN_LIBVIRT]);
    virsh_that_validates(&room);
    let options = ", start-options = ['--disk', \"it's <{}> & more.img\", '--', '-fw_cfg', 'name=opt/a,string=<&>']";
    let files = Files::with(seed, "10.9.0.0/24", options, more);
    let place = files.directory.path();
    let at = |name: &str| place.join(name).display().to_string();
    for number in [1, 2] {
        create(&place.join(format!("it's <{number}> & more.img")), "raw");
        create(&place.join(format!("\"b\", {number}.qcow2")), "qcow2");
    }
    create(&place.join("fabric1-seed.img"), "raw");
    for name in ["cd.iso", "an <initrd>", "a & kernel"] {
        fs_err::write(place.join(name), [0; 4096]).unwrap();
    }
    fs_err::create_dir(place.join("tree, <too>")).unwrap();
    let share = format!("{}:my <tag>", at("tree, <too>"));
    let mut define = files.script_with(
        &room,
        &[FIRST_IN_PATH],
        &[
            "libvirt",
            "define",
            "--disk",
            &at("\"b\", {}.qcow2"),
            &format!("--cdrom={}", at("cd.iso")),
            "--share",
            &share,
            "--kernel",
            &at("a & kernel"),
            "--initrd",
            &at("an <initrd>"),
            "--append",
            "quiet 'it is'",
            "1",
        ],
    );
    has(&succeed(&mut define), &["fabric1: defined\n"]);
    let xml = room.virsh(&["dumpxml", "--inactive", "fabric1"]);
    let place = place.display();
    has(
        &xml,
        &[
            "<cmdline>root=PARTLABEL=root ro console=tty0 ",
            " quiet &apos;it is&apos;</cmdline>",
            &format!("<kernel>{place}/a &amp; kernel</kernel>"),
            &format!("<initrd>{place}/an &lt;initrd&gt;</initrd>"),
            "<filesystem type='mount' accessmode='squash' multidevs='remap'>",
            "<target dir='my &lt;tag&gt;'/>",
            "<qemu:arg value='name=opt/a,string=&lt;&amp;&gt;'/>",
        ],
    );
    // Its own disk, that of the recipe, that of the command, and behind them the seed.
    for (letter, format, file) in [
        ("a", "qcow2", "fabric1.qcow2"),
        ("b", "raw", "it&apos;s &lt;1&gt; &amp; more.img"),
        ("c", "qcow2", "&quot;b&quot;, 1.qcow2"),
        ("d", "raw", "fabric1-seed.img"),
    ] {
        let disk = xml.split("<disk ").find(|disk| disk.contains(&format!("<target dev='vd{letter}' bus='virtio'/>")));
        let disk = disk.unwrap_or_else(|| panic!("vd{letter}\n{xml}"));
        has(disk, &[&format!("type='{format}'"), &format!("<source file='{place}/{file}'/>")]);
    }
    let native = words(&room, "fabric1");
    has(
        &native,
        &[
            "security_model=none",
            "multidevs=remap",
            "virtio-scsi-pci",
            "scsi-cd",
            "-fw_cfg",
            "-initrd",
            "-kernel",
            "-append",
        ],
    );
    // The second has no seed of its own, and not what was added to the first.
    let share = format!("--virtiofs={}", at("tree, <too>"));
    let mut define = files.script_with(&room, &[FIRST_IN_PATH], &["libvirt", "define", "2", &share]);
    has(&succeed(&mut define), &["fabric2: defined"]);
    let xml = room.virsh(&["dumpxml", "--inactive", "fabric2"]);
    has(
        &xml,
        &[
            "more.img",
            "<qemu:arg value='name=opt/a,string=&lt;&amp;&gt;'/>",
            "<filesystem type='mount' accessmode='passthrough'>",
            "<driver type='virtiofs'/>",
            "<target dir='share'/>",
            "<source type='memfd'/>",
            "<access mode='shared'/>",
        ],
    );
    assert!(!xml.contains("seed") && !xml.contains("<kernel>") && !xml.contains("squash"), "{xml}");
    // It loses what is not added to it again.
    succeed(&mut files.script_with(&room, &[FIRST_IN_PATH], &["libvirt", "define", "1"]));
    let xml = room.virsh(&["dumpxml", "--inactive", "fabric1"]);
    assert!(xml.contains("fabric1-seed.img") && !xml.contains("<kernel>"), "{xml}");
    succeed(&mut files.script(&room, &["libvirt", "undefine"]));
}

/// By libvirt's QEMU, a user of its own, to whom libvirt gives what only its owner may read.
fn a_domain_with_additions_runs() {
    let room = Room::open(&[OWN_NETWORK_AND_MEMORY, OWN_LIBVIRT]);
    let files = Files::with(24, "10.9.0.0/24", "", "");
    let place = files.directory.path();
    for name in ["more.img", "cd.iso", "fabric1-seed.img"] {
        create(&place.join(name), "raw");
        fs_err::set_permissions(place.join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let at = |name: &str| place.join(name).display().to_string();
    fs_err::create_dir(place.join("tree")).unwrap();
    let share = at("tree");
    let (disk, cd) = (at("more.img"), at("cd.iso"));
    succeed(&mut files.script(&room, &["libvirt", "define", "--disk", &disk, "--cdrom", &cd, "--share", &share, "1"]));
    has(&succeed(&mut files.script(&room, &["libvirt", "start", "1"])), &["fabric1: started"]);
    let processes = support::command_lines();
    let line = processes.iter().find(|line| line.contains("guest=fabric1,") && line.contains(&disk)).unwrap();
    has(line, &["/cd.iso", "/fabric1-seed.img", "security_model=none", "mount_tag\":\"share\""]);
    // And gives it back, so that a process of its owner has it, too.
    let owners = || succeed(Command::new("stat").args(["-c", "%U"]).arg(place.join("fabric1-seed.img")).arg(&disk));
    assert_eq!(owners(), "libvirt-qemu\nlibvirt-qemu\n");
    succeed(&mut files.script(&room, &["libvirt", "shutdown", "1"]));
    assert_eq!(owners(), "root\nroot\n");
}

fn what_no_domain_can_have_is_said() {
    let room = Room::open(&[OWN_NETWORK_AND_MEMORY, OWN_LIBVIRT]);
    let files = Files::with(25, "10.9.0.0/24", "", "");
    for (arguments, message) in [
        (&["--disk", "/nowhere/x{}.img"][..], "--disk /nowhere/x1.img: it is not there"),
        (&["--append", "quiet"], "--append is for a kernel of your own"),
        (&["--drive", "x"], "there is no option --drive"),
        (&["--", "-append", "a\nb"], "libvirt can be told no control characters, as in $'a\\nb'"),
    ] {
        let error = fail(files.script(&room, &["libvirt", "define"]).args(arguments)).1;
        has(&error, &[&format!("error: {message}")]);
    }
    assert_eq!(room.virsh(&["list", "--all", "--name"]).trim(), "");
    // Its network leads to every port.
    let output = files.script(&room, &["libvirt", "define", "--forward", "8080:80", "2"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    has(&said, &["warning: fabric2: --forward is for user mode; as a domain it is at 10.9.0.2"]);
}
