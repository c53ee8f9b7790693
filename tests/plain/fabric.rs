//! The descriptions of a cluster before their judges: libvirt's schemas, and QEMU running the
//! launch script.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use fam_build::fabric::{Cluster, Hypervisor, Seed, domain_xml, launch_script, network_xml, ssh_config};
use fam_build::recipe::{FabricKind, Recipe, SectorSize};
use support::{fail, succeed};

support::tests! {
    needs [support::harness::ROOT, "qemu-img", "qemu-system-x86_64", "virt-xml-validate"];
    libvirt_finds_the_xml_valid,
    nodes_start_show_themselves_and_leave_nothing,
    its_ssh_configuration_is_the_one_that_was_built,
    a_shared_memory_that_was_there_is_kept,
    huge_pages_hold_the_shared_memory,
    an_emulator_without_the_device_is_refused,
    a_node_that_says_nothing_is_not_waited_for_for_ever,
    a_port_that_is_taken_is_passed_over,
    a_node_that_cannot_start_says_why_and_leaves_nothing,
    wrong_words_get_an_answer,
    the_program_runs_the_script_of_this_user,
}

/// A cluster of small nodes, with `more` in its recipe.
pub(crate) fn cluster(count: u8, more: &str) -> Cluster {
    let recipe = format!(
        "suite = 'trixie'\nnodes = {{ count = {count}, memory = '256M', cpus = 1{more} }}\nfabric.size = '16M'"
    );
    Cluster::new(&Recipe::parse("test", &recipe).unwrap())
}

/// By the verbs of the program: in the directory that is named, if the script there is the user's own.
fn the_program_runs_the_script_of_this_user() {
    let running = Running::new(2, 29022);
    let fam_build = |verb: &str, arguments: &[&str]| {
        let mut command = Command::new(support::public_program());
        command.args([verb, "--output"]).arg(running.directory.path()).args(arguments);
        command.envs([("ACCEL", "tcg"), ("NET", "user"), ("STOP_TIMEOUT", "1"), ("PORT", "29022")]);
        command.env("SHM", running.shared_memory.path().join("fabric_em"));
        command
    };
    let script = running.directory.path().join("fabric_emulation.bash");
    support::write_executable(&script, fs_err::read_to_string(&script).unwrap());
    assert!(succeed(&mut fam_build("up", &["2"])).contains("fabric2: started"));
    assert!(succeed(&mut fam_build("status", &[])).contains("fabric2      running"));
    assert!(fail(&mut fam_build("ssh", &["1", "uname", "-a"])).1.contains("fabric1 does not run"));
    succeed(&mut fam_build("stop", &[]));
    assert!(fail(&mut fam_build("log", &["3"])).1.contains("there is no node 3"));

    std::os::unix::fs::chown(&script, Some(4711), None).unwrap();
    assert!(fail(&mut fam_build("status", &[])).1.contains("is not this user's own file"));
    fs_err::remove_file(&script).unwrap();
    assert!(fail(&mut fam_build("status", &[])).1.contains("hint: name the directory of the images with --output"));
}

fn libvirt_finds_the_xml_valid() {
    let directory = tempfile::tempdir().unwrap();
    let validate = |name: &str, schema: &str, xml: String| {
        let path = directory.path().join(name);
        fs_err::write(&path, xml).unwrap();
        let output = Command::new("virt-xml-validate").arg(&path).arg(schema).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    };
    for count in [1, 4, 40, 253] {
        validate("network.xml", "network", network_xml(&cluster(count, ""), &Seed::from_bytes([1; 32])));
    }
    let cluster = cluster(253, "");
    let seed = Seed::from_bytes([1; 32]);
    for node in &cluster.nodes[251..] {
        for hypervisor in [Hypervisor::Kvm, Hypervisor::Qemu] {
            let odd = Path::new("/tmp/it's <odd> & \"so\"");
            let fabrics = [FabricKind::Ivshmem, FabricKind::Nvdimm, FabricKind::Cxl];
            for (fabric, sectors) in fabrics.map(|fabric| (fabric, 512)).into_iter().chain([(FabricKind::Cxl, 4096)]) {
                let mut cluster = cluster.clone();
                cluster.machine.fabric = fabric;
                cluster.machine.sector_size = SectorSize::try_from(sectors).unwrap();
                validate("domain.xml", "domain", domain_xml(&cluster, node, &seed, odd, hypervisor));
            }
        }
    }
}

