//! Rules for paths and answers for debconf, asked of dpkg and mmdebstrap: systems of the essential
//! packages of the machine's mirror and small packages, each of which has a question.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use support::archive::{Deb, Mirror};
use support::files::extract;
use support::harness::ROOT;
use support::{directory_of, fail, scratch, succeed};

use crate::install_order::{assert_same, build, mmdebstrap, real_packages, recipe_text, serve_with};

support::tests! {
    needs [ROOT, "chroot", "dpkg-deb", "gpg", "mmdebstrap", "newuidmap"];
    rules_leave_out_what_dpkg_leaves_out,
    what_rules_make_dpkg_refuse_is_refused,
    answers_hold_as_with_an_essential_hook,
}

/// Rules in the order of their application: `-` excludes, `+` includes.
const RULES: [&str; 13] = [
    "-/usr/share/doc/*",
    "+/usr/share/doc/*/copyright",
    "-/usr/share/man/*",
    "+/usr/share/man/man[1-9]/*",
    "-/usr/share/locale/*",
    "+/usr/share/locale/locale.alias",
    "-/usr/share/rules/out*",
    "-/usr/share/rules/tree/*",
    "+/usr/share/rules/tree/kept/*",
    "-/usr/share/rules/tree/kept/[!a-c]",
    "-/etc/rules/out.conf",
    "-*.la",
    "+/usr/share/rules/linked*",
];

/// Packages, each with a question about the rules.
fn questions() -> Vec<Deb> {
    let deb = |name: &str| Deb::new(name);
    vec![
        // Files and directories, with sums of the package's own and without.
        deb("rules-tree")
            .file("/usr/share/rules/in", "in")
            .file("/usr/share/rules/out", "out")
            .file("/usr/share/rules/x.la", "out")
            .file("/usr/share/rules/tree/gone/a", "gone")
            .file("/usr/share/rules/tree/kept/a", "kept")
            .file("/usr/share/rules/tree/kept/d", "excluded again")
            .file("/usr/share/rules/tree/kept/deep/d", "kept")
            .directory("/usr/share/rules/tree/empty"),
        deb("rules-sums")
            .file("/usr/share/rules/summed", "in")
            .file("/usr/share/rules/out-summed", "out")
            .control_file("md5sums", "13b5bfe96f3e2fe411c9f66f4a582adf  usr/share/rules/summed\n\
                                      c68271a63ddbc431c307beb7d2918275  usr/share/rules/out-summed\n"),
        deb("rules-conffiles")
            .file("/etc/rules/in.conf", "in\n")
            .file("/etc/rules/out.conf", "out\n")
            .control_file("conffiles", "/etc/rules/in.conf\n/etc/rules/out.conf\n")
            .script("postinst", "ls /etc/rules >/var/lib/rules-conffiles"),
        deb("rules-links")
            .link("/usr/share/rules/out-link", "in")
            .link("/usr/share/rules/tree/kept-link", "kept")
            .link("/usr/share/rules/linked", "out"),
        // A hard link that is left out, though its file is not.
        deb("rules-hard-links")
            .file("/usr/share/rules/hard", "in")
            .hard_link("/usr/share/rules/hard-in", "/usr/share/rules/hard")
            .hard_link("/usr/share/rules/hard-out.la", "/usr/share/rules/hard"),
        // Whoever listens hears of a path that is left out.
        deb("rules-listener")
            .control_file("triggers", "interest-noawait /usr/share/rules/out-heard\n")
            .script("postinst", "echo \"$@\" >>/var/lib/rules-heard"),
        deb("rules-speaker")
            .field("Pre-Depends", "rules-listener")
            .file("/usr/share/rules/out-heard", "")
            .script("preinst", ":"),
        // What one has taken over from another, though nothing is there. Each has more, else dpkg
        // finds that one has vanished.
        deb("rules-old").file("/usr/share/rules/old", "").file("/usr/share/rules/out-both", "old"),
        deb("rules-new")
            .field("Depends", "rules-old")
            .field("Replaces", "rules-old")
            .file("/usr/share/rules/new", "")
            .file("/usr/share/rules/out-both", "new")
            .script("preinst", ":"),
        // A diversion of what is left out, and one to such a name.
        deb("rules-divert")
            .script(
                "preinst",
                "for file in out-diverted diverted; do\n\
                 dpkg-divert --package rules-divert --add --rename --divert /usr/share/rules/$file.real /usr/share/rules/$file\n\
                 done",
            )
            .file("/usr/share/rules/out-diverted", "the diverter's"),
        deb("rules-diverted")
            .field("Pre-Depends", "rules-divert")
            .script("preinst", ":")
            .file("/usr/share/rules/out-diverted", "the other's")
            .file("/usr/share/rules/diverted", "the other's"),
    ]
}

