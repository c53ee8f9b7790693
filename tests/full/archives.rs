//! Archives of every kind in one system: Debian's own, a backport that a pin asks for, a vendor's with
//! its own key, a flat one, and two packages in files. It boots, takes newer versions of each from the
//! archives that its apt was told of, and comes out of its lock again, byte by byte.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use support::archive::{Archive, Deb, Files, Form, Signer};
use support::qemu::Machine;
use support::server::{Server, answer_of};
use support::{as_user, directory_of, mirror, public_program, succeed, user};

support::tests! {
    needs [support::harness::ROOT, "dpkg-deb", "gpg", "newuidmap", "qemu-system-x86_64"];
    a_system_of_five_archives_boots_upgrades_and_is_made_again_from_its_lock,
}

const VENDOR: &str = "http://vendor.example/linux";
const FLAT: &str = "http://flat.example/debian";

/// A package of the real backports that needs nothing.
const BACKPORT: &str = "libhwloc-common";

/// The certificate of an authority that no host trusts.
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/archive/src/testing/tls/authority.pem");

/// Packages of which each version says on the disk which it is.
fn deb(name: &str, version: &str) -> Deb {
    Deb::new(name).field("Version", version).file(&format!("/usr/share/{name}/version"), version)
}

/// What the archives of others have, by their URLs, when all packages have this version.
fn published(version: &str) -> HashMap<&'static str, Files> {
    let vendor = Archive::new("stable").signed_by(Signer::named("vendors-key"));
    // Also of what began as files.
    let vendor = ["vendors-tool", "local-tool", "local-library"]
        .map(|name| deb(name, version))
        .into_iter()
        .fold(vendor, Archive::with);
    let flat = Archive::new("flat").form(Form::default().flat("./")).signed_by(Signer::named("flat-key"));
    HashMap::from([(VENDOR, vendor.files()), (FLAT, flat.with(deb("flat-tool", version)).files())])
}

/// A proxy that serves those archives and nothing else.
struct Archives {
    server: Server,
    files: Arc<Mutex<HashMap<&'static str, Files>>>,
}

impl Archives {
    fn serve() -> Self {
        let files = Arc::new(Mutex::new(published("1")));
        let of_server = Arc::clone(&files);
        let server = Server::new(move |request| answer_of(&of_server.lock().unwrap(), request));
        Self { server, files }
    }

    fn publish(&self, version: &str) {
        *self.files.lock().unwrap() = published(version);
    }
}

/// The recipe, its keys and its packages in files.
fn write_recipe(directory: &Path) {
    let recipe = format!(
        "extends = 'minimal'\nsecurity = false\n\
         ca-certificates = ['house.pem']\n\
         include.add = ['ca-certificates', 'vendors-tool', 'flat-tool', '{BACKPORT}', './local-tool.deb', './debs']\n\
         [[archive]]\nsuites = ['trixie-backports']\n\
         [[archive]]\nname = 'vendor'\nurl = '{VENDOR}'\nsuites = ['stable']\nkey = 'vendor.gpg'\n\
         [[archive]]\nurl = '{FLAT}'\nsuites = ['./']\nkey = '''\n{}'''\n\
         [[pin]]\npackages = '{BACKPORT}'\npin = 'release n=trixie-backports'\npriority = 600\n",
        Signer::named("flat-key").armored()
    );
    fs_err::write(directory.join("five.toml"), recipe).unwrap();
    fs_err::copy(Signer::named("vendors-key").keyring(), directory.join("vendor.gpg")).unwrap();
    fs_err::copy(AUTHORITY, directory.join("house.pem")).unwrap();
    fs_err::create_dir(directory.join("debs")).unwrap();
    let tool = deb("local-tool", "1").field("Depends", "local-library, netbase");
    fs_err::write(directory.join("local-tool.deb"), tool.build()).unwrap();
    fs_err::write(directory.join("debs/local-library.deb"), deb("local-library", "1").build()).unwrap();
    succeed(Command::new("chown").arg("--recursive").arg(user()).arg(directory));
}

