//! Requests that cannot be met, and plans of those that can.

use support::archive::Deb;
use support::files::in_tarball;
use support::succeed;

use crate::small::{Bench, Who, archive, assert_fails, assert_nothing_left, names, packages_in, program_with};

support::tests! {
    needs ["gpg", "dpkg-deb"];
    what_is_wrong_with_a_request_is_said_at_once,
    an_unknown_package_is_named_with_its_neighbours,
    a_plan_says_what_a_build_would_do_and_a_lock_holds_it,
    a_lock_of_packages_that_exclude_each_other_is_refused,
    a_disk_that_is_too_small_is_an_error_before_packages_are_fetched,
}

/// Each request is wrong in itself: exit code 2, before anything is written.
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
        let mut program = program_with(Who::Root, &output, &directory.path().join("cache"));
        assert_fails(program.args(arguments), 2, error, hint);
        assert!(!output.exists(), "{arguments:?} made {:?}", names(&output));
    }
}

fn an_unknown_package_is_named_with_its_neighbours() {
    let bench = Bench::new(archive());
    assert_fails(&mut bench.build(&["--include", "bas"]), 1, &["unknown package `bas`"], "base");
    assert_nothing_left(&bench.output());
}

fn a_plan_says_what_a_build_would_do_and_a_lock_holds_it() {
    let bench = Bench::new(archive());
    let output = bench.output();
    let plan = succeed(&mut bench.build(&["plan", "--json"]));
    assert!(!output.exists(), "a plan leaves the output directory alone");
    let plan: serde_json::Value = plan.lines().last().map(serde_json::from_str).unwrap().unwrap();
    let report = &plan["report"];
    let packages = report["packages"].as_array().unwrap();
    let base = packages.iter().find(|package| package["name"] == "base").unwrap();
    assert!(base["download_bytes"].as_u64().unwrap() > 100_000 && base["is_cached"] == false, "{base}");
    let artifacts: Vec<_> = report["artifacts"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert!(artifacts.iter().any(|name| name == "fabric1.qcow2"), "{artifacts:?}");
    assert_eq!(report["reuses_template"], false);

    succeed(&mut bench.build(&["lock"]));
    assert_eq!(names(&output), ["fabric.lock"]);
    assert_eq!(packages_in(&bench.cache()), 0, "neither fetches a package");
    let locked = fs_err::read_to_string(output.join("fabric.lock")).unwrap();
    let lock = bench.write("own.lock", &locked).display().to_string();
    succeed(&mut bench.build(&["--locked", &lock]));

    // Exactly those are in the lock, and exactly those were fetched and installed.
    let table: toml::Table = locked.parse().unwrap();
    let pick = |value: &dyn Fn(&str) -> String| value("name") + " " + &value("version");
    let in_lock = table["package"].as_array().unwrap().iter();
    let in_lock: Vec<String> = in_lock.map(|one| pick(&|key| one[key].as_str().unwrap().into())).collect();
    let planned: Vec<String> = packages.iter().map(|one| pick(&|key| one[key].as_str().unwrap().into())).collect();
    assert_eq!(in_lock, planned);
    assert_eq!(fs_err::read_to_string(output.join("fabric.lock")).unwrap(), locked);
    let status = in_tarball(&output.join("fabric_template.tar"), "./var/lib/dpkg/status");
    let mut installed: Vec<_> = status.lines().filter_map(|line| line.strip_prefix("Package: ")).collect();
    installed.sort_unstable();
    let mut names: Vec<_> = packages.iter().map(|one| one["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(installed, names);
    for name in artifacts {
        assert!(output.join(name.as_str().unwrap()).exists(), "{name} was planned");
    }

    let text = succeed(&mut bench.build(&["plan", "--locked", &lock]));
    assert!(text.contains("Nothing is fetched or installed: the template is there"), "{text}");
    let nowhere = bench.directory.path().join("nowhere");
    let mut plan = bench.build(&["plan", "--verbose"]);
    let text = succeed(plan.arg("--output").arg(&nowhere));
    for part in [
        &format!("Packages: {}", packages.len()),
        "Nothing is fetched or installed: the cache has",
        "fabric1.qcow2",
        "suite",
        "base  ",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    assert!(!nowhere.exists());
    assert_eq!(packages_in(&bench.cache()), packages.len());
}

/// The resolver chooses no such packages, but a lock may be joined by hand.
fn a_lock_of_packages_that_exclude_each_other_is_refused() {
    let bench = Bench::new(archive().with(Deb::new("calm")).with(Deb::new("rival").field("Conflicts", "calm")));
    let lock = |package: &str| -> toml::Table {
        succeed(&mut bench.build(&["lock", "--include", package]));
        fs_err::read_to_string(bench.output().join("fabric.lock")).unwrap().parse().unwrap()
    };
    let [mut joined, other] = ["calm", "rival"].map(lock);
    let is_rival = |package: &&toml::Value| package["name"].as_str() == Some("rival");
    let rival = other["package"].as_array().unwrap().iter().find(is_rival).unwrap();
    joined["package"].as_array_mut().unwrap().push(rival.clone());
    let lock = bench.write("joined.lock", &joined.to_string()).display().to_string();
    let error = ["rival conflicts with calm or breaks it"];
    assert_fails(&mut bench.build(&["--locked", &lock]), 1, &error, "leave rival or calm out");
    assert!(!bench.output().join("fabric_template.tar").exists());
}

/// What a package takes stands in the index, in KiB.
fn a_disk_that_is_too_small_is_an_error_before_packages_are_fetched() {
    let bench = Bench::new(archive().with(Deb::new("large").field("Installed-Size", "2000000")));
    let error = ["the tree needs 20", " bytes but its partition has 10"];
    for verb in [&["plan"][..], &[]] {
        let arguments = [verb, &["--include", "large"]].concat();
        assert_fails(&mut bench.build(&arguments), 1, &error, "--size 4G");
    }
    assert_eq!(packages_in(&bench.cache()), 0);
    assert_nothing_left(&bench.output());
    succeed(&mut bench.build(&["--include", "large", "--size", "4G"]));
}