fn names(debs: &[Deb]) -> Vec<String> {
    debs.iter().map(|deb| deb.name().to_owned()).collect()
}

fn rule(rule: &str) -> (&'static str, &str) {
    rule.strip_prefix('-').map_or_else(|| ("include", &rule[1..]), |pattern| ("exclude", pattern))
}

fn rules_in_recipe(rules: &[&str]) -> String {
    let items: Vec<String> =
        rules.iter().map(|it| rule(it)).map(|(kind, it)| format!("{{ {kind} = '{it}' }}")).collect();
    format!("paths = [{}]", items.join(", "))
}

fn with_rules(mut mmdebstrap: Command, rules: &[&str]) -> Command {
    for (kind, pattern) in rules.iter().map(|it| rule(it)) {
        mmdebstrap.arg(format!("--dpkgopt=path-{kind}={pattern}"));
    }
    mmdebstrap
}

/// A tree that a tarball was unpacked to.
struct Tree(tempfile::TempDir);

impl Tree {
    fn of(tarball: &Path) -> Self {
        let directory = tempfile::tempdir_in(scratch()).unwrap();
        support::allow_everyone_through(directory.path());
        extract(tarball, directory.path());
        // mmdebstrap was asked to leave it out.
        fs_err::create_dir_all(directory.path().join("dev")).unwrap();
        Self(directory)
    }

    fn read(&self, path: &str) -> String {
        fs_err::read_to_string(self.0.path().join(path)).unwrap()
    }

    fn has(&self, path: &str) -> bool {
        fs_err::symlink_metadata(self.0.path().join(path)).is_ok()
    }

    /// Each path under `tops`, with what one can tell of it but times, and the bytes of those that
    /// `is_read` names.
    fn paths(&self, tops: &[&str], is_read: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        let found = succeed(Command::new("find").args(tops).current_dir(self.0.path()));
        let describe = |path: &str| {
            let metadata = fs_err::symlink_metadata(self.0.path().join(path)).unwrap();
            let text = if metadata.is_file() && is_read(path) { self.read(path) } else { String::new() };
            (path.to_owned(), format!("{:o} {}:{} {text}", metadata.mode(), metadata.uid(), metadata.gid()))
        };
        found.lines().map(describe).collect()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("chroot").arg(self.0.path()).args(arguments).env("LC_ALL", "C.UTF-8").output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }
}

/// The same system by fam-build and by mmdebstrap.
fn both(mirror: &Mirror, include: &[&str], more: &str, extend: impl Fn(Command) -> Command) -> (Tree, Tree) {
    let output = directory_of("root");
    succeed(&mut build(mirror, &recipe_text("tiny", include, more), output.path(), "root"));
    let reference = output.path().join("mmdebstrap.tar");
    succeed(&mut extend(mmdebstrap(mirror, include, &reference)));
    (Tree::of(&output.path().join("fabric_template.tar")), Tree::of(&reference))
}

fn rules_leave_out_what_dpkg_leaves_out() {
    let questions = questions();
    let names = names(&questions);
    let include: Vec<&str> = names.iter().map(String::as_str).collect();
    let mirror = serve_with(real_packages(&[]), questions);
    let (ours, theirs) = both(&mirror, &include, &rules_in_recipe(&RULES), |it| with_rules(it, &RULES));

    // Every path of packages, and all that dpkg knows of them. What differs without rules is left
    // out.
    let is_read = |path: &str| path.contains("rules") || path.starts_with("var/lib/dpkg/info/");
    let differs = |path: &str| {
        let tops =
            ["etc/.updated", "etc/apt/", "etc/default/grub", "etc/dpkg/dpkg.cfg.d/", "etc/fstab", "etc/hostname"];
        let others = ["etc/machine-id", "etc/resolv.conf", "var/lib/apt", "var/lib/dpkg/statoverride"];
        tops.iter().chain(&others).any(|top| path.starts_with(top)) || path.ends_with("-old")
    };
    let [mut of_us, mut of_them] = [&ours, &theirs].map(|tree| {
        let mut paths = tree.paths(&["etc", "usr", "var/lib"], is_read);
        paths.retain(|path, _| !differs(path));
        paths
    });
    for (tree, paths) in [(&ours, &mut of_us), (&theirs, &mut of_them)] {
        let status = tree.read("var/lib/dpkg/status");
        let mut stanzas: Vec<&str> = status.split("\n\n").collect();
        stanzas.sort_unstable();
        paths.insert("var/lib/dpkg/status".into(), stanzas.join("\n\n"));
        paths.insert("dpkg --verify".into(), tree.run(&["dpkg", "--verify"]));
    }
    assert_same(&of_us, &of_them);

    // A few of them by name, so that both cannot be wrong together.
    for (path, there) in [
        ("usr/share/rules/in", true),
        ("usr/share/rules/out", false),
        ("usr/share/rules/tree/kept/a", true),
        ("usr/share/rules/tree/kept/d", false),
        ("usr/share/rules/tree/gone", false),
        ("etc/rules/out.conf", false),
        ("usr/share/doc/bash", true),
        ("usr/share/doc/bash/copyright", true),
        ("usr/share/doc/bash/changelog.Debian.gz", false),
    ] {
        assert_eq!(ours.has(path), there, "{path}");
    }
    assert!(ours.read("var/lib/dpkg/info/rules-tree.list").contains("/usr/share/rules/out\n"));

    // The guest's dpkg obeys the rules.
    let newer = Deb::new("rules-tree")
        .field("Version", "2")
        .file("/usr/share/rules/out", "")
        .file("/usr/share/rules/newer", "");
    fs_err::write(ours.0.path().join("newer.deb"), newer.build()).unwrap();
    let said = ours.run(&["dpkg", "--install", "/newer.deb"]);
    assert!(said.contains("Setting up rules-tree (2)"), "{said}");
    assert!(ours.has("usr/share/rules/newer") && !ours.has("usr/share/rules/out"), "{said}");
}