/// A cluster of empty disks in a directory of its own. Dropped, it leaves nothing running.
pub(crate) struct Running {
    pub(crate) directory: tempfile::TempDir,
    shared_memory: tempfile::TempDir,
    /// Below 32768: from there on the kernel gives ports to whatever connects to something.
    port: u16,
}

impl Running {
    pub(crate) fn new(nodes: u8, port: u16) -> Self {
        Self::with(nodes, port, "")
    }

    /// With `more` in what the recipe says of the nodes.
    pub(crate) fn with(nodes: u8, port: u16, more: &str) -> Self {
        Self::of(&cluster(nodes, more), port)
    }

    /// One node, with a fabric of this kind, large enough for each.
    pub(crate) fn with_fabric(kind: FabricKind, port: u16) -> Self {
        let recipe = format!(
            "suite = 'trixie'\nnodes = {{ count = 1, memory = '256M', cpus = 1 }}\n\
             fabric = {{ kind = '{kind}', size = '256M' }}"
        );
        Self::of(&Cluster::new(&Recipe::parse("test", &recipe).unwrap()), port)
    }

    pub(crate) fn of(cluster: &Cluster, port: u16) -> Self {
        let directory = tempfile::Builder::new().prefix("a, 100% odd 'place'").tempdir().unwrap();
        fs_err::write(
            directory.path().join("fabric_emulation.bash"),
            launch_script(cluster, &Seed::from_bytes([port.to_be_bytes()[1]; 32])),
        )
        .unwrap();
        for node in &cluster.nodes {
            let image = directory.path().join(node.image());
            let status = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(image).arg("1G").status();
            assert!(status.unwrap().success());
        }
        let shared_memory = tempfile::tempdir_in("/dev/shm").unwrap();
        Self { directory, shared_memory, port }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(&[], arguments)
    }

