//! Answers to the questions of packages, with the host's own debconf: that they hold for every
//! package that asks, and that no value shows.

use std::path::Path;
use std::process::Command;

use support::archive::{Archive, Deb, debconf};
use support::files::in_tarball;
use support::succeed;

use crate::small::{Bench, SUITE, Who, archive, assert_fails, recipe_with};

support::tests! {
    needs [support::harness::ROOT, "debconf-set-selections", "dpkg-deb", "gpg", "newuidmap", "tar"];
    answers_hold_for_every_package_that_asks,
    answers_change_the_template_and_nothing_else_does,
    answers_without_use_are_told,
    malformed_answers_are_wrong_usage,
}

const PASSWORD: &str = "s3cret-of-ldap";

/// A package that asks for a word and a password when it is configured, and writes down what it is
/// told.
fn asking(name: &str) -> Deb {
    let question = |name: &str, kind: &str, default: &str| {
        format!("Template: {name}\nType: {kind}\nDefault: {default}\nDescription: For a test?\n\n")
    };
    let templates =
        question(&format!("{name}/word"), "string", "none") + &question(&format!("{name}/password"), "password", "");
    let ask = format!(
        ". /usr/share/debconf/confmodule\nfor it in word password; do db_input high {name}/$it || true; done\ndb_go || true\n"
    );
    let note = format!(
        "{ask}for it in word password; do db_get {name}/$it; printf '%s\\n' \"$RET\" >>/etc/{name}.told; done\n\
         chmod 0600 /etc/{name}.told\n"
    );
    Deb::new(name)
        .field("Depends", "debconf")
        .control_file("templates", &templates)
        .script("config", &ask)
        .script("postinst", &note)
}

fn answers(name: &str) -> String {
    format!("{name} {name}/word string a word of {name}\n{name} {name}/password password {PASSWORD}\n")
}

/// The file at `path` of the template, with its mode.
fn in_template(bench: &Bench, path: &str) -> (String, String) {
    let (template, member) = (bench.output().join("fabric_template.tar"), format!("./{path}"));
    let list = succeed(Command::new("tar").args(["--list", "--verbose", "--file"]).arg(&template).arg(&member));
    (in_tarball(&template, &member), list.split(' ').next().unwrap().to_owned())
}

/// Finds that the password is in no file of the output directory but in those that only their owner
/// may read.
fn assert_secret(output: &Path) {
    let found = Command::new("grep").args(["-raFl", PASSWORD]).arg(output).output().unwrap();
    let mut names: Vec<&str> = str::from_utf8(&found.stdout).unwrap().lines().collect();
    names.retain(|path| {
        use std::os::unix::fs::PermissionsExt;
        fs_err::metadata(path).unwrap().permissions().mode() & 0o077 != 0
    });
    assert!(names.is_empty(), "{names:?}");
}

fn answers_hold_for_every_package_that_asks() {
    // debconf is in the first stage, and one that asks; or it comes after that.
    for is_essential in [true, false] {
        let kind = |deb: Deb| if is_essential { deb.essential() } else { deb };
        let archive = archive().with(kind(debconf())).with(kind(asking("early"))).with(asking("late"));
        let bench = Bench::of(Who::Root, archive.serve());
        bench.write("answers.cfg", &format!("# for late\n{}", answers("late")));
        let early = answers("early").lines().map(|line| format!("  '{line}',\n")).collect::<String>();
        let top = format!("include = ['early', 'late']\ndebconf = [\n{early}  {{ file = 'answers.cfg' }},\n]\n");
        bench.write("tiny.toml", &(top + &recipe_with("")));
        let said = bench.build(&["--verbose"]).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        for name in ["early", "late"] {
            let (told, mode) = in_template(&bench, &format!("etc/{name}.told"));
            assert_eq!(told, format!("a word of {name}\n{PASSWORD}\n"), "essential: {is_essential}");
            assert_eq!(mode, "-rw-------");
        }
        let (passwords, mode) = in_template(&bench, "var/cache/debconf/passwords.dat");
        assert!(mode == "-rw-------" && passwords.contains(PASSWORD), "{mode} {passwords}");
        assert!(!in_template(&bench, "var/cache/debconf/config.dat").0.contains(PASSWORD));
        let list = succeed(Command::new("tar").arg("tf").arg(bench.output().join("fabric_template.tar")));
        assert!(!list.contains("fam-build-answers"), "{list}");
        let said = [said.stdout, said.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains(PASSWORD));
        assert_secret(&bench.output());
        let plan = succeed(&mut bench.build(&["plan"]));
        assert!(plan.contains("early early/password password  (recipe") && !plan.contains(PASSWORD), "{plan}");
        for arguments in [&["recipe", "show"][..], &["recipe", "show", "--json"], &["plan", "--json"]] {
            let shown = succeed(&mut bench.build(arguments));
            assert!(shown.contains("early early/password password") && !shown.contains(PASSWORD), "{shown}");
        }
    }
}

