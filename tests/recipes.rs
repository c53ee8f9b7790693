//! Recipes as their users have them: the schema against an independent validator, the verb, files beside a recipe, the
//! plugins that read them, and every shipped recipe built and booted. A day's run boots one of these, `tests/run --all`
//! boots each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use fam_build::recipe::SHIPPED;
use support::qemu::{Console, Machine};
use support::{FAM_BUILD, as_user, directory_of, fail, mirror, public_binary, succeed, user};

const VALIDATE: &str = r#"
import json, sys, jsonschema
schema, instances = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
print(json.dumps([[error.message for error in validator.iter_errors(instance)] for instance in instances]))
"#;

#[test]
fn the_schema_says_what_the_parser_says() {
    let whole = "suite = 'sid'\n";
    let fine = [
        "extends = 'fabric'",
        "include = ['g++', '0ad']\ndisk = { size = '10 GiB', label = 'a_b.C', compress = 'none' }",
        "extends = 'fabric'\ninclude.add = ['gdb']\ninclude.drop = ['vim']\nplugin.drop = ['demo']",
        "extends = 'fabric'\n[plugin.set.users]\nusers = []\n[[plugin.add]]\nname = 'files'\nsettings.files = []",
        "variant = 'standard'\ninitramfs = 'most'\nupdates = false\ncomponents = ['main', 'non-free-firmware']",
        "kernel = { package = 'linux-image-amd64', cmdline = 'a=b,c [x] ^_' }\nfabric = { kind = 'ivshmem', size = '64M' }",
        "nodes = { count = 253, memory = '512M', cpus = 64, name = 'a-' }\narchitecture = 'amd64'\nplugin = []",
    ];
    let wrong = [
        "suit = 'sid'",
        "disk = { zize = '8G' }",
        "disk = { size = 8 }",
        "disk = { size = '8X' }",
        "disk = { label = 'seventeen-letters' }",
        "include = 'vim'",
        "include = ['Vim']",
        "include.ad = ['vim']",
        "nodes.count = 0",
        "nodes.count = 254",
        "nodes.cpus = 65",
        "nodes.name = 'node1'",
        "nodes.name = 'Node'",
        "variant = 'biuldd'",
        "architecture = 'arm64'",
        "components = ['Main']",
        "kernel.cmdline = 'a \"b\"'",
        "kernel.cmdline = '$x'",
        "fabric.kind = 'disk'",
        "updates = 'yes'",
        "plugin = [{ settings = {} }]",
        "plugin = [{ name = 'A' }]",
        "plugin = [{ name = 'a', setting = {} }]",
        "plugin.set = ['users']",
        "extends = 1",
    ];
    let mut texts: Vec<(String, bool)> = SHIPPED.iter().map(|shipped| (shipped.text.to_owned(), true)).collect();
    texts
        .extend(fine.map(|text| (if text.contains("extends") { text.into() } else { format!("{whole}{text}") }, true)));
    texts.extend(
        wrong.map(|text| (if text.contains("extends") { text.into() } else { format!("{whole}{text}") }, false)),
    );
    texts.extend(
        ["suite = 'tri xie'", "suite = 'a/../b'", "suite = 'a//b'", "suite = 'a/'", "[disk]", ""]
            .map(|text| (text.into(), false)),
    );
    texts.push(("suite = 'bookworm/updates'".into(), true));

    let work = directory_of("root");
    let (schema, instances) = (work.path().join("schema.json"), work.path().join("instances.json"));
    fs_err::write(&schema, succeed(Command::new(FAM_BUILD).args(["recipe", "schema"]))).unwrap();
    let parsed: Vec<toml::Table> = texts.iter().map(|(text, _)| text.parse().unwrap()).collect();
    fs_err::write(&instances, serde_json::to_string(&parsed).unwrap()).unwrap();
    // Not the first python3 of the PATH: the module is Debian's.
    let verdicts = succeed(Command::new("/usr/bin/python3").args(["-c", VALIDATE]).arg(&schema).arg(&instances));
    let verdicts: Vec<Vec<String>> = serde_json::from_str(&verdicts).unwrap();
    assert_eq!(verdicts.len(), texts.len());
    for (index, ((text, is_sound), verdict)) in texts.iter().zip(verdicts).enumerate() {
        let file = work.path().join(format!("{index}.toml"));
        fs_err::write(&file, text).unwrap();
        let shown = Command::new(FAM_BUILD).args(["recipe", "show"]).arg(&file).output().unwrap();
        assert_eq!(verdict.is_empty(), *is_sound, "schema: {verdict:?}\n{text}");
        assert_eq!(shown.status.success(), *is_sound, "parser: {}\n{text}", String::from_utf8_lossy(&shown.stderr));
    }
}