fn what_rules_make_dpkg_refuse_is_refused() {
    let debs = [
        Deb::new("rules-inside").file("/usr/share/rules/inside/file", "").script("preinst", ":"),
        Deb::new("rules-links")
            .file("/usr/share/rules/file", "")
            .hard_link("/usr/share/rules/link", "/usr/share/rules/file"),
        Deb::new("rules-a").file("/usr/share/rules/out", ""),
        Deb::new("rules-b").file("/usr/share/rules/out", ""),
    ];
    let mirror = serve_with(real_packages(&[]), debs);
    for (include, rules, message) in [
        (
            &["rules-inside"][..],
            &["-/usr/share/rules/inside"][..],
            "package rules-inside: the rules for paths exclude the directory /usr/share/rules/inside, but not \
             /usr/share/rules/inside/file in it",
        ),
        (
            &["rules-links"],
            &["-*/file"],
            "package rules-links: the rules for paths exclude /usr/share/rules/file, but not its hard link \
             /usr/share/rules/link",
        ),
        (&["rules-a", "rules-b"], &["-*/out"], "packages rules-a and rules-b both hold /usr/share/rules/out"),
    ] {
        let output = directory_of("root");
        let text = recipe_text("tiny", include, &rules_in_recipe(rules));
        let (_, error) = fail(&mut build(&mirror, &text, output.path(), "root"));
        assert!(error.contains(&format!("error: {message}\n")), "{error}");
        fail(&mut with_rules(mmdebstrap(&mirror, include, &output.path().join("mmdebstrap.tar")), rules));
    }
}

fn answers_hold_as_with_an_essential_hook() {
    let answers = [
        "tzdata tzdata/Areas select Europe",
        "tzdata tzdata/Zones/Europe select Berlin",
        "asks asks/password password s3cret",
        "asks asks/choice select second",
    ];
    let templates = "Template: asks/password\nType: password\nDescription: For a test?\n\n\
                     Template: asks/choice\nType: select\nChoices: first, second\nDefault: first\nDescription: For a test?\n";
    let ask = ". /usr/share/debconf/confmodule\nfor it in password choice; do db_input high asks/$it || true; done\ndb_go || true\n";
    let asks = Deb::new("asks")
        .field("Depends", "debconf")
        .control_file("templates", templates)
        .script("config", ask)
        .script("postinst", &format!("{ask}db_get asks/choice; echo \"$RET\" >/etc/asks"));
    let mirror = serve_with(real_packages(&["debconf", "tzdata"]), [asks]);
    let more = format!("debconf = {answers:?}");
    let hook = format!(
        "printf '%s\\n' {} | chroot \"$1\" debconf-set-selections",
        answers.map(|it| format!("'{it}'")).join(" ")
    );
    let (ours, theirs) = both(&mirror, &["debconf", "tzdata", "asks"], &more, |mut mmdebstrap| {
        mmdebstrap.arg(format!("--essential-hook={hook}"));
        mmdebstrap
    });
    for tree in [&ours, &theirs] {
        assert_eq!(
            fs_err::read_link(tree.0.path().join("etc/localtime")).unwrap(),
            Path::new("/usr/share/zoneinfo/Europe/Berlin")
        );
        assert_eq!(tree.read("etc/asks"), "second\n");
    }
    let [of_us, of_them] = [&ours, &theirs].map(|tree| {
        let mut paths = tree.paths(&["var/cache/debconf"], |_| true);
        paths.retain(|path, _| !path.ends_with("-old"));
        paths
    });
    assert!(of_us["var/cache/debconf/passwords.dat"].starts_with("100600 0:0 "), "{of_us:?}");
    assert_same(&of_us, &of_them);
}
