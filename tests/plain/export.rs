//! Nodes in the formats of other hypervisors, whole and thin: each format's own tool finds it sound,
//! and in it the disk that a guest sees.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::archive::{Deb, sha256};
use support::succeed;

use crate::small::{Bench, Who, archive, assert_failed, assert_fails, names, program_with};

support::tests! {
    needs [support::harness::ROOT, "dpkg-deb", "gpg", "python3", "qemu-img", "qemu-io", "skopeo", "tar", "umoci", "xmllint"];
    disks_are_what_a_guest_sees,
    an_ova_has_its_description_its_digests_and_its_disk,
    an_oci_image_has_the_disk_where_kubevirt_looks,
    an_incus_image_has_its_description_and_its_disk,
    further_disks_and_seeds_are_exported,
    a_disk_cannot_have_the_name_of_a_seed,
    the_same_disks_give_the_same_bytes,
    what_cannot_be_exported_is_named,
    an_interruption_leaves_nothing,
}

/// Two nodes, each a whole image or a thin one.
fn built(thin: bool) -> Bench {
    let bench = Bench::new(archive());
    let arguments: &[&str] = if thin { &["--nodes", "2", "--thin"] } else { &["--nodes", "2"] };
    succeed(&mut bench.build(arguments));
    bench
}

impl Bench {
    fn export(&self, arguments: &[&str]) -> Command {
        let mut command = program_with(Who::Root, &self.output(), &self.cache());
        command.arg("export").args(arguments);
        command
    }

    /// A file of the output directory.
    fn exported(&self, name: &str) -> PathBuf {
        self.output().join(name)
    }

    /// A fresh directory beside the output directory.
    fn place(&self, name: &str) -> PathBuf {
        let place = self.directory.path().join(name);
        fs_err::create_dir(&place).unwrap();
        place
    }

    /// Asserts that a disk has the bytes of a node's image.
    #[track_caller]
    fn assert_is_disk_of(&self, node: &str, disk: &Path, format: &str) {
        let mut compare = Command::new("qemu-img");
        let of_node = if node.ends_with(".img") { "raw" } else { "qcow2" };
        compare.args(["compare", "-f", of_node, "-F", format]).arg(self.exported(node)).arg(disk);
        // A difference in size is no more than a warning to it.
        assert_eq!(succeed(&mut compare).trim(), "Images are identical.", "{node} as {format}");
    }
}

/// One node with two more disks, of which a guest has written to one, and a seed for cloud-init.
fn built_with_disks(thin: bool) -> Bench {
    let cloud_init = Deb::new("cloud-init").essential().file_with_mode("/usr/bin/cloud-init", "#!/bin/sh\n", 0o755);
    let bench = Bench::new(archive().with(cloud_init));
    let disks = "extends = './tiny.toml'\nplugin.add = [{ name = 'identity' }]
        [[disk.more]]\nsize = '100M'\nlabel = 'data'\n[[disk.more]]\nsize = '8M'\nlabel = 'Log.1'\ntype = 'none'\n";
    let recipe = bench.write("disks.toml", disks).display().to_string();
    let arguments = ["--recipe", &recipe, "--thin"];
    succeed(&mut bench.build(if thin { &arguments } else { &arguments[..2] }));
    let mut guest = Command::new("qemu-io");
    succeed(guest.args(["-c", "write -P 7 5M 1M"]).arg(bench.exported("fabric1-data.qcow2")));
    bench
}

/// The disks of such a node, each with the name that it has in formats of disks.
const DISKS: [(&str, &str); 4] = [
    ("fabric1.qcow2", "fabric1"),
    ("fabric1-data.qcow2", "fabric1-data"),
    ("fabric1-Log.1.qcow2", "fabric1-Log.1"),
    ("fabric1-seed.img", "fabric1-seed"),
];

/// What qemu-img says of an image.
fn information(image: &Path) -> Value {
    let printed = succeed(Command::new("qemu-img").args(["info", "--output=json"]).arg(image));
    serde_json::from_str(&printed).unwrap()
}

