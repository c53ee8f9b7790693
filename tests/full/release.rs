//! The files of a release, as `release/make` makes them: what they are, and a user's first steps with
//! them in roots that have nothing else of this project.

use std::path::{Path, PathBuf};
use std::process::Command;

use support::bare::{command_in, command_in_as_root, prepare_root};
use support::harness::{ROOT, RUST_FOR_MUSL};
use support::root::root_of;
use support::shared::shared;
use support::{SMALL_SYSTEM, directory_of, fail, mirror, succeed};

support::tests! {
    needs [
        ROOT, RUST_FOR_MUSL, "cargo", "cc", "lintian", "mmdebstrap", "musl-gcc", "newuidmap", "qemu-img", "readelf",
    ];
    files_are_what_their_names_say,
    the_package_in_the_oldest_debian,
    the_package_in_the_newest_debian,
    the_tarball_where_nothing_is_debians,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The directory with the files of a release of this source.
fn release() -> PathBuf {
    shared("release", |place| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("release/make");
        succeed(Command::new(script).arg(place).env("MIRROR", mirror()));
    })
}

fn package() -> PathBuf {
    release().join(format!("fam-build_{VERSION}-1_amd64.deb"))
}

fn static_program() -> PathBuf {
    release().join(format!("fam-build-{VERSION}-x86_64-linux-musl"))
}

fn files_are_what_their_names_say() {
    succeed(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(release()));
    let headers =
        succeed(Command::new("readelf").args(["--wide", "--program-headers", "--dynamic"]).arg(static_program()));
    assert!(!headers.contains("INTERP") && !headers.contains("NEEDED"), "{headers}");

    let mut lintian = Command::new("lintian");
    let said = succeed(lintian.args(["--allow-root", "--pedantic", "--fail-on", "error,warning"]).arg(package()));
    assert_eq!(said, "");

    // No path of the machine that it was made on.
    let home = std::env::var("HOME").unwrap();
    for file in [static_program(), package()] {
        let unpacked = directory_of("root");
        let program = if file.extension().is_some_and(|extension| extension == "deb") {
            succeed(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(unpacked.path()));
            unpacked.path().join("usr/bin/fam-build")
        } else {
            file
        };
        let bytes = fs_err::read(&program).unwrap();
        for place in [env!("CARGO_MANIFEST_DIR"), &format!("{home}/")] {
            let found = bytes.windows(place.len()).position(|window| window == place.as_bytes());
            assert_eq!(found, None, "{} has {place}", program.display());
        }
    }
}

fn the_package_in_the_oldest_debian() {
    the_package_in("bullseye");
}

fn the_package_in_the_newest_debian() {
    the_package_in("sid");
}

/// A small root of Debian with what the package recommends, and `man`.
fn debian(suite: &str) -> tempfile::TempDir {
    let system = SMALL_SYSTEM.replace("trixie", suite);
    let root = root_of(&format!("include = [\"man-db\", \"uidmap\"]\n{system}"));
    prepare_root(root.path());
    root
}

/// Installs the package, reads its manual, builds as a user, and takes it away again.
fn the_package_in(suite: &str) {
    let root = debian(suite);
    let root = root.path();
    fs_err::copy(package(), root.join("fam-build.deb")).unwrap();
    let apt = |arguments: &[&str]| succeed(command_in_as_root(root, "apt-get").arg("--yes").args(arguments));
    apt(&["install", "--no-install-recommends", "/fam-build.deb"]);
    apt(&["check"]);
    assert_eq!(succeed(command_in_as_root(root, "dpkg").args(["--verify", "fam-build"])), "");

    assert_eq!(succeed(command_in(root, "fam-build").arg("--version")), format!("fam-build {VERSION}\n"));
    for (page, line) in [("fam-build", "SOURCE_DATE_EPOCH  no file"), ("fam-build-plan", "--mirror")] {
        let manual = succeed(command_in(root, "man").env("MANWIDTH", "120").args(["--pager=cat", page]));
        assert!(manual.contains(line) && manual.contains("NAME"), "{manual}");
    }
    let completions = ". /usr/share/bash-completion/completions/fam-build && complete -p fam-build";
    let said = succeed(command_in(root, "bash").args(["-ec", completions]));
    assert!(said.contains("complete ") && said.contains(" fam-build\n"), "{said}");

    let library = empty_library(root);
    let (_, said) = fail(command_in(root, "fam-build").args(["plugin", "check"]).arg(library));
    assert!(said.contains("exports no function fam_plugin_main"), "{said}");
    build_minimal(root, command_in(root, "fam-build"));
    apt(&["purge", "fam-build"]);
    assert!(!root.join("usr/bin/fam-build").exists());
}

