//! Several clusters on one host: the first has the well-known names, each other one its own. They run
//! in namespaces, since the well-known names of this host may be in use.

use std::process::Command;

use fam_build::fabric::{Cluster, Hypervisor, Seed, domain_xml, launch_script, network_xml};
use fam_build::recipe::Recipe;
use support::room::{OWN_LIBVIRT, OWN_NETWORK_AND_MEMORY, Room};
use support::{fail, succeed};

support::tests! {
    needs [support::harness::ROOT, "dnsmasq", "libvirtd", "qemu-img", "qemu-system-x86_64", "unshare", "virsh"];
    a_second_cluster_has_a_memory_of_its_own,
    a_cluster_passes_by_the_memory_of_another_user,
    a_memory_that_is_shared_on_purpose_stays_for_the_other,
    a_second_cluster_has_a_network_and_domains_of_its_own,
    a_domain_of_a_stranger_keeps_its_name,
}

/// Two nodes with empty disks, and all that runs them, in a directory of their own.
pub(crate) struct Files {
    pub(crate) directory: tempfile::TempDir,
    /// What its own names end in.
    id: String,
}

impl Files {
    fn new(seed: u8, subnet: &str) -> Self {
        Self::with(seed, subnet, "", "")
    }

    /// With `of_nodes` in what the recipe says of the nodes, and `more` behind that.
    pub(crate) fn with(seed: u8, subnet: &str, of_nodes: &str, more: &str) -> Self {
        let recipe = format!(
            "suite = 'trixie'\nnodes = {{ count = 2, memory = '256M', cpus = 1, network = '{subnet}'{of_nodes} }}\n\
             fabric.size = '16M'\n{more}"
        );
        let (cluster, seed) = (Cluster::new(&Recipe::parse("test", &recipe).unwrap()), Seed::from_bytes([seed; 32]));
        let directory = support::directory_of("root");
        fs_err::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let put = |name: &str, text: &str| fs_err::write(directory.path().join(name), text).unwrap();
        let script = launch_script(&cluster, &seed);
        put("fabric_emulation.bash", &script);
        put("fabric_network.xml", &network_xml(&cluster, &seed));
        for node in &cluster.nodes {
            put(
                &format!("{}.xml", node.name()),
                &domain_xml(&cluster, node, &seed, directory.path(), Hypervisor::Qemu),
            );
            succeed(
                Command::new("qemu-img")
                    .args(["create", "-q", "-f", "qcow2"])
                    .arg(directory.path().join(node.image()))
                    .arg("1G"),
            );
        }
        let id = script.split_once("own_bridge=fabric_em_").unwrap().1[..4].to_owned();
        Self { directory, id }
    }

    pub(crate) fn script(&self, room: &Room, arguments: &[&str]) -> Command {
        self.script_with(room, &[], arguments)
    }

    pub(crate) fn script_with(&self, room: &Room, variables: &[&str], arguments: &[&str]) -> Command {
        let mut command = room.command("/usr/bin/env");
        command.args(["ACCEL=tcg", "STOP_TIMEOUT=0"]).args(variables).arg("bash");
        command.arg(self.directory.path().join("fabric_emulation.bash")).args(arguments);
        command
    }

    /// The command lines of its nodes.
    fn processes(&self) -> Vec<String> {
        let pidfile = format!("-pidfile {}/", self.directory.path().display());
        support::command_lines().into_iter().filter(|line| line.contains(&pidfile)).collect()
    }

    #[track_caller]
    fn all_have(&self, nodes: usize, argument: &str) {
        let processes = self.processes();
        assert_eq!(processes.len(), nodes, "{processes:#?}");
        assert!(processes.iter().all(|line| line.contains(argument)), "{argument}: {processes:#?}");
    }
}

