//! The order of installation, asked of dpkg: small packages, each of which has a question about it,
//! are installed by fam-build and by mmdebstrap from one signed archive. What they leave behind has
//! to be the same. The essential packages are those of the machine's mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fam_archive::lock::Lock;
use support::archive::{Archive, Deb, Mirror};
use support::files::extract;
use support::harness::ROOT;
use support::shared::shared;
use support::{as_user, directory_of, fail, mirror, program, public_program, scratch, succeed, user};

support::tests! {
    needs [ROOT, "dpkg-deb", "gpg", "mmdebstrap", "newuidmap"];
    packages_leave_what_they_leave_with_dpkg,
    what_dpkg_refuses_is_refused,
}

/// A package to make.
#[derive(Default)]
struct Small {
    name: &'static str,
    /// Fields of its control file, each with its newline.
    fields: &'static str,
    /// Control files: `preinst`, `postinst` (without their first line), `triggers`.
    control: Vec<(&'static str, &'static str)>,
    /// Files by path, with their contents. A path that ends with a slash is a directory. What is in
    /// /etc is a conffile.
    files: Vec<(&'static str, &'static str)>,
}

/// What all scripts begin with.
const SCRIPT: &str =
    "set -e\nmkdir -p /var/lib/order\nsay() { echo \"$@\" >>\"/var/lib/order/$DPKG_MAINTSCRIPT_PACKAGE\"; }\n";

/// The packages of one system; every question is in their scripts.
fn questions() -> Vec<Small> {
    let small = |name, fields, control: &[_], files: &[_]| Small {
        name,
        fields,
        control: control.to_vec(),
        files: files.to_vec(),
    };
    vec![
        // A postinst that counts on essential packages without naming one.
        small("order-su", "", &[("postinst", "say $(su -s /bin/sh -c 'id -un' nobody)")], &[]),
        // A script that asks where it is, as invoke-rc.d and systemctl do, and what an initramfs
        // with MODULES=dep wants.
        small(
            "order-chroot",
            "",
            &[("postinst", "ischroot && say chroot\nsay $(ls -d /sys/devices /sys/class/net/lo)")],
            &[],
        ),
        // A secret of the kernel's, copied with its owner. Then another, as all are to install the
        // same.
        small("order-secret", "", &[("postinst", COPY_SECRET)], &[]),
        // A preinst that needs what it pre-depends on configured, and comes before its own files.
        small(
            "order-tool",
            "",
            &[("postinst", "say configured")],
            &[("etc/order/tool.conf", "setting\n"), ("usr/share/order/tool", "")],
        ),
        small(
            "order-predep",
            "Pre-Depends: order-tool\n",
            &[(
                "preinst",
                "say $(cat /etc/order/tool.conf /var/lib/order/order-tool) $(ls /usr/share/order/predep 2>&1)",
            )],
            &[("usr/share/order/predep", "")],
        ),
        small("order-chain-1", "Pre-Depends: order-chain-2\n", &[CHAIN[0], CHAIN[1]], &[]),
        small("order-chain-2", "Pre-Depends: order-chain-3\n", &[CHAIN[0], CHAIN[1]], &[]),
        small("order-chain-3", "", &[CHAIN[0], CHAIN[1]], &[]),
        // What a script finds in its environment.
        small(
            "order-environment",
            "",
            &[(
                "preinst",
                "say \"$*\" $(umask) $(pwd) $(env | grep -E '^DPKG_(MAINTSCRIPT|RUNNING|ADMINDIR|ROOT)' | sort)",
            )],
            &[],
        ),
        // Diversions of files that are there, that come, and of a conffile; and of a file of an
        // essential package.
        small(
            "order-victim",
            "",
            &[],
            &[("usr/share/order/victim", "the victim's\n"), ("usr/share/order/other", "the victim's\n")],
        ),
        small(
            "order-divert",
            "",
            &[(
                "preinst",
                "for file in /usr/share/order/victim /usr/share/order/late /etc/order/late.conf /usr/bin/zless; do\n\
                 dpkg-divert --package order-divert --add --rename --divert $file.real $file\ndone\n\
                 dpkg-divert --local --add --no-rename --divert /usr/share/order/local.real /usr/share/order/local\n",
            )],
            &[
                ("usr/share/order/victim", "the diverter's\n"),
                ("usr/share/order/late", "the diverter's\n"),
                ("usr/bin/zless", "the diverter's\n"),
            ],
        ),
        small(
            "order-late",
            "Pre-Depends: order-divert\n",
            &[("preinst", ":")],
            &[
                ("usr/share/order/late", "the late one's\n"),
                ("etc/order/late.conf", "the late one's\n"),
                ("usr/share/order/local", "the late one's\n"),
            ],
        ),
        // Owners and modes by a script that comes before the files.
        small(
            "order-override",
            "",
            &[(
                "preinst",
                "dpkg-statoverride --add root adm 0710 /usr/share/order/override\n\
                 dpkg-statoverride --add games '#77' 4711 /usr/share/order/override/file\n",
            )],
            &[
                ("usr/share/order/override/", ""),
                ("usr/share/order/override/file", ""),
                ("usr/share/order/override/not", ""),
            ],
        ),
        // A directory that a script made, before the package that has it.
        small(
            "order-directory",
            "",
            &[("preinst", "mkdir -p /usr/share/order\nmkdir -m 0700 /usr/share/order/private")],
            &[("usr/share/order/private/", ""), ("usr/share/order/private/file", "")],
        ),
        // Files that one package takes over from another.
        small("order-old", "", &[], &[("usr/share/order/both", "the old one's\n"), ("usr/share/order/old", "")]),
        small(
            "order-new",
            "Replaces: order-old (<< 2)\nDepends: order-old\n",
            &[("preinst", ":")],
            &[("usr/share/order/both", "the new one's\n")],
        ),
        // Triggers of a package that is configured before the packages that activate them are
        // unpacked.
        small(
            "order-listener",
            "",
            &[
                ("triggers", "interest-noawait /usr/share/order/heard\ninterest order-call\n"),
                ("postinst", "ls /usr/share/order/heard 2>/dev/null >/var/lib/order/heard || :"),
            ],
            &[],
        ),
        small(
            "order-speaker",
            "Pre-Depends: order-listener\n",
            &[("preinst", "say $(cat /var/lib/order/heard)"), ("triggers", "activate order-call\n")],
            &[("usr/share/order/heard/", ""), ("usr/share/order/heard/a word", "")],
        ),
    ]
}

