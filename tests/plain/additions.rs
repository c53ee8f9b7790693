//! What people add to nodes for one start, or in the recipe: QEMU gets it, and takes it.

use std::path::Path;
use std::process::Command;

use fam_build::recipe::FabricKind;
use support::succeed;

use crate::fabric::Running;

support::tests! {
    needs [support::harness::ROOT, "qemu-img", "qemu-system-x86_64"];
    disks_ports_and_directories_are_added,
    each_fabric_leaves_room_for_what_is_added,
    a_kernel_of_ones_own_is_booted_without_grub,
    the_recipe_says_what_is_always_added,
    ports_lead_to_static_addresses,
    what_is_not_there_is_said_before_any_node_starts,
}

/// Whether words of QEMU's follow each other on the command line of node `number`.
#[track_caller]
fn has(running: &Running, number: u8, words: &str) {
    let name = format!("-name fabric{number} ");
    let processes = running.processes();
    let line = processes.iter().find(|line| line.contains(&name)).unwrap_or_else(|| panic!("{processes:#?}"));
    assert!(line.contains(words), "{words}\n{line}");
}

fn create(path: &Path, format: &str) {
    succeed(Command::new("qemu-img").args(["create", "-q", "-f", format]).arg(path).arg("64M"));
}

fn disks_ports_and_directories_are_added() {
    let running = Running::new(2, 13022);
    let place = running.directory.path();
    let at = |name: &str| place.join(name).display().to_string();
    create(Path::new(&at("one, two.qcow2")), "qcow2");
    create(Path::new(&at("mine1.img")), "raw");
    create(Path::new(&at("mine2.img")), "raw");
    fs_err::create_dir(place.join("tree")).unwrap();
    succeed(Command::new("truncate").args(["-s", "2M", &at("cd.iso")]));
    running.succeeds(&[
        "start",
        "--disk",
        &at("mine{}.img"),
        &format!("--cdrom={}", at("cd.iso")),
        "--forward",
        "13180:80",
        "--share",
        &format!("{}:src", at("tree")),
        "1",
        "2",
        "--",
        "-fw_cfg",
        "name=opt/test,string=a b",
    ]);
    let doubled = place.display().to_string().replace(',', ",,");
    for number in [1, 2] {
        has(
            &running,
            number,
            &format!("format=raw,discard=unmap,file={doubled}/mine{number}.img -device virtio-blk-pci,"),
        );
        has(&running, number, &format!("media=cdrom,readonly=on,format=raw,file={doubled}/cd.iso -device scsi-cd,"));
        has(&running, number, &format!(",hostfwd=tcp:127.0.0.1:{}-:80,net=", 13179 + u32::from(number)));
        has(
            &running,
            number,
            &format!("security_model=none,multidevs=remap,path={doubled}/tree -device virtio-9p-pci,"),
        );
        has(&running, number, ",mount_tag=src ");
        has(&running, number, "-fw_cfg name=opt/test,string=a b ");
    }
    running.succeeds(&["stop"]);

    running.succeeds(&["start", "--disk", &at("one, two.qcow2"), "2"]);
    has(&running, 2, &format!("format=qcow2,discard=unmap,file={doubled}/one,, two.qcow2 "));
    assert_eq!(running.processes().len(), 1);
}

/// With CXL there is a bridge on whose bus nothing may be added.
fn each_fabric_leaves_room_for_what_is_added() {
    for (kind, port) in [(FabricKind::Nvdimm, 14322), (FabricKind::Cxl, 14622)] {
        let running = Running::with_fabric(kind, port);
        let at = |name: &str| running.directory.path().join(name).display().to_string();
        for name in ["disk.img", "cd.iso", "fabric1-seed.img"] {
            create(Path::new(&at(name)), "raw");
        }
        let (disk, cd, share) = (at("disk.img"), at("cd.iso"), running.directory.path().display().to_string());
        running.succeeds(&["start", "--disk", &disk, "--cdrom", &cd, "--share", &share]);
        for device in ["virtio-blk-pci", "virtio-scsi-pci", "virtio-9p-pci"] {
            has(&running, 1, &format!(" -device {device},bus="));
        }
        has(&running, 1, ",drive=seed ");
    }
}

