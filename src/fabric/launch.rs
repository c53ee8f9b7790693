//! The script that runs the nodes. What it knows of this build stands in its first lines; the rest
//! is the same for all.

use super::cluster::Cluster;

/// Everything under the first lines.
const BODY: &str = include_str!("fabric_emulation.bash");

/// `kvm_probe.S`, assembled.
const KVM_PROBE: &str = "fa31c08ed88ec0fcbf0010b9000c6631c066f3abc70600100320c70600200330c7060030830066b8001000000f22d866\
                         b8200000000f22e066b9800000c00f320d00010f30660f0116907c66b8110000800f22c0ea597c0800b80700000031\
                         c90fa20fbae308730aba05000000c4e269f7c8b02ae6f4f4ebfd0f1f800000000000000000000000000000000000\
                         9a20000f00807c0000";

/// The status with which QEMU ends if [`kvm_probe`] ran as it should.
pub const KVM_PROBE_EXIT: i32 = 85;

/// The disk of a trial system: a boot sector that shows whether KVM works, as `kvm_probe.S`
/// explains.
#[must_use]
pub fn kvm_probe() -> [u8; 512] {
    let mut sector = [0; 512];
    let digit = |at: usize| char::from(KVM_PROBE.as_bytes()[at]).to_digit(16).unwrap_or_default() as u8;
    for (at, byte) in sector.iter_mut().enumerate().take(KVM_PROBE.len() / 2) {
        *byte = digit(2 * at) << 4 | digit(2 * at + 1);
    }
    [sector[510], sector[511]] = [0x55, 0xaa];
    sector
}

/// The launch script, for bash 4 or later. It finds the images beside itself, so it holds no path.
#[must_use]
pub fn launch_script(cluster: &Cluster) -> String {
    format!(
        "#!/usr/bin/env bash
#
# Starts, stops and shows the virtual machines of a Fabric-Attached Memory Emulation. Written by fam-build; see `help`.

readonly nodes={nodes}
readonly prefix={prefix}
readonly memory_mib={memory}
readonly cpus={cpus} most_cpus={most_cpus}
readonly fabric={fabric}
readonly shm_mib={shared}
{body}",
        nodes = cluster.nodes.len(),
        prefix = cluster.prefix,
        memory = cluster.memory.get().mebibytes(),
        cpus = cluster.cpus,
        most_cpus = cluster.most_cpus(),
        fabric = cluster.fabric,
        shared = cluster.shared_memory.get().mebibytes(),
        body = BODY.replace("@KVM_PROBE@", &escapes(KVM_PROBE)),
    )
}

/// Pairs of hexadecimal digits as `printf %b` of bash takes them.
fn escapes(hex: &str) -> String {
    let pairs = (0..hex.len()).step_by(2).map(|at| format!("\\x{}", &hex[at..at + 2]));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::super::cluster::example;
    use super::*;

    #[test]
    fn heads_of_1_4_and_40_nodes_and_one_body() {
        let scripts = [1, 4, 40].map(|count| launch_script(&example(count)));
        let heads = scripts.each_ref().map(|script| script.split_once("\n\nset -").unwrap().0);
        insta::assert_snapshot!("launch_heads", heads.join("\n---\n"));
        let bodies = scripts.each_ref().map(|script| script.split_once("\n\nset -").unwrap().1);
        assert!(bodies.iter().all(|body| *body == bodies[0] && !body.contains("@KVM")));
    }

    #[test]
    fn the_probe_is_what_its_source_says() {
        let directory = tempfile::tempdir().unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).current_dir(directory.path()).status().unwrap();
            assert!(status.success(), "{program}");
        };
        run("as", &["-o", "probe.o", concat!(env!("CARGO_MANIFEST_DIR"), "/src/fabric/kvm_probe.S")]);
        run("ld", &["-Ttext=0x7c00", "-o", "probe.elf", "probe.o"]);
        run("objcopy", &["-O", "binary", "-j", ".text", "probe.elf", "probe.bin"]);
        let code = fs_err::read(directory.path().join("probe.bin")).unwrap();
        assert!(code.len() <= 510);
        assert_eq!(hex::encode(&code), KVM_PROBE);
        let sector = kvm_probe();
        assert!(sector.starts_with(&code) && sector.ends_with(&[0x55, 0xaa]));
    }

    #[test]
    fn shellcheck_finds_nothing() {
        let mut shellcheck = Command::new("shellcheck")
            .args(["--shell=bash", "--severity=style", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        shellcheck.stdin.take().unwrap().write_all(launch_script(&example(4)).as_bytes()).unwrap();
        let output = shellcheck.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
