//! The running cluster, as a user has it: the script starts what the main job made, and its nodes reach each other, share
//! one memory, and install packages; afterwards nothing is left. Real nodes in QEMU, by a normal user, without libvirt.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use support::cluster::{
    Nodes, SUDO, assert_memory_is_shared, assert_up_and_connected, copy_of_default_build, default_build,
};
use support::{as_user, public_binary, succeed};

/// Eight emulated nodes at once would be too much for two processors.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn four_nodes_are_one_cluster() {
    let _alone = ALONE.lock();
    let begin = Instant::now();
    let step = |what: &str| println!("{:5.1} s: {what}", begin.elapsed().as_secs_f64());
    let nodes = Nodes::new(31000);
    // The directory is another one than that of the build, and the script finds all it needs in it.
    let names =
        ["1.qcow2", "2.qcow2", "3.qcow2", "4.qcow2", "_emulation.bash", "_ssh_key", "_ssh_config", "_known_hosts"];
    copy_of_default_build(names.map(|name| format!("fabric{name}")), nodes.directory.path());
    let before = nodes.files();

    let said = nodes.start(&[], &[1, 2, 3, 4]);
    assert!(said.contains("fabric1: started") && said.contains("fabric4: started"), "{said}");
    assert_up_and_connected(&|number, command| nodes.ssh(number, command));
    step("all nodes are up, no unit failed, and every node reaches every other by name");
    for number in 1..=4 {
        let log = succeed(&mut nodes.script(&["log", &number.to_string()]));
        assert!(log.contains(&format!("fabric{number} login: ")), "the serial console shows a prompt: {log}");
    }
    let config = nodes.directory.path().join("fabric_ssh_config");
    assert_eq!(succeed(as_user("/usr/bin/ssh").arg("-F").arg(config).args(["fabric3", "hostname"])), "fabric3\n");

    assert_memory_is_shared(&|number, command| nodes.ssh(number, command), &nodes.shared_memory());
    step("the memory is shared");
    install_packages(&nodes);
    step("packages were installed from the mirror, and through a proxy");
    // Whoever asks an ssh server often whether it is there, and does not log in, is refused for a while.
    for said in nodes.ssh_all(&[1, 2, 3, 4], |_| format!("{SUDO} journalctl --unit ssh --output cat")) {
        assert!(said.contains("Server listening") && !said.contains("penalty"), "{said}");
    }

    succeed(&mut nodes.script(&["stop"]));
    step("stopped");
    assert_eq!(nodes.processes(), Vec::<String>::new());
    assert_eq!(nodes.files(), before);
}

/// Packages come from the build's mirror, and through a proxy on the host.
fn install_packages(nodes: &Nodes) {
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

/// Answers one request, `GET http://HOST/PATH`, with what the host answers; each has a connection of its own.
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

#[test]
fn four_of_sixteen_thin_nodes_run() {
    if !support::cluster_has_its_turn("four_of_sixteen_thin_nodes_run") {
        return;
    }
    let _alone = ALONE.lock();
    let nodes = Nodes::new(32000);
    let tarball = default_build().join("fabric_template.tar");
    let mut build = as_user(public_binary());
    build.args(["--nodes", "16", "--thin", "--output"]).arg(nodes.directory.path());
    succeed(build.arg("--from-tarball").arg(tarball));
    let chosen = [1, 6, 11, 16];
    nodes.start(&["start", "1", "6", "11", "16"], &chosen);
    let met = nodes.ssh_all(&chosen, |_| {
        "systemctl is-system-running --wait; for number in 1 6 11 16; do ping -q -c 1 -W 20 fabric$number | head -n 1; done".into()
    });
    for met in met {
        assert!(met.starts_with("running\n"), "{met}");
        assert!(chosen.iter().all(|number| met.contains(&format!("(192.168.42.{number})"))), "{met}");
    }
    succeed(&mut nodes.script(&["stop"]));
    assert_eq!(nodes.processes(), Vec::<String>::new());
}