const COPY_SECRET: &str = "cp -p /proc/sys/kernel/random/uuid /var/lib/order/secret
echo 4498829f-e08a-4417-a308-bbd460ef0a12 >/var/lib/order/secret";

const CHAIN: [(&str, &str); 2] = [
    ("preinst", "echo \"preinst of $DPKG_MAINTSCRIPT_PACKAGE\" >>/var/lib/order/chain"),
    ("postinst", "echo \"postinst of $DPKG_MAINTSCRIPT_PACKAGE\" >>/var/lib/order/chain"),
];

/// Makes a package.
fn deb(small: &Small) -> Deb {
    let mut deb = Deb::new(small.name);
    for line in small.fields.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        deb = deb.field(name, value);
    }
    for (path, text) in &small.files {
        deb = match path.strip_suffix('/') {
            Some(path) => deb.directory(path),
            None => deb.file(path, *text),
        };
    }
    for (member, text) in &small.control {
        deb = match *member {
            "triggers" => deb.control_file("triggers", text),
            script => deb.script(script, &format!("{SCRIPT}{text}")),
        };
    }
    let conffiles = small.files.iter().filter(|(path, _)| path.starts_with("etc/") && !path.ends_with('/'));
    let conffiles: String = conffiles.map(|(path, _)| format!("/{path}\n")).collect();
    if conffiles.is_empty() { deb } else { deb.control_file("conffiles", &conffiles) }
}

/// Where mmdebstrap makes its tree: dpkg waits for a disk at every package.
fn fast() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.into() } else { scratch() }
}

/// The essential packages of trixie, the packages `include` and what these need, with their control
/// files.
pub fn real_packages(include: &[&str]) -> Vec<(String, Vec<u8>)> {
    let place =
        shared(&["essential", "packages"].iter().chain(include).copied().collect::<Vec<_>>().join("-"), |place| {
            let recipe = place.join("essential.toml");
            fs_err::write(&recipe, recipe_text("trixie", include, "")).unwrap();
            let output = place.join("output");
            // Building brings the packages into the cache.
            let mut build = Command::new(program());
            build.args(["--mirror", &mirror(), "--recipe"]).arg(recipe).arg("--output").arg(&output);
            succeed(build.arg("--cache-dir").arg(place.join("cache")));
        });
    let lock = Lock::parse(&fs_err::read_to_string(place.join("output/fabric.lock")).unwrap()).unwrap();
    let debs = lock.packages.iter().map(|package| {
        let sum = package.digest.to_string();
        let path = place.join("cache/sha256").join(&sum[..2]).join(&sum);
        (succeed(Command::new("dpkg-deb").arg("--field").arg(&path)), fs_err::read(path).unwrap())
    });
    debs.collect()
}

