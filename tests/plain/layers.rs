//! Layers: what an earlier build installed, and later ones start from; and that the bytes are those of a
//! build that starts from nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::archive::{Archive, Deb};
use support::succeed;

use crate::running::{Run, Victim};
use crate::small::{Bench, Who, archive, assert_fails, names, recipe_with};

support::tests! {
    needs [support::harness::ROOT, "cmp", "gpg", "dpkg-deb", "newuidmap"];
    what_changes_in_plugins_alone_starts_from_the_layer,
    a_system_is_in_a_directory_only_where_it_has_to_be,
    what_decides_of_packages_makes_another_layer,
    a_damaged_layer_is_installed_anew,
    layers_have_an_end,
    a_plugin_that_fails_leaves_the_layer,
    a_killed_build_leaves_a_good_cache,
    passwords_are_in_no_layer,
    more_packages_go_on_top_of_a_layer,
    what_fails_on_top_of_a_layer_says_why,
    what_goes_on_top_of_a_layer_waits_for_what_it_counts_on,
}

const STARTS: &str = "packages as they were installed and configured before";

/// A place for builds with a package whose postinst says that it ran, and leaves what a tarball does not
/// keep.
struct Layered {
    bench: Bench,
    seed: String,
}

impl Layered {
    fn of(who: Who) -> Self {
        Self::with(who, archive())
    }

    /// With the packages of `archive`, too.
    fn with(who: Who, archive: Archive) -> Self {
        let pkg = Deb::new("pkg").script(
            "postinst",
            "echo 'the script ran'; echo > /etc/made; echo x > /run/x; echo x > /tmp/x; mkdir /var/new",
        );
        let archive = archive.with(pkg).with(Deb::new("more").file("/usr/share/more", "more\n"));
        let bench = Bench::of(who, archive.serve());
        let seed = bench.seed();
        let layered = Self { bench, seed };
        layered.recipe("");
        layered
    }

    fn recipe(&self, plugins: &str) {
        self.bench.write("tiny.toml", &recipe_with(plugins));
    }

    /// A recipe with a script, and thereby another template.
    fn script(&self, text: &str) {
        self.recipe(&format!("[[plugin]]\nname = 'script'\nsettings.script = '''{text}'''\n"));
    }

    fn command(&self, more: &[&str]) -> Command {
        self.command_of(&[], more)
    }

    /// A run of this verb with what all runs have.
    fn command_of(&self, verb: &[&str], more: &[&str]) -> Command {
        self.bench.build(&[verb, &["--include", "pkg", "--seed", &self.seed], more].concat())
    }

    /// Builds; returns what was said and what the log has.
    fn build(&self, more: &[&str]) -> (String, String) {
        let output = self.command(more).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        (said, fs_err::read_to_string(self.bench.output().join("fabric_emulation.log")).unwrap())
    }

    /// Builds; returns whether it started from a layer.
    fn starts_from_layer(&self, more: &[&str]) -> bool {
        let (said, log) = self.build(more);
        assert_eq!(said.contains(STARTS), !log.contains("the script ran"), "{said}\n{log}");
        said.contains(STARTS)
    }

    fn layers(&self) -> PathBuf {
        self.bench.cache().join("fam-build/layers")
    }

    /// The tarballs of layers.
    fn tarballs(&self) -> Vec<PathBuf> {
        let names = names(&self.layers()).into_iter().filter(|name| name.ends_with(".tar"));
        names.map(|name| self.layers().join(name)).collect()
    }

    fn plan(&self, more: &[&str]) -> String {
        succeed(&mut self.command_of(&["plan"], more))
    }

    /// Asserts that the artifacts are those of builds that start from nothing: one that keeps a layer and goes on
    /// from it, and one that has its system in a directory from the beginning to the end.
    #[track_caller]
    fn assert_as_if_new(&self) {
        let empty = self.bench.directory.path().join("empty");
        for more in [&[][..], &["--layers", "0"]] {
            let more = [&["--fresh", "--output", empty.to_str().unwrap()], more].concat();
            let output = self.command(&more).output().unwrap();
            let log = fs_err::read_to_string(empty.join("fabric_emulation.log")).unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains(STARTS) && log.contains("the script ran"), "{said}\n{log}");
            for name in ["fabric_template.tar", "fabric_template.img", "fabric1.qcow2", "fabric.lock"] {
                succeed(Command::new("cmp").arg(self.bench.output().join(name)).arg(empty.join(name)));
            }
            fs_err::remove_dir_all(&empty).unwrap();
        }
    }
}

