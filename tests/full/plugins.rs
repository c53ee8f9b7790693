//! Plugins in files, as their authors meet them: begun by `plugin new`, built with nothing but the
//! SDK, named in a recipe, and found in the image and in a running guest.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::disk::RootFileSystem;
use support::qemu::Machine;
use support::workshop::Workshop;
use support::{fail, succeed};

support::tests! {
    needs [
        support::harness::ROOT, "cargo", "cc", "debugfs", "make", "python3", "qemu-img", "qemu-system-x86_64", "sgdisk"
    ];
    one_in_each_language,
    built_in_or_loaded_makes_no_difference,
}

/// One in each language, begun, tested and built as the program says, without network; then all
/// four in one build.
fn one_in_each_language() {
    let workshop = Workshop::new();
    let place = workshop.directory("languages");
    let mut plugins = String::new();
    for (language, built) in [
        ("rust", "greet-rust/target/release/libgreet_rust.so"),
        ("c", "greet-c/greet-c.so"),
        ("sh", "greet-sh/greet-sh"),
        ("python", "greet-python/greet-python.py"),
    ] {
        let name = format!("greet-{language}");
        let mut new = workshop.fam_build(&place);
        let said = succeed(new.current_dir(&place).args(["plugin", "new", &name, "--lang", language, "--json"]));
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        let project = place.join(&name);
        let run = |command: &serde_json::Value| {
            let words: Vec<&str> = command.as_str().unwrap().split(' ').collect();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).current_dir(&project).env("CARGO_NET_OFFLINE", "true");
            // One profile: the dependencies are compiled once.
            if words.starts_with(&["cargo", "test"]) {
                command.arg("--release");
            }
            succeed(command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS"));
        };
        run(&report["report"]["test"]);
        // Each gets a file of its own to write, to be told apart in one image.
        for file in ["src/lib.rs", "greet-c.c", "greet-sh", "greet-python.py"] {
            if let Ok(text) = fs_err::read_to_string(project.join(file)) {
                fs_err::write(project.join(file), text.replace("/etc/motd", &format!("/etc/motd-{language}"))).unwrap();
            }
        }
        if report["report"]["build"].is_string() {
            run(&report["report"]["build"]);
        }
        assert_eq!(report["report"]["plugin"], built.split_once('/').unwrap().1);
        let file = place.join(built);
        let said =
            succeed(workshop.fam_build(&place).args(["plugin", "check"]).arg(&file).args(["--set", "text=hello"]));
        assert!(said.starts_with(&format!("{name}: greets at login\n")) && said.contains("settings fit"), "{said}");
        let (code, said) =
            fail(workshop.fam_build(&place).args(["plugin", "check"]).arg(&file).args(["--set", "txt=hello"]));
        assert!(code == 2 && said.contains(&format!("plugin {name}: setting ")), "{said}");
        plugins += &format!(
            "[[plugin.add]]\nname = \"{name}\"\npath = \"languages/{built}\"\nsettings = {{ text = \"hello from {language} 'ä'\" }}\n"
        );
    }
    let output = workshop.directory("languages/output");
    let recipe = workshop.path().join("languages.toml");
    fs_err::write(&recipe, format!("extends = \"minimal\"\nnodes.count = 1\n{plugins}")).unwrap();
    succeed(workshop.fam_build(&output).arg("--recipe").arg(&recipe));
    let disk = output.join("fabric1.qcow2");
    let mut guest = Machine::new(&disk).start();
    guest.wait_for_login();
    guest.log_in("root", "aresquare");
    for language in ["rust", "c", "sh", "python"] {
        let (greeting, file) =
            (format!("hello from {language} 'ä'\nThis is fabric1."), format!("/etc/motd-{language}"));
        assert_eq!(RootFileSystem::of(&disk).cat(&file), format!("{greeting}\n"));
        assert_eq!(guest.check(&format!("cat {file}")), greeting);
    }
    drop(guest);
    // What a plugin is made of belongs to what the template is made of.
    let reused =
        |recipe: &Path| succeed(workshop.fam_build(&output).arg("--recipe").arg(recipe)).contains("that was there");
    assert!(reused(&recipe));
    let script = place.join("greet-sh/greet-sh");
    let text = fs_err::read_to_string(&script).unwrap();
    fs_err::write(&script, text.replace("This is", "You are on")).unwrap();
    assert!(!reused(&recipe), "a changed plugin makes a new template");
    assert!(RootFileSystem::of(&disk).cat("/etc/motd-sh").ends_with("\nYou are on fabric1.\n"));

    // By a normal user, found by name in a directory; a panic in a library is a clear error.
    let library = place.join("greet-rust/src/lib.rs");
    let text = fs_err::read_to_string(&library).unwrap();
    fs_err::write(
        &library,
        text.replace("root.append(", "assert!(node.number > 1, \"no luck\");\n        root.append("),
    )
    .unwrap();
    succeed(Command::new("cargo").args(["build", "--release", "--offline"]).current_dir(place.join("greet-rust")));
    let named = workshop.directory("named");
    fs_err::copy(place.join("greet-rust/target/release/libgreet_rust.so"), named.join("libgreet_rust.so")).unwrap();
    let user_output = workshop.path().join("of-user");
    fs_err::create_dir(&user_output).unwrap();
    succeed(Command::new("chown").arg(support::user()).arg(&user_output));
    let recipe = workshop.recipe("panic", "[[plugin]]\nname = \"greet-rust\"\nsettings = { text = \"x\" }\n");
    let mut as_user = support::as_user("/usr/bin/env");
    as_user.args([format!("TMPDIR={}", user_output.display()), "PATH=/usr/bin:/bin".into()]);
    let (code, said) = fail(
        as_user
            .arg(support::public_program())
            .arg("--from-tarball")
            .arg(workshop.tarball())
            .arg("--recipe")
            .arg(recipe)
            .arg("--plugin-dir")
            .arg(named),
    );
    assert!(code == 1 && said.contains("plugin greet-rust on fabric1 crashed: no luck"), "{said}");
    let left = fs_err::read_dir(&user_output).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = left.filter(|name| name != "fabric.seed" && !name.starts_with("fabric_emulation.log")).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Each built-in plugin, as a library that is loaded, makes the same image as built in.
fn built_in_or_loaded_makes_no_difference() {
    let workshop = Workshop::new();
    let json = succeed(workshop.fam_build(workshop.path()).args(["plugin", "list", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let libraries = workshop.directory("libraries");
    let settings = |name: &str| match name {
        "users" => {
            "settings = { root-password = \"aresquare\", users = [{ name = \"fabric\", password = \"rocks\" }] }\n"
        }
        "identity" => "settings = { cluster-key-users = [\"fabric\"] }\n",
        "files" => "settings = { files = [{ target = \"/etc/note\", content = \"text\", owner = \"fabric\" }] }\n",
        "script" => "settings = { script = \"echo made >/etc/made\" }\n",
        "timezone" => "settings = { zone = \"Etc/UTC\" }\n",
        _ => "",
    };
    let mut names: Vec<&str> =
        json["report"]["plugins"].as_array().unwrap().iter().map(|plugin| plugin["name"].as_str().unwrap()).collect();
    // The one that others come after.
    names.sort_by_key(|name| *name != "users");
    let (mut built_in, mut loaded) = (String::new(), String::new());
    for name in names {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["rustc", "--quiet", "--release", "--offline", "--features", "library", "--crate-type", "cdylib"]);
        cargo.args(["--package", &format!("fam-{name}")]).current_dir(env!("CARGO_MANIFEST_DIR"));
        succeed(cargo.arg("--target-dir").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/libraries")));
        let library = format!("libfam_{}.so", name.replace('-', "_"));
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/libraries/release").join(&library);
        fs_err::copy(built, libraries.join(&library)).unwrap();
        built_in += &format!("[[plugin]]\nname = \"{name}\"\n{}", settings(name));
        loaded += &format!("[[plugin]]\nname = \"{name}\"\npath = \"libraries/{library}\"\n{}", settings(name));
    }
    let build = |name: &str, plugins: &str| {
        let output = workshop.directory(&format!("output-{name}"));
        fs_err::write(output.join("fabric.seed"), "11".repeat(32) + "\n").unwrap();
        fs_err::set_permissions(output.join("fabric.seed"), std::fs::Permissions::from_mode(0o600)).unwrap();
        succeed(
            workshop
                .fam_build(&output)
                .env("SOURCE_DATE_EPOCH", "1750000000")
                .arg("--recipe")
                .arg(workshop.recipe(name, plugins)),
        );
        // What `identity` tells the host, too.
        let made = ["fabric1.qcow2", "fabric_template.img", "fabric_ssh_key", "fabric_known_hosts"];
        succeed(Command::new("sha256sum").args(made).current_dir(output))
    };
    assert_eq!(build("built-in", &built_in), build("loaded", &loaded));
}