fn disks_are_what_a_guest_sees() {
    for thin in [false, true] {
        let bench = built(thin);
        for changes in [&[][..], &["write -P 7 300M 3M", "write -z 0 64k", "discard 2M 1M", "write -P 1 1023M 512"]] {
            if !changes.is_empty() {
                let mut guest = Command::new("qemu-io");
                guest.args(changes.iter().flat_map(|change| ["-c", change]));
                succeed(guest.arg(bench.exported("fabric2.qcow2")));
            }
            let formats = if changes.is_empty() { &["vdi"][..] } else { &["vmdk", "vdi", "vhdx"] };
            for &format in formats {
                let said = succeed(&mut bench.export(&["--format", format]));
                assert!(said.contains(&format!("Wrote 2 nodes for {format}")), "{said}");
                for node in ["fabric1", "fabric2"] {
                    let disk = bench.exported(&format!("{node}.{format}"));
                    succeed(Command::new("qemu-img").args(["check", "-f", format]).arg(&disk));
                    bench.assert_is_disk_of(&format!("{node}.qcow2"), &disk, format);
                    assert_eq!(information(&disk)["virtual-size"], 1 << 30);
                    let metadata = fs_err::metadata(&disk).unwrap();
                    assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "it has the node's secrets");
                    assert!(said.contains(&format!("{node}.{format}")), "{said}");
                }
            }
        }
        let information = information(&bench.exported("fabric1.vmdk"));
        assert_eq!(information["format-specific"]["data"]["create-type"], "streamOptimized");
        // Only those that were asked for, and nothing beside them.
        fs_err::remove_file(bench.exported("fabric1.vdi")).unwrap();
        fs_err::remove_file(bench.exported("fabric2.vdi")).unwrap();
        let before = names(&bench.output());
        succeed(&mut bench.export(&["--format", "vdi", "2"]));
        let after: Vec<_> = names(&bench.output()).into_iter().filter(|name| !before.contains(name)).collect();
        assert_eq!(after, ["fabric2.vdi"]);
    }
}

fn an_ova_has_its_description_its_digests_and_its_disk() {
    let bench = built(true);
    succeed(&mut bench.export(&["--format", "ova", "1"]));
    let ova = bench.exported("fabric1.ova");
    let listed = succeed(Command::new("tar").arg("--list").arg("--file").arg(&ova));
    assert_eq!(listed, "fabric1.ovf\nfabric1.mf\nfabric1-disk1.vmdk\n");
    // Only such headers as every tar knows.
    let bytes = fs_err::read(&ova).unwrap();
    assert_eq!((&bytes[257..265], bytes[156]), (&b"ustar\x0000"[..], b'0'));

    let place = bench.place("unpacked");
    succeed(Command::new("tar").arg("--extract").arg("--file").arg(&ova).arg("--directory").arg(&place));
    let read = |name: &str| fs_err::read(place.join(name)).unwrap();
    let digest = |name: &str| format!("SHA256({name})= {}\n", sha256(&read(name)));
    let digests = digest("fabric1.ovf") + &digest("fabric1-disk1.vmdk");
    assert_eq!(String::from_utf8(read("fabric1.mf")).unwrap(), digests);
    bench.assert_is_disk_of("fabric1.qcow2", &place.join("fabric1-disk1.vmdk"), "vmdk");

    let description = place.join("fabric1.ovf");
    let value = |attribute: &str| {
        let path = format!("string(//@*[local-name()='{attribute}'])");
        succeed(Command::new("xmllint").args(["--xpath", &path]).arg(&description)).trim().to_owned()
    };
    assert_eq!(value("size"), read("fabric1-disk1.vmdk").len().to_string());
    assert_eq!(value("capacity"), (1_u64 << 30).to_string());
    assert_eq!(value("href"), "fabric1-disk1.vmdk");
}