fn build(directory: &Path, archives: &Archives, output: &str, arguments: &[&str]) {
    let mirror = mirror();
    let host = mirror.split("://").nth(1).unwrap().split(['/', ':']).next().unwrap();
    let mut command = as_user("/usr/bin/env");
    command.arg(format!("http_proxy={}", archives.server.url)).arg(format!("no_proxy={host}")).arg(public_program());
    command.args(["--mirror", &mirror, "--recipe"]).arg(directory.join("five.toml"));
    command.arg("--cache-dir").arg(directory.join("cache")).arg("--output").arg(directory.join(output));
    command.arg("--seed").arg(directory.join("seed")).args(arguments);
    succeed(&mut command);
}

fn a_system_of_five_archives_boots_upgrades_and_is_made_again_from_its_lock() {
    let (directory, archives) = (directory_of(user()), Archives::serve());
    let directory = directory.path();
    write_recipe(directory);
    fs_err::write(directory.join("seed"), format!("{}\n", "5".repeat(64))).unwrap();
    succeed(Command::new("chown").arg(user()).arg(directory.join("seed")));
    build(directory, &archives, "first", &[]);
    archives.publish("2");

    let disk = directory.join("first/fabric1.qcow2");
    let mut machine = Machine::new(&disk);
    machine.arguments = ["-nic", "user,model=virtio"].map(ToOwned::to_owned).to_vec();
    let mut console = machine.start();
    console.wait_for_login();
    console.log_in("root", "aresquare");
    console.check(
        "for second in $(seq 90); do ip -4 -brief address show eth0 | grep UP && break; sleep 1; done | grep UP",
    );
    // This host, as a guest in user mode sees it, is the proxy for archives that nobody else knows.
    let port = archives.server.url.rsplit(':').next().unwrap();
    for host in ["vendor.example", "flat.example"] {
        let line = format!("Acquire::http::Proxy::{host} \"http://10.0.2.2:{port}\";");
        console.check(&format!("echo '{line}' >>/etc/apt/apt.conf.d/99test"));
    }
    let said = console.check("apt-get -q update 2>&1");
    assert!(!said.contains("W:") && !said.contains("E:"), "{said}");
    for path in ["vendor.sources", "flat.example.sources", "debian.sources"] {
        console.check(&format!("test -s /etc/apt/sources.list.d/{path}"));
    }
    // update-ca-certificates has added the authority to the public ones.
    let line = "$(sed -n 2p /usr/local/share/ca-certificates/house.crt)";
    console.check(&format!("grep -qF \"{line}\" /etc/ssl/certs/ca-certificates.crt"));
    let policy = console.check(&format!("apt-cache policy {BACKPORT}"));
    let version =
        |field: &str| policy.lines().find_map(|line| line.trim().strip_prefix(field)).unwrap().trim().to_owned();
    assert!(version("Installed:").contains("~bpo"), "{policy}");
    assert_eq!(version("Installed:"), version("Candidate:"), "{policy}");
    let packages = ["vendors-tool", "local-tool", "local-library", "flat-tool"];
    for package in packages {
        assert!(console.check(&format!("cat /usr/share/{package}/version; echo")).contains('1'), "{package}");
    }
    console.check("DEBIAN_FRONTEND=noninteractive apt-get -q --yes upgrade");
    for package in packages {
        let version = console.check(&format!("cat /usr/share/{package}/version; echo"));
        assert!(version.contains('2'), "{package}: {version}");
    }
    let policy = console.check(&format!("apt-cache policy {BACKPORT}"));
    assert!(policy.contains("Installed: ") && policy.contains("~bpo"), "the upgrade keeps to the backport: {policy}");
    console.power_off();

    // The archives have gone on; the lock and the cache have not.
    let lock = directory.join("first/fabric.lock");
    build(directory, &archives, "again", &["--locked", lock.to_str().unwrap()]);
    let template = |output: &str| fs_err::read(directory.join(output).join("fabric_template.tar")).unwrap();
    assert!(template("first") == template("again"), "the lock makes another system");
}