/// Unpacks the tarball into a root that holds busybox, linked statically, and nothing else: no C
/// library, no dpkg, no certificates.
fn the_tarball_where_nothing_is_debians() {
    let (extracted, root) = (directory_of("root"), directory_of("root"));
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--quiet", "--variant=extract", "--include=busybox-static", "--format=directory", "trixie"]);
    succeed(mmdebstrap.arg(extracted.path().join("extracted")).arg(mirror()));
    let root = root.path();
    for directory in ["bin", "etc", "tmp"] {
        fs_err::create_dir(root.join(directory)).unwrap();
    }
    fs_err::copy(extracted.path().join("extracted/usr/bin/busybox"), root.join("bin/busybox")).unwrap();
    fs_err::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    fs_err::write(root.join("etc/os-release"), "ID=busybox\n").unwrap();
    prepare_root(root);
    succeed(command_in_as_root(root, "/bin/busybox").args(["--install", "-s", "/bin"]));

    let name = format!("fam-build-{VERSION}-x86_64-linux-musl");
    fs_err::copy(release().join(format!("{name}.tar.gz")), root.join("release.tar.gz")).unwrap();
    let shell = |commands: &str| succeed(command_in_as_root(root, "sh").args(["-ec", &format!("cd /\n{commands}")]));
    shell("tar xzf release.tar.gz");
    let program = format!("/{name}/fam-build");
    assert_eq!(shell(&format!("{program} --version")), format!("fam-build {VERSION}\n"));
    for file in
        ["README.md", "LICENSE-MIT", "CHANGELOG.md", "THIRD-PARTY", "man/fam-build.1", "completions/fam-build.fish"]
    {
        assert!(fs_err::metadata(root.join(&name).join(file)).unwrap().len() > 0, "{file}");
    }

    let (code, said) = fail(command_in_as_root(root, &program).args(["plugin", "check"]).arg(empty_library(root)));
    assert!(code == 2 && said.contains("this fam-build is static"), "{said}");
    assert!(said.contains("hint: take the dynamic fam-build of the .deb"), "{said}");
    let check = "plugin check greet/greet --set text=hello";
    let checked = shell(&format!("{program} plugin new --lang sh greet && {program} {check}"));
    assert!(checked.contains("settings fit"), "{checked}");
    build_minimal(root, command_in_as_root(root, &program));
}

/// A library that loads, and is no plugin, as the root sees it.
fn empty_library(root: &Path) -> &'static str {
    let file = root.join("output/empty.so");
    succeed(Command::new("cc").args(["-shared", "-nostdlib", "-x", "c", "/dev/null", "-o"]).arg(file));
    "/output/empty.so"
}

/// Builds a node of the recipe `minimal` in the root's /output, and has its image checked.
fn build_minimal(root: &Path, mut program: Command) {
    program.args(["1", "--recipe", "minimal", "--mirror", &mirror(), "--output", "/output/vms"]);
    succeed(&mut program);
    let images = fs_err::read_dir(root.join("output/vms")).unwrap().map(|entry| entry.unwrap().path());
    let image = images.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "qcow2")).unwrap();
    succeed(Command::new("qemu-img").args(["check", "--output=human"]).arg(image));
}