fn what_changes_in_plugins_alone_starts_from_the_layer() {
    for who in [Who::Root, Who::User] {
        let layered = Layered::of(who);
        assert!(!layered.starts_from_layer(&[]), "{who:?}");
        assert!(layered.plan(&["--output", "/nowhere"]).contains("Nothing is fetched or installed"));
        // What a script finds is the same, whichever way the build came here. /etc/fstab was written just now.
        let script = r"find / -xdev \( -path /etc/found -o -path /etc/fstab \
            -o -path /usr/sbin/policy-rc.d -o -path /usr/sbin/start-stop-daemon \) -prune \
            -o -type d -printf '%p %m %U:%G\n' -o -printf '%p %y %m %U:%G %s %T@ %l\n' | sort > /etc/found";
        for script in [script, "echo other > /etc/other; test ! -e /run/x; test ! -e /tmp/x"] {
            layered.script(script);
            assert!(layered.starts_from_layer(&[]), "{who:?}");
            let requests = layered.bench.mirror.server.requests().len();
            layered.assert_as_if_new();
            assert!(layered.bench.mirror.server.requests().len() > requests);
        }
        // With an empty cache of packages, too: none is needed.
        fs_err::remove_dir_all(layered.bench.cache().join("fam-build/sha256")).unwrap();
        layered.script("echo again > /etc/other");
        assert!(layered.starts_from_layer(&[]), "{who:?}");
        let mode = fs_err::metadata(&layered.tarballs()[0]).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "a layer has /etc/shadow");
        layered.assert_as_if_new();
    }
}

fn a_system_is_in_a_directory_only_where_it_has_to_be() {
    let layered = Layered::of(Who::User);
    layered.build(&[]);
    fs_err::create_dir_all(layered.bench.directory.path().join("tree/deep/er")).unwrap();
    layered.bench.write("tree/deep/er/text", "text");
    layered.bench.write("large", &"0123456789abcde\n".repeat((15 << 20) / 16));
    let files = |settings: &str| format!("[[plugin]]\nname = 'files'\nsettings.files = [{{ {settings} }}]\n");
    let users = "[[plugin]]\nname = 'users'\nsettings.users = [{ name = 'ada', password = 'x', uid = 1234 }]\n";
    // What it lists has no time of now, which a file in /etc that it is being written to would have.
    let script = "[[plugin]]\nname = 'script'\nsettings.script = 'ls -lR /etc /home > /tmp/seen; mv /tmp/seen /etc; rm /etc/made'\n";
    for (plugins, is_in_directory) in [
        (files("target = '/etc/made', content = 'short', mode = '4750', owner = '1', group = '1'"), false),
        (files("target = '/srv', source = 'tree'") + users, false),
        (files("target = '/etc/large', source = 'large'"), false),
        (files("target = '/etc/large', source = 'large'") + &files("target = '/etc/again', source = 'large'"), true),
        (users.to_owned() + script + &files("target = '/etc/made', content = 'short'"), true),
    ] {
        layered.recipe(&plugins);
        let (said, log) = layered.build(&[]);
        assert!(said.contains(STARTS), "{said}");
        assert_eq!(log.contains("the system is put into a directory"), is_in_directory, "{plugins}");
        layered.assert_as_if_new();
    }
}

fn what_decides_of_packages_makes_another_layer() {
    let layered = Layered::of(Who::Root);
    let empty = layered.plan(&[]);
    assert!(empty.contains("To fetch") && !empty.contains("layer"), "{empty}");
    layered.build(&[]);
    let base = recipe_with("");
    let others = [
        (base.clone(), vec!["--include", "more"], "lacks more"),
        (base.replace("[kernel]", "[[paths]]\nexclude = '/usr/share/doc/*'\n[kernel]"), vec![], "the rules for paths"),
        (format!("initramfs = 'most'\n{base}"), vec![], "the kind of initramfs"),
        (format!("debconf = ['pkg pkg/question string 5']\n{base}"), vec![], "the answers to packages"),
    ];
    for (count, (recipe, more, difference)) in (2..).zip(others) {
        layered.bench.write("tiny.toml", &recipe);
        let plan = layered.plan(&more);
        assert!(plan.contains("nearest layer") && plan.contains(difference), "{plan}");
        assert!(!layered.starts_from_layer(&more), "{difference}");
        assert_eq!(layered.tarballs().len(), count, "{difference}");
        assert!(
            layered.plan(&[&more[..], &["--output", "/nowhere"]].concat()).contains("Nothing is fetched or installed")
        );
    }
    // The first one is there, still.
    layered.script("true");
    assert!(layered.starts_from_layer(&[]));
}

/// Flips a bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs_err::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(path, bytes).unwrap();
}

