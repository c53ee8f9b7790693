//! Directories by virtiofs: a process serves each to its node, and is there for as long as that.

use std::path::Path;
use std::process::Command;

use fam_build::recipe::FabricKind;
use support::{succeed, write_executable};

use crate::fabric::Running;

support::tests! {
    needs [support::harness::ROOT, "qemu-img", "qemu-system-x86_64", "virtiofsd"];
    a_directory_is_served_while_its_node_runs,
    what_does_not_serve_is_said,
}

/// The processes that serve directories in `place`.
fn servers(place: &Path) -> Vec<String> {
    let place = format!("--shared-dir={}", place.display());
    support::command_lines().into_iter().filter(|line| line.contains(&place)).collect()
}

fn a_directory_is_served_while_its_node_runs() {
    // As a module of memory and behind CXL the shared memory is another part of the machine's.
    for (kind, port) in [(FabricKind::Ivshmem, 12022), (FabricKind::Nvdimm, 12322), (FabricKind::Cxl, 12622)] {
        let running = Running::with_fabric(kind, port);
        let place = running.directory.path();
        for name in ["tree, too", "other"] {
            fs_err::create_dir(place.join(name)).unwrap();
        }
        let share = |name: &str| format!("--virtiofs={}", place.join(name).display());
        running.succeeds(&["start", &format!("{}:src", share("tree, too")), &share("other")]);
        let nodes = running.processes();
        for words in [
            ",chardev=virtiofs0,tag=src ",
            ",chardev=virtiofs2,tag=share ",
            " -object memory-backend-memfd,id=ram,share=on,size=256M -machine memory-backend=ram ",
        ] {
            assert!(nodes[0].contains(words), "{words}\n{nodes:#?}");
        }
        for name in ["tree, too", "other"] {
            assert!(!servers(&place.join(name)).is_empty(), "{name}");
        }
        // Nobody else can connect.
        let sockets = succeed(Command::new("find").arg(place).args(["-type", "s", "-name", "*virtiofs*"]));
        assert_eq!(sockets, "");
        running.succeeds(&["stop"]);
        for _ in 0..100 {
            if servers(place).is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        assert_eq!(servers(place), Vec::<String>::new());
        assert!(!place.join("fabric_run").exists());
    }
}

fn what_does_not_serve_is_said() {
    let running = Running::new(1, 12922);
    let place = running.directory.path();
    let old = place.join("old-virtiofsd");
    write_executable(&old, "#!/bin/sh\necho '-o source=PATH'\n");
    let broken = place.join("broken-virtiofsd");
    write_executable(
        &broken,
        "#!/bin/sh\nif [ \"$1\" = --help ]; then echo --shared-dir; else echo 'no such luck'; exit 1; fi\n",
    );
    let start = ["start", "--virtiofs", "/etc", "1"];
    for (virtiofsd, message, more) in [
        (Path::new("/nowhere/virtiofsd"), "virtiofsd is not installed", "with --share"),
        (&old, "old-virtiofsd is not the virtiofsd that is written in Rust", "with --share"),
        (&broken, "broken-virtiofsd serves no directory:", "broken-virtiofsd: no such luck"),
    ] {
        let output = running.run_with(&[("VIRTIOFSD", virtiofsd)], &start);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(message) && error.contains(more), "{error}");
        assert!(!place.join("fabric_run").exists(), "{error}");
    }
    // One that serves ends where QEMU does not start.
    let error = running.fails(&["start", &format!("--virtiofs={}", place.display()), "--", "-nonsense"]);
    assert!(error.contains("-nonsense: invalid option"), "{error}");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(servers(place), Vec::<String>::new());
    assert!(
        running
            .fails(&["start", "--virtiofs", "/nowhere:src"])
            .starts_with("error: --virtiofs /nowhere:src: there is no such directory")
    );
}
