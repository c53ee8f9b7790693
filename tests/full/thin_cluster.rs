//! Sixteen thin nodes, of which four run.

use support::cluster::Nodes;
use support::system::default_system;
use support::{as_user, public_program, succeed};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "qemu-system-x86_64", "ssh"];
    four_of_sixteen_thin_nodes_run,
}

fn four_of_sixteen_thin_nodes_run() {
    let nodes = Nodes::new(32000);
    let tarball = default_system().artifact("fabric_template.tar");
    let mut build = as_user(public_program());
    build.args(["--nodes", "16", "--thin", "--output"]).arg(&nodes.directory);
    succeed(build.arg("--from-tarball").arg(tarball));
    let chosen = [1, 6, 11, 16];
    nodes.start(&["start", "1", "6", "11", "16"], &chosen);
    let met = nodes.ssh_all(&chosen, |_| {
        "systemctl is-system-running --wait; for number in 1 6 11 16; do ping -4 -q -c 1 -W 20 fabric$number | head -n 1; done".into()
    });
    for met in met {
        assert!(met.starts_with("running\n"), "{met}");
        assert!(chosen.iter().all(|number| met.contains(&format!("(192.168.42.{number})"))), "{met}");
    }
    succeed(&mut nodes.script(&["stop"]));
    assert_eq!(nodes.processes(), Vec::<String>::new());
}