/// What is wrong, and the way to make it so.
type Damage = (&'static str, fn(&Path));

fn a_damaged_layer_is_installed_anew() {
    let layered = Layered::of(Who::Root);
    layered.build(&[]);
    let tarball = layered.tarballs().remove(0);
    let damages: [Damage; 6] = [
        ("a flipped bit", |path| flip(path)),
        ("cut off", |path| fs_err::write(path, &fs_err::read(path).unwrap()[..2048]).unwrap()),
        ("empty", |path| fs_err::write(path, "").unwrap()),
        ("gone", |path| fs_err::remove_file(path).unwrap()),
        ("a link", |path| {
            fs_err::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        }),
        ("a FIFO", |path| {
            fs_err::remove_file(path).unwrap();
            rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR).unwrap();
        }),
    ];
    for (number, (what, damage)) in damages.into_iter().enumerate() {
        damage(&tarball);
        layered.script(&format!("echo {number} > /etc/number"));
        let (said, log) = layered.build(&[]);
        assert!(said.contains("the layer of these packages in the cache is damaged"), "{what}: {said}");
        assert!(log.contains("the script ran"), "{what}");
        layered.assert_as_if_new();
        layered.script(&format!("echo again {number} > /etc/number"));
        assert!(layered.starts_from_layer(&[]), "{what}: kept again");
    }
    // What stands there cannot be removed as a file: builds go on, and keep none.
    fs_err::remove_file(&tarball).unwrap();
    fs_err::create_dir(&tarball).unwrap();
    for number in ["100", "101"] {
        layered.script(&format!("echo {number} > /etc/number"));
        assert!(layered.build(&[]).1.contains("no layer is kept"));
    }
    fs_err::remove_dir(&tarball).unwrap();
    layered.build(&["--fresh"]);
    flip(&tarball.with_extension(""));
    layered.script("echo record > /etc/number");
    assert!(!layered.starts_from_layer(&[]), "no record, no layer");
    layered.assert_as_if_new();
}

fn layers_have_an_end() {
    let layered = Layered::of(Who::Root);
    assert!(!layered.starts_from_layer(&["--layers", "0"]));
    assert_eq!(names(&layered.layers()), Vec::<String>::new());
    layered.script("true");
    assert!(!layered.starts_from_layer(&["--layers", "100K"]));
    assert_eq!(names(&layered.layers()), Vec::<String>::new(), "it is larger than that");
    layered.script("echo 1 > /etc/number");
    assert!(!layered.starts_from_layer(&[]));
    let length = fs_err::metadata(&layered.tarballs()[0]).unwrap().len();
    layered.script("echo 2 > /etc/number");
    assert!(!layered.starts_from_layer(&["--layers", "0"]), "none is taken");
    // Room for one of the two.
    let room = (length + length / 2).to_string();
    layered.build(&["--include", "more", "--layers", &room]);
    assert_eq!(layered.tarballs().len(), 1);
    layered.script("echo 3 > /etc/number");
    assert!(!layered.starts_from_layer(&[]), "it made room");
    assert_eq!(layered.command(&["--layers", "many"]).output().unwrap().status.code(), Some(2));
}

fn a_plugin_that_fails_leaves_the_layer() {
    let layered = Layered::of(Who::Root);
    layered.script("exit 3");
    assert_fails(&mut layered.command(&[]), 1, &["script"], "");
    layered.script("true");
    assert!(layered.starts_from_layer(&[]));
    layered.assert_as_if_new();
}

fn a_killed_build_leaves_a_good_cache() {
    let layered = Layered::of(Who::Root);
    layered.script("sleep 600");
    for _ in 0..2 {
        let run = Run::start(&mut layered.command(&[]));
        run.wait_for_process("sleep");
        run.kill(Victim::Group);
    }
    for milliseconds in (150..1500).step_by(150) {
        fs_err::remove_dir_all(layered.layers()).unwrap();
        layered.script(&format!("echo {milliseconds} > /etc/number"));
        let run = Run::start(&mut layered.command(&[]));
        std::thread::sleep(Duration::from_millis(milliseconds));
        run.kill(Victim::Group);
        layered.build(&[]);
    }
    layered.assert_as_if_new();
    // As it is left where the tarball is being written.
    fs_err::write(layered.layers().join("new-1-0"), "a beginning").unwrap();
    layered.script("true");
    layered.build(&[]);
    layered.script("echo 1 > /etc/number");
    assert!(layered.starts_from_layer(&[]));
    layered.build(&["--include", "more"]);
    assert!(!names(&layered.layers()).iter().any(|name| name.starts_with("new-")));
    layered.script("echo 2 > /etc/number");
    layered.build(&[]);
    layered.assert_as_if_new();
}

fn passwords_are_in_no_layer() {
    let layered = Layered::of(Who::Root);
    layered.bench.write("tiny.toml", &format!("debconf = ['pkg pkg/secret password s3cret']\n{}", recipe_with("")));
    let (_, log) = layered.build(&[]);
    assert!(log.contains("no layer is kept"), "{log}");
    assert_eq!(names(&layered.layers()), Vec::<String>::new());
}

