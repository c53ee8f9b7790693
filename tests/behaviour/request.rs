//! Requests that cannot be met, and plans of those that can.

use crate::support;
use crate::world::{Who, assert_fails, build, names, of_recipe, packages_in, world};

/// Each request is wrong in itself: exit code 2, before anything is written.
#[test]
fn what_is_wrong_with_a_request_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("output");
    let recipe = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs_err::write(&path, text).unwrap();
        path.display().to_string()
    };
    let unclosed = recipe("unclosed.toml", "suite = \"trixie\"\nvariant = [\n");
    let unknown_key = recipe("key.toml", "suite = \"trixie\"\nvariantt = \"apt\"\n");
    let wrong_type = recipe("type.toml", "suite = \"trixie\"\n\n[nodes]\ncount = \"four\"\n");
    let plugin = recipe("plugin.toml", "suite = \"trixie\"\n[[plugin]]\nname = \"hostnam\"\n");
    let setting =
        recipe("setting.toml", "suite = \"trixie\"\n[[plugin]]\nname = \"sudo\"\n[plugin.settings]\nuserz = [\"a\"]\n");
    let lock = recipe("broken.lock", "format = 1\nno lock\n");
    let missing = directory.path().join("missing").display().to_string();
    let cases: [(&[&str], &[&str], &str); 15] = [
        (&["--nodes", "0"], &["1 to 253", "0"], "--help"),
        (&["--nodes", "254"], &["1 to 253", "254"], "--help"),
        (&["--nodes", "abc"], &["1 to 253", "abc"], "--help"),
        (&["254"], &["1 to 253", "254"], "--help"),
        (&["--nodez", "4"], &["--nodez", "--nodes"], "--help"),
        (&["--size", "huge"], &["huge", "--size"], "--help"),
        (&["--recipe", "fabrik"], &["fabrik"], "did you mean `fabric`"),
        (&["--recipe", "./none.toml"], &["./none.toml", "No such file"], "the current directory"),
        (&["--recipe", &unclosed], &["unclosed.toml:2:12: "], "fam-build recipe schema"),
        (
            &["--recipe", &unknown_key],
            &["key.toml:2:1: ", "`variantt`", "did you mean `variant`"],
            "fam-build recipe schema",
        ),
        (&["--recipe", &wrong_type], &["type.toml:4:9: "], "fam-build recipe schema"),
        (&["--recipe", &plugin], &["hostnam"], "hostname"),
        (&["--recipe", &setting], &["sudo", "userz"], "users"),
        (&["--locked", &lock], &["broken.lock", "line 2"], "fam-build lock"),
        (&["--locked", &missing], &["missing", "No such file"], "--locked"),
    ];
    for (arguments, error, hint) in cases {
        println!("{arguments:?}");
        assert_fails(build(Who::Root, &output).args(arguments), 2, error, hint);
        assert!(!output.exists(), "{arguments:?} made {:?}", names(&output));
    }
}

#[test]
fn an_unknown_package_is_named_with_its_neighbours() {
    world();
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("output");
    let mut command = build(Who::Root, &output);
    assert_fails(command.args(of_recipe()).args(["--include", "vmi"]), 1, &["unknown package `vmi`"], "vim");
    crate::world::assert_nothing_left(&output);
}

#[test]
fn a_plan_says_what_a_build_would_do_and_a_lock_holds_it() {
    let world = world();
    let report = &world.plan["report"];
    let packages = report["packages"].as_array().unwrap();
    let apt = packages.iter().find(|package| package["name"] == "apt").unwrap();
    assert!(apt["download_bytes"].as_u64().unwrap() > 100_000 && apt["is_cached"] == false, "{apt}");
    let artifacts: Vec<_> = report["artifacts"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert!(artifacts.iter().any(|name| name == "fabric1.qcow2"), "{artifacts:?}");
    assert_eq!(report["reuses_template"], false);

    // Exactly those are in the lock, and exactly those were fetched and installed.
    let lock: toml::Table = world.lock.parse().unwrap();
    let pick = |value: &dyn Fn(&str) -> String| value("name") + " " + &value("version");
    let locked: Vec<String> =
        lock["package"].as_array().unwrap().iter().map(|one| pick(&|key| one[key].as_str().unwrap().into())).collect();
    let planned: Vec<String> = packages.iter().map(|one| pick(&|key| one[key].as_str().unwrap().into())).collect();
    assert_eq!(locked, planned);
    assert_eq!(fs_err::read_to_string(world.output.join("fabric.lock")).unwrap(), world.lock);
    let archive = std::process::Command::new("tar")
        .args(["--extract", "--to-stdout", "--file"])
        .arg(world.template())
        .arg("./var/lib/dpkg/status")
        .output()
        .unwrap();
    let status = String::from_utf8(archive.stdout).unwrap();
    let mut installed: Vec<_> = status.lines().filter_map(|line| line.strip_prefix("Package: ")).collect();
    installed.sort_unstable();
    let mut names: Vec<_> = packages.iter().map(|one| one["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(installed, names);
    for name in artifacts {
        assert!(world.output.join(name.as_str().unwrap()).exists(), "{name} was planned");
    }

    let mut plan = build(Who::Root, &world.output);
    let text = support::succeed(
        plan.args(["plan"]).args(of_recipe()).args(["--locked"]).arg(world.output.join("fabric.lock")),
    );
    assert!(text.contains("Nothing is fetched or installed: the template is there"), "{text}");
    let other = world.output.with_file_name("nowhere");
    let text = support::succeed(build(Who::Root, &other).args(["plan", "--verbose"]).args(of_recipe()));
    for part in [&format!("Packages: {}", packages.len()), "To fetch: 0 B", "fabric1.qcow2", "suite", "apt  "] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    assert!(!other.exists());
    assert!(packages_in(&crate::world::cache()) >= packages.len());
}
