//! Every shipped recipe, built and booted; and the plugins that read files from the directory of
//! the recipe.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use fam_build::recipe::SHIPPED;
use support::cluster::Nodes;
use support::files::in_tarball;
use support::harness::{ROOT, Test};
use support::qemu::{Console, Machine};
use support::{as_user, directory_of, mirror, program, public_program, succeed, user};

const NEEDS: [&str; 7] = [ROOT, "mcopy", "mformat", "newuidmap", "qemu-img", "qemu-system-x86_64", "ssh"];

support::tests! {
    needs NEEDS;
    plugins_with_files_beside_the_recipe_reach_the_guest,
    nodes_of_the_recipe_for_clouds_are_a_cluster,
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
        let mut command = as_user(public_program());
        command.args(["1", "--mirror", &mirror(), "--recipe"]).arg(at("mine.toml")).arg("--output").arg(&output);
        succeed(&mut command)
    };
    let first = build();
    assert!(!first.contains("Reusing"), "{first}");
    let template = output.join("fabric_template.tar");
    let of_template = |path: &str| in_tarball(&template, path);
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

/// One test for each shipped recipe but `fabric`, which is the default system.
pub fn shipped() -> Vec<Test> {
    let names = SHIPPED.iter().map(|shipped| shipped.name).filter(|name| *name != "fabric");
    names.map(|name| Test::new(module_path!(), &format!("{name}_boots"), move || boots(name)).needs(&NEEDS)).collect()
}

fn boots(name: &str) {
    let output = directory_of(user());
    let mut build = as_user(public_program());
    build.args(["1", "--mirror", &mirror(), "--recipe", name, "--output"]).arg(output.path());
    if name == "sid" {
        // A mirror that is held back has a sid that is past its date, and no other.
        build.arg("--accept-expired");
    }
    succeed(&mut build);
    boot(name, output.path());
}

/// Boots the node of a recipe with a network to the outside, and has a look at it.
pub fn boot(recipe: &str, output: &Path) {
    let shown = succeed(Command::new(program()).args(["recipe", "show", recipe]));
    let shown: toml::Table = shown.parse().unwrap();
    let suite = shown["suite"].as_str().unwrap();
    let prefix = shown["nodes"]["name"].as_str().unwrap();
    let disk = output.join(format!("{prefix}1.qcow2"));
    succeed(Command::new("qemu-img").args(["resize", "-f", "qcow2"]).arg(&disk).arg("+4G"));
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
    // A suite that is tested may not have its number yet, and then no other name.
    let codename = console.check(". /etc/os-release; echo $VERSION_CODENAME");
    assert_eq!(if suite == "sid" { suite } else { &codename }, suite);
    assert_eq!(console.check("dpkg --audit; apt-get check >/dev/null && echo sound"), "sound");
    wait_until(&mut console, "ip -4 -o address show scope global | grep -q inet");
    // The disk is 4 GiB larger than it was built. cloud-init finds that it has grown.
    let gib: u64 = shown["disk"]["size"].as_str().unwrap().trim_end_matches('G').parse().unwrap();
    // Bullseye's systemd comes without systemd-repart.
    let larger = if suite == "bullseye" { "-lt" } else { "-gt" };
    console.check(&format!("test $(df --output=size -B1M / | tail -1) {larger} {}", (gib + 3) * 1024));
    let failed = console.check("SYSTEMD_COLORS=0 systemctl --failed --no-legend --plain | cut -d ' ' -f 1");
    assert_eq!(failed, "", "{recipe}: units that failed");
    if recipe == "cloud" {
        assert_eq!(console.check("uname -r | grep -c cloud"), "1");
        assert_eq!(console.check("cloud-init status"), "status: done");
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

/// By the seeds that the build made: the launch script logs in, knows the host keys, and the nodes
/// know each other.
fn nodes_of_the_recipe_for_clouds_are_a_cluster() {
    let nodes = Nodes::new(15000);
    let mut build = as_user(public_program());
    build
        .args(["--mirror", &mirror(), "--recipe", "cloud", "--nodes", "2", "--thin", "--output"])
        .arg(&nodes.directory);
    succeed(&mut build);
    let seed = nodes.directory.join("cloud2-seed.img");
    succeed(Command::new("/sbin/fsck.vfat").arg("-n").arg(&seed));
    assert_eq!(succeed(Command::new("/sbin/blkid").args(["-o", "value", "-s", "LABEL"]).arg(&seed)).trim(), "CIDATA");
    let said = nodes.start(&["start"], &[1, 2]);
    assert!(!said.contains("WARNING"), "{said}");
    for (number, other) in [(1, 2), (2, 1)] {
        assert_eq!(nodes.ssh(number, "hostname; id -un; sudo -n id -un"), format!("cloud{number}\nfabric\nroot"));
        assert!(nodes.ssh(number, "cloud-init status --wait").ends_with("status: done"));
        assert_eq!(nodes.ssh(number, "systemctl is-system-running --wait || systemctl --failed"), "running");
        // There is no ping; an ssh server greets first.
        for (family, address) in [(4, format!("192.168.42.{other}")), (6, format!("fd48:5045:c0a8:2a::{other}"))] {
            let command = format!("getent ahostsv{family} cloud{other}; timeout 60 head -c 4 </dev/tcp/{address}/22");
            let met = nodes.ssh(number, &command);
            assert!(met.starts_with(&format!("{address} ")) && met.ends_with("SSH-"), "{met}");
        }
        assert_eq!(nodes.ssh(number, "sudo sh -c 'ls /etc/ssh/ssh_host_*_key'"), "/etc/ssh/ssh_host_ed25519_key");
    }
}