fn a_kernel_of_ones_own_is_booted_without_grub() {
    let running = Running::new(1, 13322);
    // Any file passes for a kernel until the firmware looks at it.
    for name in ["kernel", "initrd"] {
        fs_err::write(running.directory.path().join(name), [0; 4096]).unwrap();
    }
    let at = |name: &str| running.directory.path().join(name).display().to_string();
    let (kernel, initrd) = (at("kernel"), at("initrd"));
    let said = running.fails(&["start", "--initrd", &initrd]);
    assert!(
        said.starts_with("error: --initrd is for a kernel of your own\nhint: name that, too: --kernel FILE\n"),
        "{said}"
    );
    let output = running.run(&["start", "--kernel", &kernel, "--initrd", &initrd, "--append", "quiet init=/bin/sh"]);
    let said = String::from_utf8_lossy(&output.stderr);
    // QEMU looks into it, and says what it misses.
    assert!(output.status.success() || said.contains("PVH") || said.contains("kernel"), "{said}");
    if output.status.success() {
        has(&running, 1, &format!("-initrd {initrd} -kernel {kernel} -append root=PARTLABEL=root ro console=tty0 "));
        has(&running, 1, " quiet init=/bin/sh");
    }
}

fn the_recipe_says_what_is_always_added() {
    let running = Running::with(2, 13622, ", start-options = ['--disk', \"it's {}.img\", '--forward=13780:80']");
    for number in [1, 2] {
        create(&running.directory.path().join(format!("it's {number}.img")), "raw");
    }
    running.succeeds(&["start", "--forward", "13880:443"]);
    for number in [1, 2_u8] {
        has(&running, number, &format!("/it's {number}.img -device"));
        let forwards = format!(
            ",hostfwd=tcp:127.0.0.1:{}-:80,hostfwd=tcp:127.0.0.1:{}-:443,",
            13779 + u32::from(number),
            13879 + u32::from(number)
        );
        has(&running, number, &forwards);
    }
}

fn ports_lead_to_static_addresses() {
    let running = Running::with(2, 13722, ", network = '10.9.8.0/24', addresses = 'static'");
    running.succeeds(&["start", "--forward", "13980:80"]);
    for number in [1, 2_u16] {
        let forwards = format!(
            ",hostfwd=tcp:127.0.0.1:{}-10.9.8.{number}:22,hostfwd=tcp:127.0.0.1:{}-10.9.8.{number}:80,net=10.9.8.248/29,",
            13722 + number,
            13979 + number
        );
        has(&running, u8::try_from(number).unwrap(), &forwards);
    }
}

fn what_is_not_there_is_said_before_any_node_starts() {
    let running = Running::new(2, 13922);
    for (arguments, message) in [
        (&["start", "--disk", "/nowhere/x{}.img"][..], "--disk /nowhere/x1.img: it is not there"),
        (&["start", "--cdrom", "/nowhere/cd"], "--cdrom /nowhere/cd: it is not there"),
        (&["start", "--share", "/nowhere:src"], "--share /nowhere:src: there is no such directory"),
        (&["start", "--kernel", "/nowhere/k"], "--kernel /nowhere/k: it is not there"),
        (&["start", "--forward", "80"], "--forward 80: two ports were expected, as in 8080:80"),
        (&["start", "--forward", "70000:80"], "--forward 70000:80: two ports were expected"),
        (&["start", "--disk"], "--disk takes a value"),
        (&["start", "-device", "e1000"], "there is no option -device\nhint: see: "),
        (&["savevm", "a"], "a running node cannot be saved"),
    ] {
        let error = running.fails(arguments);
        assert!(error.starts_with(&format!("error: {message}")), "{arguments:?}: {error}");
    }
    assert_eq!(running.processes(), Vec::<String>::new());
    assert!(!running.directory.path().join("fabric_run").exists());
}