#[test]
fn a_recipe_is_checked_with_its_plugins_and_files() {
    let work = directory_of("root");
    let recipe = work.path().join("mine.toml");
    let check = || {
        let mut command = Command::new(FAM_BUILD);
        command.args(["recipe", "check"]).arg(&recipe);
        command
    };
    fs_err::write(&recipe, "extends = 'minimal'\n[[plugin.add]]\nname = 'script'\nsettings.file = 'setup.sh'\n")
        .unwrap();
    let (code, said) = fail(&mut check());
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("plugin script: setting file:") && said.contains("setup.sh"), "{said}");
    assert!(said.contains("hint: a path is taken from the directory of the recipe"), "{said}");
    fs_err::write(work.path().join("setup.sh"), "true\n").unwrap();
    assert!(succeed(&mut check()).contains("mine.toml, which extends minimal is sound"));
    let json: serde_json::Value = serde_json::from_str(&succeed(check().arg("--json"))).unwrap();
    assert_eq!((&json["event"], &json["report"]["plugins"]), (&"checked".into(), &8.into()), "{json}");
    // A build that cannot succeed touches neither the network nor the output directory.
    fs_err::remove_file(work.path().join("setup.sh")).unwrap();
    let output = work.path().join("output");
    let mut build = Command::new(FAM_BUILD);
    build.args(["--mirror", "http://mirror.invalid/debian", "--recipe"]).arg(&recipe).arg("--output").arg(&output);
    let (code, said) = fail(&mut build);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("setup.sh") && !output.exists(), "{said}");
}

/// Everything that the plugins of this test do, one recipe on top of another.
const CUSTOM: &str = r#"
extends = "base/base.toml"
include.add = ["openssh-server", "locales", "tzdata"]

[plugin.set.users]
users = [{ name = "ada", password = "lovelace", groups = ["users"] }]

[[plugin.add]]
name = "locale"
# Prompts in English, which the test waits for.
settings = { lang = "de_DE.UTF-8", categories = { LC_TIME = "C.UTF-8", LC_MESSAGES = "C.UTF-8" } }

[[plugin.add]]
name = "timezone"
settings.zone = "Asia/Kathmandu"

[[plugin.add]]
name = "ssh"
settings = { options = { PermitRootLogin = "no", Port = 2222 }, authorized-keys = [{ user = "ada", file = "ada.pub" }], host-keys = "first-boot" }

[[plugin.add]]
name = "files"
[[plugin.add.settings.files]]
source = "tree"
target = "/opt/tree"
owner = "ada"
[[plugin.add.settings.files]]
content = "key\n"
target = "/etc/secret"
mode = "0640"
group = "users"

[[plugin.add]]
name = "script"
settings = { file = "setup.sh", args = ["a b"], env = { GREETING = "hello" } }
"#;
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFf5Yl5g5Zl0h3n2tZ0a1Zx1m0nY3m5nQ6c1s9rVdQzE ada\n";

fn write(path: &Path, text: &str, mode: u32) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, text).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn plugins_with_files_beside_the_recipe_reach_the_guest() {
    let work = directory_of(user());
    let at = |name: &str| work.path().join(name);
    write(&at("mine.toml"), CUSTOM, 0o644);
    // Its file has the name of one beside the other recipe, and is another.
    let base = "extends = 'minimal'\n[[plugin.add]]\nname = 'script'\nsettings.file = 'setup.sh'\n";
    write(&at("base/base.toml"), base, 0o644);
    write(&at("base/setup.sh"), "echo base >/etc/from-base\n", 0o644);
    write(&at("setup.sh"), "#!/bin/sh\necho \"$GREETING $1 $(id -u)\" >/etc/from-script\n", 0o644);
    write(&at("ada.pub"), KEY, 0o644);
    write(&at("tree/run"), "#!/bin/sh\necho ran\n", 0o775);
    write(&at("tree/sub/data"), "data\n", 0o600);
    fs_err::os::unix::fs::symlink("sub/data", at("tree/link")).unwrap();
    succeed(Command::new("chown").arg("-R").arg(user()).arg(work.path()));
    let output = at("output");
    let build = || {
        let mut command = as_user(public_binary());
        command.args(["1", "--mirror", &mirror(), "--recipe"]).arg(at("mine.toml")).arg("--output").arg(&output);
        succeed(&mut command)
    };
    let first = build();
    assert!(!first.contains("Reusing"), "{first}");
    let template = output.join("fabric_template.tar");
    let of_template = |path: &str| succeed(Command::new("tar").arg("-xOf").arg(&template).arg(path));
    assert_eq!(of_template("./etc/from-script"), "hello a b 0\n");

    // A file that changed makes a new template; one that did not, does not.
    write(&at("tree/sub/data"), "other\n", 0o600);
    build();
    assert_eq!(of_template("./opt/tree/sub/data"), "other\n");
    let made = fs_err::metadata(&template).unwrap().modified().unwrap();
    build();
    assert_eq!(fs_err::metadata(&template).unwrap().modified().unwrap(), made);

    let disk = output.join("fabric1.qcow2");
    let mut console = Machine::new(&disk).start();
    console.wait_for_login();
    console.log_in("root", "aresquare");
    assert_eq!(console.check("cat /etc/from-base /etc/from-script"), "base\nhello a b 0");
    assert_eq!(console.check("/opt/tree/run"), "ran");
    assert_eq!(console.check("stat -c '%a %U %G' /opt/tree/run /opt/tree/sub/data"), "755 ada ada\n644 ada ada");
    assert_eq!(console.check("cat /opt/tree/link"), "other");
    assert_eq!(console.check("stat -c '%a %U %G' /etc/secret"), "640 root users");
    assert_eq!(console.check("date +%z"), "+0545");
    assert_eq!(console.check("locale | grep -e LANG= -e LC_TIME"), "LANG=de_DE.UTF-8\nLC_TIME=C.UTF-8");
    assert_eq!(
        console.check("LC_ALL=de_DE.UTF-8 ls /nowhere 2>&1 | grep -c gefunden || locale -a | grep -c de_DE"),
        "1"
    );
    assert_eq!(
        console.check("/usr/sbin/sshd -T | grep -e '^port ' -e '^permitrootlogin'"),
        "port 2222\npermitrootlogin no"
    );
    assert_eq!(console.check("cat ~ada/.ssh/authorized_keys").trim(), KEY.trim());
    assert_eq!(console.check("ls /var/lib/fam-build-script 2>/dev/null | wc -l"), "0");
    console.check("systemctl is-active ssh && test -s /etc/ssh/ssh_host_ed25519_key");
    console.power_off();
}