fn an_oci_image_has_the_disk_where_kubevirt_looks() {
    let bench = built(true);
    succeed(&mut bench.export(&["--format", "oci", "--registry", "registry.example/vms", "2"]));
    let archive = format!("oci-archive:{}", bench.exported("fabric2.oci.tar").display());
    let inspected = succeed(Command::new("skopeo").args(["inspect", &archive]));
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!((&inspected["Architecture"], &inspected["Os"]), (&"amd64".into(), &"linux".into()), "{inspected}");
    assert_eq!(inspected["Layers"].as_array().unwrap().len(), 1);
    // As the build's bill of materials has it.
    let sbom: Value = serde_json::from_slice(&fs_err::read(bench.exported("fabric.spdx.json")).unwrap()).unwrap();
    assert_eq!(inspected["Created"], sbom["creationInfo"]["created"]);

    let place = bench.place("image");
    let layout = format!("oci:{}:copy", place.join("layout").display());
    // Checks each digest on the way.
    succeed(Command::new("skopeo").args(["--insecure-policy", "copy", &archive, &layout]));
    let image = format!("{}:copy", place.join("layout").display());
    succeed(Command::new("umoci").args(["unpack", "--image", &image]).arg(place.join("bundle")));
    let root = place.join("bundle/rootfs");
    assert_eq!((names(&root), names(&root.join("disk"))), (vec!["disk".to_owned()], vec!["fabric2.qcow2".to_owned()]));
    let disk = root.join("disk/fabric2.qcow2");
    let metadata = fs_err::metadata(&disk).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (107, 107, 0o440));
    succeed(Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&disk));
    bench.assert_is_disk_of("fabric2.qcow2", &disk, "qcow2");
    assert!(information(&disk).get("backing-filename").is_none(), "it must be whole by itself");

    let manifest = read_yaml(&bench.exported("fabric2.kubevirt.yaml"));
    assert_eq!((&manifest["kind"], &manifest["metadata"]["name"]), (&"VirtualMachine".into(), &"fabric2".into()));
    let machine = &manifest["spec"]["template"]["spec"];
    assert_eq!(machine["volumes"][0]["containerDisk"]["image"], "registry.example/vms/fabric2:latest");
    assert_eq!(machine["volumes"][0]["name"], machine["domain"]["devices"]["disks"][0]["name"]);
}

fn an_incus_image_has_its_description_and_its_disk() {
    let bench = built(true);
    succeed(&mut bench.export(&["--format", "incus", "1"]));
    let place = bench.place("image");
    let archive = bench.exported("fabric1.incus.tar");
    let listed = succeed(Command::new("tar").arg("--list").arg("--file").arg(&archive));
    assert_eq!(listed, "metadata.yaml\nrootfs.img\n");
    succeed(Command::new("tar").arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(&place));
    let description = fs_err::read_to_string(place.join("metadata.yaml")).unwrap();
    assert!(description.contains("architecture: x86_64\ncreation_date: 1"), "{description}");
    bench.assert_is_disk_of("fabric1.qcow2", &place.join("rootfs.img"), "qcow2");
}

fn further_disks_and_seeds_are_exported() {
    for thin in [false, true] {
        let bench = built_with_disks(thin);
        let private = |file: &Path| {
            let mode = fs_err::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        };
        for format in ["vmdk", "vdi", "vhdx"] {
            let said = succeed(&mut bench.export(&["--format", format]));
            for (image, name) in DISKS {
                let disk = bench.exported(&format!("{name}.{format}"));
                succeed(Command::new("qemu-img").args(["check", "-f", format]).arg(&disk));
                bench.assert_is_disk_of(image, &disk, format);
                private(&disk);
                assert!(said.contains(&format!("{name}.{format} ")), "{said}");
            }
        }

        succeed(&mut bench.export(&["--format", "ova"]));
        let place = bench.place("ova");
        let ova = bench.exported("fabric1.ova");
        succeed(Command::new("tar").arg("--extract").arg("--file").arg(&ova).arg("--directory").arg(&place));
        succeed(Command::new("sha256sum").args(["--check", "--strict", "fabric1.mf"]).current_dir(&place));
        let description = fs_err::read_to_string(place.join("fabric1.ovf")).unwrap();
        for ((image, name), number) in DISKS.into_iter().zip(1..) {
            let vmdk = format!("fabric1-disk{number}.vmdk");
            bench.assert_is_disk_of(image, &place.join(&vmdk), "vmdk");
            let bytes = fs_err::metadata(place.join(&vmdk)).unwrap().len();
            let file = format!("<File ovf:href=\"{vmdk}\" ovf:id=\"file{number}\" ovf:size=\"{bytes}\"/>");
            let size = information(&bench.exported(&format!("{name}.vdi")))["virtual-size"].clone();
            let disk = format!("<Disk ovf:capacity=\"{size}\" ovf:diskId=\"vmdisk{number}\"");
            assert!(description.contains(&file) && description.contains(&disk), "{file} {disk} {description}");
        }
        succeed(Command::new("xmllint").arg("--noout").arg(place.join("fabric1.ovf")));

        let said = succeed(&mut bench.export(&["--format", "incus"]));
        for (image, name) in &DISKS[1..3] {
            let disk = bench.exported(&format!("{name}.incus.img"));
            bench.assert_is_disk_of(image, &disk, "raw");
            private(&disk);
            assert!(said.contains(&format!("attached beside the image: {name} ")), "{said}");
        }
        assert!(said.contains("attached as it is: fabric1-seed "), "{said}");
        let data = fs_err::metadata(bench.exported("fabric1-data.incus.img")).unwrap();
        assert!(data.blocks() * 512 < data.len() / 4, "what is zeros is a hole: {data:?}");
        assert!(!bench.exported("fabric1-seed.incus.img").exists());

        let before = names(&bench.output());
        let said = succeed(&mut bench.export(&["--format", "proxmox"]));
        let after: Vec<_> = names(&bench.output()).into_iter().filter(|name| !before.contains(name)).collect();
        assert_eq!(after, ["fabric_proxmox.bash"], "{said}");
        let script = fs_err::read_to_string(bench.exported("fabric_proxmox.bash")).unwrap();
        assert!(script.contains("\nreadonly further_disks=(data Log.1)\n"), "{script}");
        assert_containers(&bench);
    }
}