pub fn recipe_text(suite: &str, include: &[&str], more: &str) -> String {
    format!(
        "suite = \"{suite}\"\nvariant = \"essential\"\nupdates = false\nsecurity = false\ninclude = {include:?}\n{more}\n\
         [kernel]\npackage = \"hostname\"\n[disk]\nsize = \"1G\"\n[nodes]\ncount = 1\n"
    )
}

/// The suite `tiny` with the essential packages and these.
fn serve(smalls: &[Small]) -> Mirror {
    serve_with(real_packages(&[]), smalls.iter().map(deb))
}

/// The suite `tiny` with these packages.
pub fn serve_with(real: Vec<(String, Vec<u8>)>, own: impl IntoIterator<Item = Deb>) -> Mirror {
    let add = |archive: Archive, (control, bytes)| archive.with_made(control, bytes);
    own.into_iter().fold(real.into_iter().fold(Archive::new("tiny"), add), Archive::with).serve()
}

/// The build of a template with these packages.
fn install(mirror: &Mirror, include: &[&str], output: &Path, who: &str) -> Command {
    build(mirror, &recipe_text("tiny", include, ""), output, who)
}

/// The build of this recipe.
pub fn build(mirror: &Mirror, text: &str, output: &Path, who: &str) -> Command {
    let recipe = output.join("tiny.toml");
    fs_err::write(&recipe, text).unwrap();
    let mut command = if who == "root" { Command::new(program()) } else { as_user(public_program()) };
    command.env("no_proxy", "127.0.0.1").arg("--recipe").arg(recipe).arg("--output").arg(output);
    command.arg("--cache-dir").arg(output.join("cache")).args(["--mirror", mirror.url()]);
    command.arg("--keyring").arg(mirror.keyring());
    command
}

/// The same by mmdebstrap, as a tarball.
pub fn mmdebstrap(mirror: &Mirror, include: &[&str], tarball: &Path) -> Command {
    let mut command = Command::new("mmdebstrap");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TMPDIR", fast());
    command.args(["--quiet", "--variant=essential", "--skip=output/dev"]);
    command.arg(format!("--include={}", include.join(","))).arg("tiny").arg(tarball);
    command.arg(format!("deb [signed-by={}] {} tiny main", mirror.keyring().display(), mirror.url()));
    command
}

/// Everything of a tarball that the questions are about: path, and what one can tell of it but
/// times.
fn answers(tarball: &Path) -> BTreeMap<String, String> {
    let directory = tempfile::tempdir_in(scratch()).unwrap();
    let root = directory.path();
    extract(tarball, root);
    let found =
        succeed(Command::new("find").args(["usr/bin", "usr/share/order", "etc/order", "var/lib"]).current_dir(root));
    let about = |path: &str| path.contains("order") || path.contains("zless");
    let mut answers = BTreeMap::new();
    for path in found.lines().filter(|path| about(path)) {
        let metadata = fs_err::symlink_metadata(root.join(path)).unwrap();
        let mut answer = format!("{:o} {}:{}", metadata.mode(), metadata.uid(), metadata.gid());
        if metadata.is_file() {
            write!(answer, " {}", String::from_utf8_lossy(&fs_err::read(root.join(path)).unwrap())).unwrap();
        }
        answers.insert(path.to_owned(), answer);
    }
    // Of these only the lines count: where packages come in the order of unpacking, it is another
    // one.
    for file in ["status", "diversions", "statoverride", "triggers/File", "triggers/Unincorp"] {
        let path = format!("var/lib/dpkg/{file}");
        let text = fs_err::read_to_string(root.join(&path)).unwrap();
        let mut lines: Vec<&str> = match file {
            "status" => text.split("\n\n").collect(),
            "diversions" => text.split_inclusive("order-divert\n").collect(),
            _ => text.lines().collect(),
        };
        lines.sort_unstable();
        answers.insert(path, lines.join("\n"));
    }
    answers
}

pub fn assert_same(ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) {
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let different = paths.into_iter().filter(|path| ours.get(*path) != theirs.get(*path));
    let shown: Vec<String> = different
        .map(|path| format!("{path}\n  ours   {:?}\n  theirs {:?}", ours.get(path), theirs.get(path)))
        .collect();
    assert!(shown.is_empty(), "{} differences:\n{}", shown.len(), shown.join("\n"));
}