fn a_second_cluster_has_a_memory_of_its_own() {
    let room = Room::open(&[OWN_NETWORK_AND_MEMORY]);
    let (first, second) = (Files::new(1, "10.1.0.0/24"), Files::new(2, "10.1.0.0/24"));
    let own = format!("/dev/shm/fabric_em_{}", second.id);
    let is_there = |memory: &str| room.path(memory).exists();

    assert!(succeed(&mut first.script(&room, &["start"])).contains("shared memory: /dev/shm/fabric_em, 16 MiB"));
    let said = succeed(&mut second.script(&room, &["start", "1"]));
    assert!(said.contains(&format!("shared memory: {own}, 16 MiB")), "{said}");
    first.all_have(2, "mem-path=/dev/shm/fabric_em,");
    first.all_have(2, "mac=52:54:48:50:45:");
    second.all_have(1, &format!("mem-path={own},"));
    second.all_have(1, &format!("mac=52:54:{}:{}:45:01", &second.id[..2], &second.id[2..]));
    let port = |files: &Files| {
        let status = succeed(&mut files.script(&room, &["status"]));
        let line = status.lines().find(|line| line.starts_with("fabric1")).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<u16>().unwrap()
    };
    assert_eq!(port(&first), 10023);
    assert!(port(&second) > 10023 + 253);

    // The second keeps its memory, and a node of it that starts later has the same.
    succeed(&mut first.script(&room, &["stop"]));
    assert!(!is_there("/dev/shm/fabric_em") && is_there(&own));
    succeed(&mut second.script(&room, &["start", "2"]));
    second.all_have(2, &format!("mem-path={own},"));
    // And the first its name.
    succeed(&mut first.script(&room, &["start", "2"]));
    first.all_have(1, "mem-path=/dev/shm/fabric_em,");
    for files in [&first, &second] {
        succeed(&mut files.script(&room, &["stop"]));
        assert_eq!(files.processes(), Vec::<String>::new());
    }
    assert_eq!(fs_err::read_dir(room.path("/dev/shm")).unwrap().count(), 0);
    // Alone on the host, it is the first.
    succeed(&mut second.script(&room, &["start", "1"]));
    second.all_have(1, "mem-path=/dev/shm/fabric_em,");
}

/// As libvirt's domains are: of a user of their own, and without a lock.
fn a_cluster_passes_by_the_memory_of_another_user() {
    let room = Room::open(&[OWN_NETWORK_AND_MEMORY]);
    let files = Files::new(3, "10.1.0.0/24");
    let create = "truncate -s 16M /dev/shm/fabric_em; chown nobody /dev/shm/fabric_em; chmod 600 /dev/shm/fabric_em";
    succeed(room.command("bash").args(["-ec", create]));
    succeed(&mut files.script(&room, &["start", "1"]));
    files.all_have(1, &format!("mem-path=/dev/shm/fabric_em_{},", files.id));
    succeed(&mut files.script(&room, &["stop"]));
    assert_eq!(fs_err::read_dir(room.path("/dev/shm")).unwrap().count(), 1);
}

fn a_memory_that_is_shared_on_purpose_stays_for_the_other() {
    let room = Room::open(&[OWN_NETWORK_AND_MEMORY]);
    let (first, second) = (Files::new(4, "10.1.0.0/24"), Files::new(5, "10.1.0.0/24"));
    let memory = room.path("/dev/shm/fabric_em");
    succeed(&mut first.script(&room, &["start", "1"]));
    let mut start = second.script_with(&room, &["SHM=/dev/shm/fabric_em"], &["start", "1"]);
    let said = succeed(&mut start);
    assert!(said.contains("shared memory: /dev/shm/fabric_em, which other machines use, too"), "{said}");
    let said = fail(&mut second.script_with(&room, &["SHM=/dev/shm/another"], &["start", "2"])).1;
    assert!(said.contains("nodes are running with SHM=/dev/shm/fabric_em"), "{said}");

    let output = first.script(&room, &["stop"]).output().unwrap();
    let warned = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && warned.contains("stays: other machines use it"), "{warned}");
    assert!(memory.exists());
    second.all_have(1, "mem-path=/dev/shm/fabric_em,");
}