/// Asserts that there is an OCI image with each disk, and a manifest of KubeVirt that names each.
fn assert_containers(bench: &Bench) {
    succeed(&mut bench.export(&["--format", "oci", "--registry", "registry.example/vms"]));
    let manifest = read_yaml(&bench.exported("fabric1.kubevirt.yaml"));
    let machine = &manifest["spec"]["template"]["spec"];
    let (disks, volumes) = (&machine["domain"]["devices"]["disks"], &machine["volumes"]);
    assert_eq!((disks.as_array().unwrap().len(), volumes.as_array().unwrap().len()), (4, 4), "{manifest}");
    let expected = [
        ("disk", Value::Null, "latest"),
        ("disk2", "data".into(), "disk-data"),
        ("disk3", "Log.1".into(), "disk-Log.1"),
        ("seed", Value::Null, "seed"),
    ];
    for ((index, (image, name)), (volume, serial, tag)) in DISKS.into_iter().enumerate().zip(expected) {
        assert_eq!((&disks[index]["name"], &disks[index]["serial"]), (&volume.into(), &serial));
        assert_eq!(volumes[index]["name"], volume);
        let pushed = format!("registry.example/vms/fabric1:{tag}");
        assert_eq!(volumes[index]["containerDisk"]["image"], pushed.as_str());
        let archive = format!("oci-archive:{}", bench.exported(&format!("{name}.oci.tar")).display());
        let text = fs_err::read_to_string(bench.exported("fabric1.kubevirt.yaml")).unwrap();
        assert!(text.contains(&format!("oci-archive:{name}.oci.tar docker://{pushed}\n")), "{text}");
        let place = bench.place(name);
        let layout = place.join("layout").display().to_string();
        // It takes names for docker's archives only as a registry would take them.
        let named = format!("docker-archive:{}:{pushed}", place.join("archive").display());
        for copy in [&format!("oci:{layout}:copy"), &named] {
            succeed(Command::new("skopeo").args(["--insecure-policy", "copy", &archive, copy]));
        }
        succeed(Command::new("umoci").args(["unpack", "--image", &format!("{layout}:copy")]).arg(place.join("bundle")));
        let directory = place.join("bundle/rootfs/disk");
        assert_eq!(names(&directory), [format!("{name}.qcow2")]);
        bench.assert_is_disk_of(image, &directory.join(format!("{name}.qcow2")), "qcow2");
    }
}

/// A document in YAML, read by Python.
fn read_yaml(path: &Path) -> Value {
    let to_json = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    serde_json::from_str(&succeed(Command::new("python3").args(["-c", to_json]).arg(path))).unwrap()
}

fn a_disk_cannot_have_the_name_of_a_seed() {
    let bench = Bench::new(archive());
    let disks = "extends = './tiny.toml'\n[[disk.more]]\nsize = '8M'\nlabel = 'Seed'\ntype = 'none'\n";
    let recipe = bench.write("seed.toml", disks).display().to_string();
    succeed(&mut bench.build(&["--recipe", &recipe]));
    let mut export = bench.export(&["--format", "vdi"]);
    succeed(&mut export);
    assert!(bench.exported("fabric1-Seed.vdi").exists());
    fs_err::write(bench.exported("fabric1-seed.img"), [0; 512]).unwrap();
    assert_fails(&mut export, 1, &["fabric1 has a disk labelled seed, and a seed"], "take fabric1-seed.img away");
}