fn packages_leave_what_they_leave_with_dpkg() {
    let questions = questions();
    let names: Vec<&str> = questions.iter().map(|small| small.name).collect();
    let mirror = serve(&questions);
    let output = directory_of("root");
    succeed(&mut install(&mirror, &names, output.path(), "root"));
    let reference = output.path().join("mmdebstrap.tar");
    succeed(&mut mmdebstrap(&mirror, &names, &reference));
    let template = output.path().join("fabric_template.tar");
    let ours = answers(&template);
    assert_same(&ours, &answers(&reference));

    // A few of them by name, so that both cannot be wrong together.
    let text = |path: &str| ours[path].split_once(' ').unwrap().1.split_once(' ').unwrap().1.to_owned();
    assert_eq!(text("var/lib/order/order-su"), "nobody\n");
    assert!(ours["var/lib/order/secret"].starts_with("100444 0:0 4498829f-"), "{ours:#?}");
    assert_eq!(text("var/lib/order/order-chroot"), "chroot\n/sys/class/net/lo /sys/devices\n");
    assert_eq!(
        text("var/lib/order/order-predep"),
        "setting configured ls: cannot access '/usr/share/order/predep': No such file or directory\n"
    );
    assert_eq!(
        text("var/lib/order/chain"),
        [3, 2, 1].map(|it| format!("preinst of order-chain-{it}\npostinst of order-chain-{it}\n")).concat()
    );
    assert_eq!(text("usr/share/order/late.real"), "the late one's\n");
    assert_eq!(text("etc/order/late.conf.real"), "the late one's\n");
    assert_eq!(text("var/lib/order/heard"), "a word\n");
    // dpkg reads the overrides when it begins to unpack: this one came too late for the package
    // that made it.
    assert!(ours["usr/share/order/override/file"].starts_with("100644 0:0 "), "{ours:#?}");

    let users = directory_of(user());
    // The seed is part of what the template's first record names.
    let seed = users.path().join("fabric.seed");
    fs_err::copy(output.path().join("fabric.seed"), &seed).unwrap();
    succeed(Command::new("chown").arg(user()).arg(&seed));
    succeed(&mut install(&mirror, &names, users.path(), "user"));
    let [ours, theirs] = [template, users.path().join("fabric_template.tar")].map(|path| fs_err::read(path).unwrap());
    assert!(ours == theirs, "root and a user make the same bytes");
}

fn what_dpkg_refuses_is_refused() {
    let small = |name, fields, files: &[_]| Small { name, fields, files: files.to_vec(), ..Small::default() };
    let divert = "dpkg-divert --package order-diverts --add --rename --divert /usr/share/order/b /usr/share/order/a";
    let smalls = [
        small("order-clash-a", "", &[("usr/share/order/clash", "")]),
        small("order-clash-b", "", &[("usr/share/order/clash", "")]),
        small("order-conflicts", "Conflicts: order-clash-a\n", &[]),
        small("order-breaks", "Breaks: order-clash-a (<< 2)\n", &[]),
        Small { control: vec![("preinst", divert)], ..small("order-diverts", "", &[]) },
        Small {
            control: vec![("preinst", ":")],
            ..small("order-steals", "Pre-Depends: order-diverts\n", &[("usr/share/order/b", "")])
        },
        Small { control: vec![("preinst", "echo the moon is gone >&2\nexit 3")], ..small("order-fails", "", &[]) },
    ];
    let mirror = serve(&smalls);
    for (include, message) in [
        (
            &["order-clash-a", "order-clash-b"][..],
            "packages order-clash-a and order-clash-b both hold /usr/share/order/clash",
        ),
        (
            &["order-clash-a", "order-conflicts"],
            "choose the packages: packages that cannot be installed:\n  order-conflicts: conflicts with order-clash-a, and order-clash-a=1 is to be installed",
        ),
        (
            &["order-clash-a", "order-breaks"],
            "choose the packages: packages that cannot be installed:\n  order-breaks: breaks order-clash-a (<< 2), and order-clash-a=1 is to be installed",
        ),
        (
            &["order-diverts", "order-steals"],
            "package order-steals holds /usr/share/order/b, to which the diverted /usr/share/order/a was renamed",
        ),
        (
            &["order-fails"],
            "pre-installation script of package order-fails failed: it exited with status 3; its last lines:\n  the moon is gone",
        ),
    ] {
        let output = directory_of("root");
        let (_, error) = fail(&mut install(&mirror, include, output.path(), "root"));
        assert!(error.contains(&format!("error: {message}\n")), "{error}");
        fail(&mut mmdebstrap(&mirror, include, &output.path().join("mmdebstrap.tar")));
    }
}
