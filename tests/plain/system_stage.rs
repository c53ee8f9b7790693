//! The system stage against a real staging tree and a real sandbox: what plugins do to files
//! is what is on the disk after it, what they run sees the tree as its root, and nothing of it is
//! left behind.
//!
//! It runs as root, and once more as a normal user with subordinate ids.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use fam_build::hints;
use fam_build::plugins::{Build, PluginPlan, Registry, Request, StagingRoot};
use fam_isolation::sandbox::{Settings, StandIn};
use fam_isolation::supervisor::{Failure, Interrupts, Isolation, run};
use fam_plugin::testing::Harness;
use fam_plugin::{Attributes, Command, Context, Description, FileType, Plugin, Result, Root, Stage};
use fam_progress::Progress;
use fam_rootfs::staging::Staging;
use serde_json::json;
use support::bare::copy_with_libraries;
use support::harness::{Test, as_root_and_as_user};

use crate::roles::{Done, Job};

/// The one case as root, and as a user.
pub fn tests() -> Vec<Test> {
    let cases: &[(_, fn())] = &[("system_stage_on_a_real_tree", system_stage)];
    as_root_and_as_user(module_path!(), cases, &[], |_, case| case())
}

/// Does everything that a plugin can, and checks what it sees.
struct Everything;

impl Plugin for Everything {
    type Settings = ();

    fn describe(&self) -> Description {
        Description::new("everything", "does everything").at(Stage::System)
    }

    fn apply_system(&self, (): &(), root: &mut Root<'_>, context: &Context) -> Result<()> {
        assert!(context.facts.nodes.is_empty(), "what is shared is told nothing of nodes");
        root.write_with("/etc/secret", "one\n", Attributes::mode(0o600).owner(33, 44))?;
        root.append("/etc/secret", "two\n")?;
        root.set_xattr("/etc/secret", "user.k", "v")?;
        root.ensure_line("/etc/secret", "three")?;
        let metadata = root.metadata("/etc/secret")?;
        assert_eq!((metadata.mode, metadata.uid, metadata.gid, metadata.size), (0o600, 33, 44, 14));
        assert_eq!(root.xattrs("/etc/secret")?[b"user.k".as_slice()], b"v");

        // Links lead where they will in the finished system.
        root.symlink("/etc/../../../etc/secret", "/usr/bin/way")?;
        assert_eq!(root.read_text("/usr/bin/way")?, "one\ntwo\nthree\n");
        root.write("/outside/planted", "inside after all\n").expect_err("leads nowhere here");
        assert_eq!(root.symlink_metadata("/bin")?.file_type, FileType::Symlink("usr/bin".into()));

        root.create_dir_all("/srv/a/b")?;
        root.set_mode("/srv/a", 0o2770)?;
        root.set_owner("/srv/a", 1, 2)?;
        root.write("/srv/a/b/gone", "x")?;
        assert!(root.remove("/srv/a/b")?);
        assert_eq!(root.list("/srv/a")?, Vec::<std::ffi::OsString>::new());

        let output =
            root.run(&Command::new("sh").args(["-c", "cat /etc/secret; echo $K >&2; id -u"]).env("K", "v 1"))?;
        assert_eq!(output.text.lines().collect::<std::collections::BTreeSet<_>>().len(), 5, "{}", output.text);
        root.run(&Command::new("/bin/sh").args(["-c", "echo made > /srv/a/made; test -x /usr/sbin/policy-rc.d"]))?;
        assert_eq!(root.read_text("/srv/a/made")?, "made\n");
        assert!(!root.exists("/usr/sbin/policy-rc.d"), "stand-ins are gone");
        let error = root.run(&Command::new("sh").args(["-c", "echo why; exit 3"])).expect_err("it fails");
        assert_eq!(error.to_string(), "run sh -c echo why; exit 3: exit status 3\n  why");
        let error = root.run(&Command::new("/no/such")).expect_err("there is none");
        assert!(error.to_string().starts_with("run /no/such: "), "{error}");
        Ok(())
    }
}

fn plan() -> PluginPlan {
    let mut registry = Registry::built_in();
    registry.add(Arc::new(Everything)).expect("a new name");
    let users = json!({ "users": [{ "name": "fabric", "password": "rocks" }] });
    let requests = [("users", users), ("everything", json!(null)), ("fabric-symlink", json!(null))]
        .map(|(name, settings)| Request::new(name, settings));
    registry.plan(&requests).expect("a good recipe")
}

/// In the worker: applies everything, and returns what is then on the disk.
pub fn work(root: &Path, progress: &Progress) -> std::result::Result<Vec<String>, Failure> {
    let staging = Arc::new(Staging::open(root).map_err(|error| hints::failure(&error))?);
    let build = Build::new((*Harness::new().context().facts).clone(), [1; 32], progress.clone());
    let settings = Settings { source_date_epoch: Some(1000), stand_ins: StandIn::no_services(), ..Settings::default() };
    let mut files = StagingRoot::new(staging, settings, progress.clone(), 1000);
    plan().apply_system(&mut files, &build).map_err(|error| hints::failure(&error))?;
    let paths = ["etc/secret", "srv/a", "home/fabric", "home/fabric/.profile", "mnt/fabric_emulation"];
    let told = paths.iter().map(|path| {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::symlink_metadata(root.join(path)).expect("it is there");
        format!("{path} {:o} {}:{}", metadata.mode(), metadata.uid(), metadata.gid())
    });
    Ok(told.collect())
}

fn system_stage() {
    let temp = tempfile::Builder::new().prefix("fam-system-stage").tempdir().expect("a directory");
    let root = temp.path().join("root");
    make_root(&root);
    symlink(temp.path(), root.join("outside")).expect("a link");
    let isolation = Isolation::detect().unwrap_or_else(|error| panic!("{error}\nhint: {:?}", hints::hint(&error)));
    let interrupts = Interrupts::install().expect("signals");
    let job = Job::SystemStage(root);
    let done = run(&job, &isolation, &Progress::silent(), &interrupts).expect("it is applied");
    let Done::SystemStage(told) = done else { unreachable!("the answer to another job") };
    assert_eq!(
        told,
        [
            "etc/secret 100600 33:44",
            "srv/a 42770 1:2",
            "home/fabric 40700 1000:1000",
            "home/fabric/.profile 100644 1000:1000",
            "mnt/fabric_emulation 120777 0:0",
        ]
    );
    assert!(!temp.path().join("planted").exists());
}

/// A root with the host's shell and a few programs, and the files that accounts are kept in.
fn make_root(root: &Path) {
    for directory in
        ["usr/bin", "usr/sbin", "usr/lib/systemd/system", "proc", "sys", "dev", "run", "tmp", "etc/skel", "home", "mnt"]
    {
        fs_err::create_dir_all(root.join(directory)).expect("a directory");
    }
    for name in ["bin", "sbin"] {
        symlink(format!("usr/{name}"), root.join(name)).expect("a link");
    }
    for program in ["sh", "cat", "id"] {
        copy_with_libraries(format!("/bin/{program}").as_ref(), root);
    }
    for (name, text) in [
        ("passwd", "root:x:0:0:root:/root:/bin/bash\n"),
        ("group", "root:x:0:\n"),
        ("shadow", "root:*:20000:0:99999:7:::\n"),
        ("skel/.profile", "# ~/.profile\n"),
    ] {
        fs_err::write(root.join("etc").join(name), text).expect("a file");
    }
}