    pub(crate) fn run_with(&self, environment: &[(&str, &Path)], arguments: &[&str]) -> Output {
        Command::new("bash")
            .arg(self.directory.path().join("fabric_emulation.bash"))
            .args(arguments)
            .current_dir("/")
            .envs([("ACCEL", "tcg"), ("NET", "user"), ("STOP_TIMEOUT", "1")])
            .env("PORT", self.port.to_string())
            .env("SHM", self.shared_memory.path().join("fabric_em"))
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    /// A connection to one of node 1's sockets.
    fn socket(&self, kind: &str) -> UnixStream {
        let socket =
            UnixStream::connect(self.directory.path().join("fabric_run").join(format!("fabric1.{kind}"))).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        socket
    }

    pub(crate) fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The command lines of the nodes that run from this directory.
    pub(crate) fn processes(&self) -> Vec<String> {
        let place = self.directory.path().to_str().unwrap();
        let is_node = |line: &String| line.contains(place) && line.contains("-pidfile");
        support::command_lines().into_iter().filter(is_node).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.run(&["stop"]);
    }
}

fn nodes_start_show_themselves_and_leave_nothing() {
    let running = Running::new(3, 21022);
    let before = running.files();
    let started = running.succeeds(&[]);
    assert!(started.contains("fabric1: started") && started.contains("fabric3: started"), "{started}");

    let processes = running.processes();
    assert_eq!(processes.len(), 3, "{processes:?}");
    assert!(processes.iter().all(|line| line.contains("ivshmem-plain,memdev=fabric,bus=pci.0,addr=04.0")));
    assert!(processes.iter().any(|line| line.contains("mac=52:54:48:50:45:02")));
    assert!(processes.iter().all(|line| line.contains(" -smp cpus=1,maxcpus=2 ") && line.contains(" -m 256M ")));
    let mut greeting = String::new();
    BufReader::new(running.socket("qmp")).read_line(&mut greeting).unwrap();
    assert!(greeting.starts_with("{\"QMP\":"), "{greeting}");
    running.socket("console");
    let shared_memory = running.shared_memory.path().join("fabric_em");
    assert_eq!(fs_err::metadata(&shared_memory).unwrap().len(), 16 << 20);

    let status = running.succeeds(&["status"]);
    assert!(status.lines().skip(1).all(|line| line.contains("running")), "{status}");
    assert!(status.contains("127.0.0.1 port 21024"), "{status}");
    assert!(running.succeeds(&["start", "2"]).contains("fabric2: runs already"));

    running.succeeds(&["stop", "2"]);
    assert_eq!(running.processes().len(), 2);
    assert!(running.succeeds(&["status"]).contains("fabric2      stopped"));
    running.succeeds(&["stop"]);
    assert_eq!(running.processes(), Vec::<String>::new());
    assert_eq!(running.files(), before);
    assert!(!shared_memory.exists());
}

fn its_ssh_configuration_is_the_one_that_was_built() {
    // Where these ports are taken on the host, the script rightly writes others, and this test says
    // so by failing.
    let running = Running::new(2, 10022);
    let place = running.directory.path();
    let built = ssh_config(&cluster(2, ""), place);
    for (name, content) in [("fabric_ssh_config", built.as_str()), ("fabric_ssh_key", ""), ("fabric_known_hosts", "")] {
        fs_err::write(place.join(name), content).unwrap();
    }
    running.succeeds(&["start"]);
    let written = fs_err::read_to_string(place.join("fabric_ssh_config")).unwrap();
    let without_head = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert_ne!(written, built, "the script names itself as the writer");
    assert_eq!(without_head(&written), without_head(&built));
}

fn a_shared_memory_that_was_there_is_kept() {
    let running = Running::new(1, 22022);
    let shared_memory = running.shared_memory.path().join("fabric_em");
    fs_err::write(&shared_memory, "somebody's").unwrap();
    let error = running.fails(&["start"]);
    assert!(error.contains("has 10 bytes, but the nodes share 16 MiB") && error.contains("hint:"), "{error}");
    fs_err::write(&shared_memory, vec![7; 16 << 20]).unwrap();
    assert!(running.succeeds(&["start"]).contains("which was there and keeps its contents"));
    running.succeeds(&["stop"]);
    assert_eq!(fs_err::read(&shared_memory).unwrap(), vec![7; 16 << 20]);
}

/// The pages that a pool has, set back at the end.
struct HugePages {
    mount: tempfile::TempDir,
    before: String,
}

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

impl HugePages {
    fn mount() -> Self {
        let mount = tempfile::tempdir().unwrap();
        let status =
            Command::new("mount").args(["-t", "hugetlbfs", "-o", "pagesize=2M", "none"]).arg(mount.path()).status();
        assert!(status.unwrap().success(), "this needs root");
        Self { mount, before: fs_err::read_to_string(POOL).unwrap() }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.mount.path()).status();
        let _ = fs_err::write(POOL, &self.before);
    }
}