fn the_same_disks_give_the_same_bytes() {
    let thin = built(true);
    let whole = Bench::new(archive());
    succeed(&mut whole.build(&["--nodes", "2", "--mirror", thin.mirror.url()]));
    for (format, suffix) in
        [("vmdk", "vmdk"), ("vdi", "vdi"), ("vhdx", "vhdx"), ("ova", "ova"), ("oci", "oci.tar"), ("incus", "incus.tar")]
    {
        let name = format!("fabric2.{suffix}");
        let written = |bench: &Bench, jobs: &str| {
            let mut command = bench.export(&["--format", format, "-j", jobs, "2"]);
            let said = succeed(command.env("SOURCE_DATE_EPOCH", "1750000000"));
            assert!(said.contains(&name), "{said}");
            fs_err::read(bench.exported(&name)).unwrap()
        };
        let first = written(&thin, "1");
        assert!(first == written(&thin, "3"), "{format}: again");
        assert!(first == written(&whole, "2"), "{format}: of a whole image");
    }
}

fn what_cannot_be_exported_is_named() {
    let bench = built(true);
    let output = bench.output();
    let image = bench.exported("fabric1.qcow2");
    let mode = |mode| fs_err::set_permissions(&image, std::fs::Permissions::from_mode(mode)).unwrap();
    let vmdk = |arguments: &[&str]| bench.export(&[&["--format", "vmdk"], arguments].concat());
    assert_fails(&mut vmdk(&["3"]), 2, &["there is no node 3: 2 were built"], "all nodes are written");
    let nowhere = bench.directory.path().join("nowhere");
    assert_fails(&mut vmdk(&["-o", nowhere.to_str().unwrap()]), 1, &["find out what was built"], "--output");
    assert!(!nowhere.exists());
    mode(0o666);
    assert_fails(&mut vmdk(&["1"]), 1, &["fabric1.qcow2", "others may write to it"], "take write permission");
    mode(0o600);
    fs_err::rename(bench.exported("fabric_backing.qcow2"), output.join("elsewhere")).unwrap();
    assert_fails(&mut vmdk(&[]), 1, &["fabric_backing.qcow2", "No such file"], "--output");
    fs_err::rename(output.join("elsewhere"), bench.exported("fabric_backing.qcow2")).unwrap();
    let secret = bench.write("secret", "known to root alone");
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret.to_str().unwrap()]).arg(&image).arg("1M");
    succeed(&mut create);
    assert_fails(&mut vmdk(&["1"]), 1, &["fabric1.qcow2 stands on", "secret"], "qemu-img convert");
    fs_err::write(&image, "no image").unwrap();
    // The other node is not written either: all are looked at first.
    assert_fails(&mut vmdk(&[]), 1, &["fabric1.qcow2 is no qcow2 image"], "build the node again");
    let left: Vec<_> =
        names(&output).into_iter().filter(|name| name.contains("vmdk") || name == ".fam-build").collect();
    assert!(left.is_empty(), "{left:?}");
}

fn an_interruption_leaves_nothing() {
    let bench = built(false);
    let image = bench.exported("fabric1.qcow2");
    // Takes long, and no room: it is known only when they are read that these are zeros.
    fs_err::File::create(bench.exported("large")).unwrap().set_len(16 << 30).unwrap();
    fs_err::remove_file(&image).unwrap();
    let create = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "large"];
    succeed(Command::new("qemu-img").args(create).arg(&image));
    fs_err::set_permissions(&image, std::fs::Permissions::from_mode(0o600)).unwrap();
    let before = names(&bench.output());
    let mut command = bench.export(&["--format", "vmdk", "1"]);
    let mut running = command.stderr(Stdio::piped()).spawn().unwrap();
    let part = bench.output().join(".fam-build/fabric1.vmdk.part");
    let begin = Instant::now();
    while !part.exists() {
        assert!(
            begin.elapsed() < Duration::from_secs(120) && running.try_wait().unwrap().is_none(),
            "it does not begin"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    let output = running.wait_with_output().unwrap();
    assert_failed(&output, 1, &["interrupted by ctrl-C"], "nothing unfinished is left");
    assert_eq!(names(&bench.output()), before);
}