/// The packages that dpkg of the new system knows, with their states.
fn states(output: &Path) -> String {
    let status =
        succeed(Command::new("tar").arg("-xOf").arg(output.join("fabric_template.tar")).arg("./var/lib/dpkg/status"));
    let fields = status.lines().filter(|line| line.starts_with("Package: ") || line.starts_with("Status: "));
    fields.collect::<Vec<_>>().join("\n")
}

fn names_in(output: &Path) -> String {
    let all = succeed(Command::new("tar").arg("-tf").arg(output.join("fabric_template.tar")));
    all.lines().filter(|name| !name.starts_with("./var/log/")).collect::<Vec<_>>().join("\n")
}

fn more_packages_go_on_top_of_a_layer() {
    for who in [Who::Root, Who::User] {
        let top = Deb::new("top")
            .field("Pre-Depends", "deep")
            .script("preinst", "test -e /etc/deep-configured")
            .script("postinst", "grep '^Status: install ok installed' /var/lib/dpkg/status; echo 'top ran'")
            .file("/etc/top.conf", "a conffile\n")
            .control_file("conffiles", "/etc/top.conf\n");
        let deep = Deb::new("deep").script("postinst", "echo > /etc/deep-configured");
        let layered = Layered::with(who, archive().with(top).with(deep));
        layered.build(&[]);
        let more = ["--include", "top"];
        let plan = layered.plan(&more);
        assert!(plan.contains("All are installed: the nearest layer") && plan.contains("lacks deep, top"), "{plan}");
        let more = [&more[..], &["--incremental"]].concat();
        let plan = layered.plan(&more);
        assert!(plan.contains("Only the rest is installed") && plan.contains("Not reproducible"), "{plan}");

        let (said, log) = layered.build(&more);
        assert!(said.contains(STARTS) && said.contains("may differ from those of a fresh one"), "{said}");
        assert!(log.contains("top ran") && !log.contains("the script ran"), "{log}");
        let lock = fs_err::read_to_string(layered.bench.output().join("fabric.lock")).unwrap();
        assert!(lock.contains("--incremental.\nreproducible = false"), "{lock}");
        assert_eq!(layered.tarballs().len(), 1, "its bytes may differ, so it is no layer");
        assert!(layered.build(&more).0.contains("Reusing"));

        // All there is is there, as in a build that starts from nothing.
        let output = layered.bench.output();
        let (states_before, names_before) = (states(&output), names_in(&output));
        let (said, _) = layered.build(&["--include", "top"]);
        assert!(!said.contains("Reusing") && !said.contains(STARTS), "{said}");
        assert_eq!((states(&output), names_in(&output)), (states_before, names_before));
        assert!(!fs_err::read_to_string(output.join("fabric.lock")).unwrap().contains("reproducible"));
        // Now there is a layer of these very packages, and nothing differs.
        layered.script("true");
        let (said, _) = layered.build(&more);
        assert!(said.contains(STARTS) && !said.contains("may differ"), "{said}");
        assert!(!fs_err::read_to_string(output.join("fabric.lock")).unwrap().contains("reproducible"));
    }
}

fn what_goes_on_top_of_a_layer_waits_for_what_it_counts_on() {
    let watch = Deb::new("watch")
        .control_file("triggers", "interest /usr/share/watched\n")
        .script("postinst", "test \"$1\" != triggered || test -e /etc/late-configured");
    // It has no preinst, but dpkg asks for its pre-dependency all the same.
    let top = Deb::new("top")
        .field("Pre-Depends", "early")
        .field("Depends", "late")
        .file("/usr/share/watched/by-top", "a file that triggers watch\n");
    let late = Deb::new("late").script("postinst", "echo > /etc/late-configured");
    let layered = Layered::with(Who::Root, archive().with(watch).with(top).with(late).with(Deb::new("early")));
    layered.build(&["--include", "watch"]);
    let (said, log) = layered.build(&["--include", "watch,top", "--incremental"]);
    assert!(said.contains(STARTS) && log.contains("Processing triggers for watch"), "{said}{log}");
}

fn what_fails_on_top_of_a_layer_says_why() {
    let bad = |script: &str| Deb::new(&format!("bad-{script}")).script(script, "echo cannot find moon; exit 3");
    let layered = Layered::with(Who::Root, archive().with(bad("preinst")).with(bad("postinst")));
    layered.build(&[]);
    for (script, kind) in [("preinst", "pre-installation"), ("postinst", "post-installation")] {
        let package = format!("bad-{script}");
        let mut command = layered.command(&["--include", &package, "--incremental"]);
        assert_fails(&mut command, 1, &[kind, &package, "exit status 3", "cannot find moon"], "");
        layered.build(&[]);
    }
}