fn huge_pages_hold_the_shared_memory() {
    let pages = HugePages::mount();
    let running = Running::new(1, 26022);
    let file = pages.mount.path().join("fabric_em");
    let environment = [("SHM", file.as_path())];
    fs_err::write(POOL, "0").unwrap();
    let output = running.run_with(&environment, &["start"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("the shared memory needs 8 huge pages of 2048 KiB, and 0 are free"), "{error}");
    assert!(error.contains(&format!("hint: set more aside: echo 8 | sudo tee {POOL}")), "{error}");
    fs_err::write(POOL, "8").unwrap();
    let output = running.run_with(&environment, &["start"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs_err::metadata(&file).unwrap().len(), 16 << 20);
    running.succeeds(&["stop"]);
    assert!(!file.exists());
}

fn an_emulator_without_the_device_is_refused() {
    let running = Running::new(1, 27022);
    let emulator = running.directory.path().join("old-qemu");
    fs_err::write(&emulator, "#!/bin/sh\necho 'name \"virtio-blk-pci\", bus PCI'\n").unwrap();
    let output = |mode| {
        fs_err::set_permissions(&emulator, PermissionsExt::from_mode(mode)).unwrap();
        let output = running.run_with(&[("QEMU", &emulator)], &["start"]);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let error = output(0o755);
    assert!(
        error.contains("without the device ivshmem-plain") && error.contains("hint: install another build"),
        "{error}"
    );
    assert_eq!(running.files(), ["fabric1.qcow2", "fabric_emulation.bash", "old-qemu"]);
    let error = output(0o644);
    assert!(error.contains("old-qemu is not installed\nhint: sudo apt install qemu-system-x86\n"), "{error}");
}

fn a_node_that_says_nothing_is_not_waited_for_for_ever() {
    let running = Running::new(1, 28022);
    running.succeeds(&["start"]);
    let output = running.run_with(&[("BOOT_TIMEOUT", Path::new("1"))], &["ssh", "1"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.starts_with("waiting for fabric1 to boot …\nerror: fabric1 does not answer, and wrote nothing"),
        "{error}"
    );
    assert!(error.contains("fabric_emulation.bash stop 1; ") && output.status.code() == Some(1), "{error}");
}

fn a_port_that_is_taken_is_passed_over() {
    let taken = std::net::TcpListener::bind("127.0.0.1:23023").unwrap();
    let running = Running::new(1, 23022);
    running.succeeds(&["start"]);
    assert!(running.succeeds(&["status"]).contains("127.0.0.1 port 23323"));
    drop(taken);
}

fn a_node_that_cannot_start_says_why_and_leaves_nothing() {
    let running = Running::new(1, 25022);
    fs_err::write(running.directory.path().join("fabric1.qcow2"), "no image").unwrap();
    let error = running.fails(&["start"]);
    assert!(error.contains("fabric1 does not start:") && error.contains("qcow2 format"), "{error}");
    assert_eq!(running.files(), ["fabric1.qcow2", "fabric_emulation.bash"]);
    assert_eq!(fs_err::read_dir(running.shared_memory.path()).unwrap().count(), 0);
}

fn wrong_words_get_an_answer() {
    let running = Running::new(2, 24022);
    for (arguments, message) in [
        (&["start", "3"][..], "there is no node 3\nhint: the nodes are 1 to 2"),
        (&["ssh"], "ssh takes the number of a node"),
        (&["ssh", "1"], "fabric1 does not run\nhint: start it:"),
        (&["log", "1"], "fabric1 has no log"),
        (&["network"], "network takes up or down"),
        (&["libvirt", "destroy"], "libvirt takes define, start, shutdown or undefine"),
        (&["frobnicate"], "Usage:"),
    ] {
        let error = running.fails(arguments);
        assert!(error.contains(message), "{arguments:?}: {error}");
    }
    let output = running.run_with(&[("BOOT_TIMEOUT", Path::new("5m"))], &["ssh", "1"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error: BOOT_TIMEOUT=5m is not a number from 0 to 99999\n");
    fs_err::remove_file(running.directory.path().join("fabric2.qcow2")).unwrap();
    assert!(running.fails(&["start"]).contains("fabric2.qcow2"));
    assert_eq!(running.files(), ["fabric1.qcow2", "fabric_emulation.bash"]);
}