#[test]
fn shipped_recipes_boot() {
    // The recipe `fabric` is what the other tests build.
    let names: Vec<&str> = SHIPPED.iter().map(|shipped| shipped.name).filter(|name| *name != "fabric").collect();
    for name in names.iter().copied().filter(|name| support::has_its_turn(name, &names)) {
        println!("recipe {name}");
        let output = directory_of(user());
        let mut build = as_user(public_binary());
        build.args(["1", "--mirror", &mirror(), "--recipe", name, "--output"]).arg(output.path());
        if name == "sid" {
            // A mirror that is held back has a sid that is past its date, and no other.
            build.arg("--accept-expired");
        }
        succeed(&mut build);
        boot(name, output.path());
    }
}

/// Boots the node of a recipe with a network to the outside, and has a look at it.
fn boot(recipe: &str, output: &Path) {
    let shown = succeed(Command::new(FAM_BUILD).args(["recipe", "show", recipe]));
    let shown: toml::Table = shown.parse().unwrap();
    let suite = shown["suite"].as_str().unwrap();
    let prefix = shown["nodes"]["name"].as_str().unwrap();
    let disk = output.join(format!("{prefix}1.qcow2"));
    let mut machine = Machine::new(&disk);
    machine.arguments.extend(["-nic", "user,model=virtio-net-pci"].map(str::to_owned));
    let seed = output.join("seed.img");
    let mut password = "aresquare";
    if recipe == "cloud" {
        password = "from-the-cloud";
        cloud_seed(&seed, password);
        machine.arguments.extend(["-drive".to_owned(), format!("file={},format=raw,if=virtio", seed.display())]);
    }
    let mut console = machine.start();
    if recipe == "cloud" {
        console.wait_for("Cloud-init v. ", std::time::Duration::from_secs(300));
        console.wait_for("finished at", std::time::Duration::from_secs(300));
        console.press_enter();
    }
    assert_eq!(
        console.wait_for_login(),
        if recipe == "cloud" { "named-by-cloud".into() } else { format!("{prefix}1") }
    );
    console.log_in("root", password);
    let codename = console.check(". /etc/os-release; echo $VERSION_CODENAME");
    assert_eq!(if suite == "sid" { suite } else { &codename }, suite);
    assert_eq!(console.check("dpkg --audit; apt-get check >/dev/null && echo sound"), "sound");
    wait_until(&mut console, "ip -4 -o address show scope global | grep -q inet");
    let failed = console.check("SYSTEMD_COLORS=0 systemctl --failed --no-legend --plain | cut -d ' ' -f 1");
    assert_eq!(failed, "", "{recipe}: units that failed");
    if recipe == "cloud" {
        assert_eq!(console.check("uname -r | grep -c cloud"), "1");
        assert_eq!(console.check("cloud-init status"), "status: done");
        // The disk had room, and cloud-init took it.
        console.check("test $(df --output=size -B1M / | tail -1) -gt 3000");
    }
    console.power_off();
}

fn wait_until(console: &mut Console, condition: &str) {
    let mut wait = String::from("for i in $(seq 60); do ");
    let _ = write!(wait, "if {condition}; then break; fi; sleep 1; done; {condition}");
    console.check(&wait);
}

/// A disk that cloud-init takes its data from (its `NoCloud` data source).
fn cloud_seed(image: &Path, password: &str) {
    let user_data = format!(
        "#cloud-config\nhostname: named-by-cloud\nchpasswd:\n  expire: false\n  users:\n    - {{name: root, password: {password}, type: text}}\n"
    );
    fs_err::File::create(image).unwrap().set_len(4 << 20).unwrap();
    succeed(Command::new("mformat").args(["-v", "CIDATA", "-i"]).arg(image).arg("::"));
    for (name, text) in [("user-data", user_data.as_str()), ("meta-data", "instance-id: test\n")] {
        let file = image.with_file_name(name);
        fs_err::write(&file, text).unwrap();
        succeed(Command::new("mcopy").arg("-i").arg(image).arg(&file).arg("::"));
    }
}