fn a_second_cluster_has_a_network_and_domains_of_its_own() {
    let room = Room::open(&[OWN_NETWORK_AND_MEMORY, OWN_LIBVIRT]);
    let (first, second) = (Files::new(6, "10.6.0.0/24"), Files::new(7, "10.7.0.0/24"));
    let id = &second.id;
    let own_mac = format!("52:54:{}:{}:45:01", &id[..2], &id[2..]);
    assert_eq!(
        succeed(&mut first.script(&room, &["network", "up"])),
        "network fabric_emul is up on bridge fabric_em\n"
    );
    succeed(&mut first.script(&room, &["libvirt", "define"]));
    let said = succeed(&mut second.script(&room, &["libvirt", "define"]));
    assert!(said.contains(&format!("fabric1_{id}: defined")), "{said}");
    assert_eq!(
        succeed(&mut second.script(&room, &["network", "up"])),
        format!("network fabric_emul_{id} is up on bridge fabric_em_{id}\n")
    );
    let names = room.virsh(&["list", "--all", "--name"]);
    let mut names: Vec<_> = names.split_whitespace().collect();
    names.sort_unstable();
    assert_eq!(names, ["fabric1", &format!("fabric1_{id}"), "fabric2", &format!("fabric2_{id}")]);
    let (domain, network) = (room.virsh(&["dumpxml", &format!("fabric1_{id}")]), format!("fabric_emul_{id}"));
    for part in [format!("<shmem name='fabric_em_{id}'"), format!("network='{network}'"), own_mac.clone()] {
        assert!(domain.contains(&part), "{part}\n{domain}");
    }
    let leases = room.virsh(&["net-dumpxml", &network]);
    assert!(leases.contains(&format!("<host mac='{own_mac}' name='fabric1' ip='10.7.0.1'/>")), "{leases}");
    let domain = room.virsh(&["dumpxml", "fabric1"]);
    assert!(domain.contains("<shmem name='fabric_em'") && domain.contains("52:54:48:50:45:01"), "{domain}");

    // Each takes its own bridge, without asking libvirt.
    let bridge_of = |files: &Files| {
        let said = succeed(&mut files.script_with(&room, &["NET=bridge"], &["start", "1"]));
        succeed(&mut files.script(&room, &["stop"]));
        said.lines()
            .find_map(|line| line.strip_prefix("network: bridge "))
            .unwrap_or_else(|| panic!("{said}"))
            .to_owned()
    };
    let allow = format!(
        "mkdir -p /etc/qemu; echo allow fabric_em >/etc/qemu/bridge.conf; echo allow fabric_em_{id} >>/etc/qemu/bridge.conf"
    );
    succeed(room.command("bash").args(["-ec", &allow]));
    assert_eq!(bridge_of(&first), "fabric_em of libvirt's network fabric_emul");
    assert_eq!(bridge_of(&second), format!("fabric_em_{id} of libvirt's network {network}"));

    // After the first has gone, the second keeps its names.
    succeed(&mut first.script(&room, &["libvirt", "undefine"]));
    succeed(&mut first.script(&room, &["network", "down"]));
    assert!(succeed(&mut second.script(&room, &["network", "up"])).contains(&network));
    assert!(
        succeed(&mut second.script(&room, &["libvirt", "define", "2"])).contains(&format!("fabric2_{id}: defined"))
    );
    succeed(&mut second.script(&room, &["libvirt", "undefine"]));
    assert!(succeed(&mut second.script(&room, &["network", "down"])).contains("is gone"));
    assert_eq!(room.virsh(&["list", "--all", "--name"]).trim(), "");
    assert!(!room.virsh(&["net-list", "--all", "--name"]).contains("fabric"));
}

fn a_domain_of_a_stranger_keeps_its_name() {
    let room = Room::open(&[OWN_NETWORK_AND_MEMORY, OWN_LIBVIRT]);
    let files = Files::new(8, "10.8.0.0/24");
    let stranger = |name: &str| {
        let xml =
            format!("<domain type='qemu'><name>{name}</name><memory>65536</memory><os><type>hvm</type></os></domain>");
        fs_err::write(files.directory.path().join("stranger.xml"), xml).unwrap();
        room.virsh(&["define", files.directory.path().join("stranger.xml").to_str().unwrap()]);
    };
    stranger("fabric2");
    let said = succeed(&mut files.script(&room, &["libvirt", "define"]));
    assert!(said.contains(&format!("fabric1_{}: defined", files.id)), "{said}");
    succeed(&mut files.script(&room, &["libvirt", "undefine"]));
    stranger(&format!("fabric1_{}", files.id));
    let said = fail(&mut files.script(&room, &["libvirt", "define", "1"])).1;
    assert!(
        said.contains(&format!("libvirt has a domain fabric1_{} already, which is not of this cluster", files.id)),
        "{said}"
    );
    assert!(said.contains("hint: remove that one (virsh undefine "), "{said}");
}
