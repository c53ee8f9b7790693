//! The running cluster of the default system, as a user has it: the script started what the main
//! job made, in another directory than that of the build, and a normal user asks its nodes. The
//! nodes are booted once; each test asks something else, and the last one stops them.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use support::cluster::{
    SUDO, assert_memory_is_shared, assert_up_and_connected, at_once, of_default_system, running_cluster,
};
use support::{as_user, fail, succeed};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "qemu-system-x86_64", "ssh"];
    boots,
    names_and_ssh,
    console_and_ssh_configuration,
    shared_memory_and_counter,
    each_node_is_itself,
    packages_from_the_mirror_and_through_a_proxy,
    ssh_asks_politely,
    stops_and_leaves_nothing,
}

const ALL: [u32; 4] = [1, 2, 3, 4];

fn boots() {
    let nodes = running_cluster();
    let said = fs_err::read_to_string(nodes.said()).unwrap();
    println!("{said}");
    assert!(succeed(&mut nodes.script(&["status"])).lines().skip(1).all(|line| line.contains(" running ")));
}

fn names_and_ssh() {
    let nodes = running_cluster();
    assert_up_and_connected(&|number, command| nodes.ssh(number, command));
}

fn console_and_ssh_configuration() {
    let nodes = running_cluster();
    for number in ALL {
        let log = succeed(&mut nodes.script(&["log", &number.to_string()]));
        assert!(log.contains(&format!("fabric{number} login: ")), "the serial console shows a prompt: {log}");
    }
    let config = nodes.directory.join("fabric_ssh_config");
    assert_eq!(succeed(as_user("/usr/bin/ssh").arg("-F").arg(config).args(["fabric3", "hostname"])), "fabric3\n");
}

fn shared_memory_and_counter() {
    let nodes = running_cluster();
    assert_memory_is_shared(&|number, command| nodes.ssh(number, command), &nodes.shared_memory());
}

fn each_node_is_itself() {
    let nodes = running_cluster();
    let mut identities = at_once(&ALL, |number| {
        let ask = |command: &str| nodes.ssh(number, command);
        ask("findmnt --noheadings /boot/efi && getent hosts fabric1 fabric2 fabric3 fabric4 vmhost");
        assert_eq!(ask("readlink /mnt/fabric_emulation"), "/sys/bus/pci/devices/0000:00:04.0/resource2");
        // The boot waits no more than five minutes for a unit or a device, which are late on a slow
        // machine.
        assert_eq!(ask("systemctl show --property DefaultTimeoutStartUSec"), "DefaultTimeoutStartUSec=5min");
        ask("cat /etc/machine-id /etc/ssh/ssh_host_*_key.pub; findmnt -no UUID /")
    });
    identities.sort();
    identities.dedup();
    assert_eq!(identities.len(), 4, "machine-id, host keys and file systems are each node's own: {identities:#?}");
}

fn packages_from_the_mirror_and_through_a_proxy() {
    let nodes = running_cluster();
    let proxy = Proxy::start();
    let install = "apt-get -q update && apt-get -q install --yes --no-install-recommends tree && tree --version";
    let setting = format!("Acquire::http::Proxy \"http://vmhost:{}\";", proxy.port);
    let said = nodes.ssh_all(&[2, 3], |number| match number {
        2 => format!("{SUDO} sh -c '{install}' 2>&1"),
        _ => format!("{SUDO} sh -c 'echo '\\''{setting}'\\'' >/etc/apt/apt.conf.d/proxy; {install}' 2>&1"),
    });
    for said in said {
        assert!(said.contains("tree v") && !said.contains("W: ") && !said.contains("E: "), "{said}");
    }
    let asked = proxy.asked.lock().unwrap();
    for end in ["/InRelease", ".deb"] {
        assert!(asked.iter().any(|url| url.starts_with("http://") && url.ends_with(end)), "{end}: {asked:?}");
    }
}

/// sshd refuses a client for a while that often asks whether it is there and does not log in.
fn ssh_asks_politely() {
    let nodes = running_cluster();
    for said in nodes.ssh_all(&ALL, |_| format!("{SUDO} journalctl --unit ssh --output cat")) {
        assert!(said.contains("Server listening") && !said.contains("penalty"), "{said}");
    }
}

fn stops_and_leaves_nothing() {
    let nodes = running_cluster();
    succeed(&mut nodes.script(&["stop"]));
    assert_eq!(nodes.processes(), Vec::<String>::new());
    assert!(!nodes.directory.join("fabric_run").exists() && !nodes.shared_memory().exists(), "{:?}", nodes.files());
    let (code, said) = fail(&mut of_default_system().script(&["ssh", "1", "true"]));
    assert!(code == 1 && said.contains("fabric1 does not run"), "{said}");
}

/// An HTTP proxy on this host's loopback address, which ends with the tests.
struct Proxy {
    port: u16,
    /// The URLs that clients asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming() {
                let seen = Arc::clone(&seen);
                thread::spawn(move || forward(client.unwrap(), &seen));
            }
        });
        Self { port, asked }
    }
}

/// Answers one request, `GET http://HOST/PATH`, with what the host answers; each has a connection
/// of its own.
fn forward(mut client: TcpStream, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut lines = BufReader::new(client.try_clone().ok()?).lines().map_while(Result::ok);
    let request = lines.next()?;
    let url = request.split(' ').nth(1)?.to_owned();
    let (host, path) = url.strip_prefix("http://")?.split_once('/')?;
    let mut head = format!("GET /{path} HTTP/1.1\r\nConnection: close\r\n");
    for header in lines.take_while(|line| !line.is_empty()) {
        let name = header.split(':').next()?.to_ascii_lowercase();
        if !["connection", "proxy-connection"].contains(&name.as_str()) {
            head += &format!("{header}\r\n");
        }
    }
    seen.lock().unwrap().push(url.clone());
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut server = TcpStream::connect(address).ok()?;
    server.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    std::io::copy(&mut server, &mut client).ok().map(drop)
}