fn answers_change_the_template_and_nothing_else_does() {
    let mirror = archive().with(debconf()).with(asking("late")).serve();
    let root = Bench::of(Who::Root, mirror);
    let template = |bench: &Bench| fs_err::read(bench.output().join("fabric_template.tar")).unwrap();
    let recipe = format!("include = ['late']\n{}", recipe_with(""));
    root.write("tiny.toml", &recipe);
    let file = root.write("mine.cfg", &answers("late"));
    let with = ["--debconf", file.to_str().unwrap()];
    succeed(&mut root.build(&with));
    let first = template(&root);
    assert!(succeed(&mut root.build(&[&["plan"][..], &with].concat())).contains("debconf"));
    let again = root.build(&with).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("Reusing"), "{}", String::from_utf8_lossy(&again.stderr));
    succeed(&mut root.build(&[&["--fresh"][..], &with].concat()));
    assert!(template(&root) == first, "the same answers make the same bytes");
    root.write("mine.cfg", &answers("late").replace("a word", "another word"));
    succeed(&mut root.build(&with));
    assert!(in_template(&root, "etc/late.told").0.starts_with("another word of late\n"));
    root.write("mine.cfg", &answers("late"));
    succeed(&mut root.build(&with));
    assert!(template(&root) == first);

    // The seed and the mirror are part of what the template's first record names.
    let user = Bench::of(Who::User, Archive::new(SUITE).serve());
    user.write("tiny.toml", &recipe);
    let file = user.write("mine.cfg", &answers("late"));
    let seed = user.directory.path().join("seed");
    fs_err::copy(root.output().join("fabric.seed"), &seed).unwrap();
    succeed(Command::new("chown").arg(support::user()).arg(&seed));
    let [file, seed] = [&file, &seed].map(|path| path.to_str().unwrap());
    succeed(&mut user.build(&["--debconf", file, "--seed", seed, "--mirror", root.mirror.url()]));
    assert!(template(&user) == first, "root and a user make the same bytes");
}

fn answers_without_use_are_told() {
    let bench = Bench::new(archive());
    bench.write("tiny.toml", &format!("debconf = ['lat late/word string x']\n{}", recipe_with("")));
    let said = bench.build(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("warning: there are answers for the package lat, which is not installed"), "{said}");
    assert!(said.contains("warning: no package asks by debconf: the answers have no effect"), "{said}");
}

fn malformed_answers_are_wrong_usage() {
    let bench = Bench::new(archive());
    bench.write("bad.cfg", &format!("# a comment\n{}late/word {PASSWORD}\n", answers("late")));
    let check = |recipe: &str, error: &[&str], hint: &str| {
        bench.write("tiny.toml", &format!("{recipe}\n{}", recipe_with("")));
        for arguments in [&["recipe", "check"][..], &[]] {
            let mut command = bench.build(arguments);
            assert_fails(&mut command, 2, error, hint);
            assert!(!String::from_utf8_lossy(&command.output().unwrap().stderr).contains(PASSWORD));
        }
    };
    let form = "debconf-set-selections(1)";
    check("debconf = [{ file = 'bad.cfg' }]", &["answers for debconf: bad.cfg:4: package, question, type"], form);
    check(
        "debconf = [{ file = 'none.cfg' }]",
        &["answers for debconf: none.cfg: ", "No such file"],
        "the directory of the recipe",
    );
    check("debconf = [{ file = '/etc/passwd' }]", &["is no path of something beneath"], "move it beside the recipe");
    let line = format!("debconf = [\n  'late/password password {PASSWORD}',\n]");
    check(&line, &["tiny.toml:2:3: this is no answer for debconf: the third word"], "recipe schema");
    let mut command = bench.build(&["--debconf", "/nowhere/answers"]);
    bench.write("tiny.toml", &recipe_with(""));
    assert_fails(&mut command, 2, &["read the file of --debconf", "/nowhere/answers"], "--debconf");
}
