//! Packages in files of this host, in a recipe and on the command line: what is installed, what the
//! lock says of it, and how what cannot be installed is told.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use support::archive::{Archive, Deb, Mirror, Signer, sha256};
use support::files::in_tarball;
use support::server::{Answer, Server};
use support::succeed;

use crate::small::{Bench, SUITE, Who, archive, assert_fails, assert_nothing_left, recipe_with};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "gpg", "dpkg-deb", "tar"];
    a_file_is_installed_with_what_it_needs_of_archives,
    a_recipe_names_files_and_directories_from_its_own,
    locks_find_the_file_wherever_it_is,
    what_cannot_be_installed_is_told_before_the_network,
    a_file_that_changes_during_a_build_is_not_installed,
    versions_and_suites_are_chosen,
}

fn tool(version: &str) -> Deb {
    Deb::new("tool").field("Version", version).file("/usr/share/tool", format!("version {version}"))
}

/// Archives that have a newer and an equal version of `tool`, and what it depends on.
fn with_tool() -> Archive {
    archive()
        .with(tool("3").field("Depends", "nothing-that-is"))
        .with(tool("2").file("/usr/share/tool", "of the archive"))
        .with(Deb::new("lib").field("Depends", "deeper").file("/usr/share/lib", ""))
        .with(Deb::new("deeper"))
}

impl Bench {
    /// Makes a package in a file, which all may read; returns its path.
    fn deb(&self, name: &str, deb: &Deb) -> PathBuf {
        let path = self.directory.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, deb.build()).unwrap();
        path
    }

    /// A file of the template.
    fn installed(&self, path: &str) -> String {
        in_tarball(&self.output().join("fabric_template.tar"), &format!("./{path}"))
    }

    fn artifact(&self, name: &str) -> String {
        fs_err::read_to_string(self.output().join(name)).unwrap()
    }

    /// The table of a package in the lock, or nothing.
    fn locked(&self, name: &str) -> Option<toml::Table> {
        let lock: toml::Table = self.artifact("fabric.lock").parse().unwrap();
        let packages = lock["package"].as_array().unwrap().iter().map(|package| package.as_table().unwrap());
        packages.clone().find(|package| package["name"].as_str() == Some(name)).cloned()
    }

    /// A build that begins in the directory of this place.
    fn build_here(&self, arguments: &[&str]) -> Command {
        let mut command = self.build(arguments);
        command.current_dir(self.directory.path());
        command
    }
}

fn a_file_is_installed_with_what_it_needs_of_archives() {
    for (who, version) in [(Who::Root, "1"), (Who::User, "2"), (Who::Root, "2.5")] {
        let bench = Bench::of(who, with_tool().serve());
        let deb = tool(version).field("Depends", "lib (>= 1), plugin").field("Homepage", "https://tool.example/");
        let path = bench.deb("tool @ ü%41.deb", &deb);
        bench.deb("more/plugin.deb", &Deb::new("plugin").field("Depends", "tool"));
        let include = ["--include", "tool,./tool @ ü%41.deb,./more"];
        let plan = succeed(&mut bench.build_here(&[&["plan", "--json"], &include[..]].concat()));
        let plan: Value = serde_json::from_str(plan.lines().last().unwrap()).unwrap();
        let packages = plan["report"]["packages"].as_array().unwrap();
        let file_of = |name| packages.iter().find(|package| package["name"] == name).unwrap()["file"].clone();
        assert_eq!((file_of("tool"), file_of("lib")), (path.to_str().unwrap().into(), Value::Null));
        let verbose = succeed(&mut bench.build_here(&[&["plan", "--verbose"], &include[..]].concat()));
        assert!(verbose.contains(&format!(", {})", path.display())), "{verbose}");

        succeed(&mut bench.build_here(&include));
        assert_eq!(bench.installed("usr/share/tool"), format!("version {version}"));
        assert!(bench.installed("var/lib/dpkg/status").contains("Package: deeper"));
        let locked = bench.locked("tool").unwrap();
        let directory = bench.directory.path();
        assert_eq!(locked["version"].as_str(), Some(version));
        assert_eq!(locked["filename"].as_str(), Some("tool @ ü%41.deb"));
        assert_eq!(locked["mirror"].as_str(), Some(format!("file://{}", directory.display()).as_str()));
        assert_eq!(locked["sha256"].as_str(), Some(sha256(&fs_err::read(&path).unwrap()).as_str()));
        assert!(locked.get("automatic").is_none() && bench.locked("deeper").unwrap().get("automatic").is_some());
        assert_eq!(bench.locked("lib").unwrap()["mirror"].as_str(), Some(bench.mirror.url()));

        let document: Value = serde_json::from_str(&bench.artifact("fabric.spdx.json")).unwrap();
        let packages = document["packages"].as_array().unwrap();
        let described = packages.iter().find(|package| package["SPDXID"] == "SPDXRef-tool-all").unwrap();
        assert_eq!(described["downloadLocation"], "NOASSERTION");
        assert_eq!(described["packageFileName"], "tool @ ü%41.deb");
        assert_eq!(described["checksums"][0]["checksumValue"], locked["sha256"].as_str().unwrap());
        assert!(!bench.artifact("fabric.spdx.json").contains(directory.to_str().unwrap()));
        // Nothing changed, so nothing is installed again.
        let again = succeed(&mut bench.build_here(&[&["--json"], &include[..]].concat()));
        assert!(again.contains("\"reused_template\":true"), "{again}");
    }
}

fn a_recipe_names_files_and_directories_from_its_own() {
    let bench = Bench::new(with_tool());
    bench.deb("recipes/debs/tool.deb", &tool("1"));
    bench.deb("recipes/debs/other.deb", &Deb::new("other").field("Depends", "lib"));
    bench.write("recipes/debs/readme", "no package");
    bench.deb("x.deb", &Deb::new("x").essential());
    let recipe = |name: &str, text: &str| bench.write(name, text).display().to_string();
    let base = format!("include = [\"./debs\", \"../x.deb\"]\n{}", recipe_with(""));
    recipe("recipes/base.toml", &base);
    let top = recipe("top.toml", "extends = \"recipes/base.toml\"\ninclude.drop = [\"./x.deb\"]\n");
    // What the base names is dropped by the path that it has for the other recipe.
    assert_fails(&mut bench.build(&["--recipe", &top]), 2, &["there is no", "/x.deb` to drop"], "recipe show");
    recipe("top.toml", "extends = \"recipes/base.toml\"\n");
    let shown = succeed(Command::new(support::program()).args(["recipe", "show", &top]).current_dir("/"));
    assert!(shown.contains(&format!("\"{}/recipes/debs\", # recipe", bench.directory.path().display())), "{shown}");
    let checked = succeed(Command::new(support::program()).args(["recipe", "check", &top]));
    assert!(checked.contains("is valid: 2 packages"), "{checked}");
    succeed(bench.build(&["--recipe", &top]).current_dir("/"));
    for (name, is_local) in [("tool", true), ("other", true), ("x", true), ("lib", false), ("base", false)] {
        let mirror = bench.locked(name).unwrap_or_else(|| panic!("{name} is not locked"))["mirror"].to_string();
        assert_eq!(mirror.contains("file:///"), is_local, "{name}: {mirror}");
    }
    // doctor reads them, too.
    let said = Command::new(support::program())
        .args(["doctor", "--recipe", &top, "--mirror", bench.mirror.url(), "--output"])
        .arg(bench.output())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("local packages") && said.contains("tool 1") && said.contains("other 1"), "{said}");
}

fn locks_find_the_file_wherever_it_is() {
    let bench = Bench::new(with_tool());
    let path = bench.deb("here/tool.deb", &tool("1").field("Depends", "lib"));
    bench.write("tiny.toml", &format!("include = [\"./here\"]\n{}", recipe_with("")));
    succeed(&mut bench.build(&[]));
    let text = bench.artifact("fabric.lock");
    let lock = bench.write("lock", &text);
    let locked = || bench.build(&["--fresh", "--locked", lock.to_str().unwrap()]);
    let empty_cache = || fs_err::remove_dir_all(bench.cache()).unwrap();
    let succeeds = |how: &str| {
        println!("{how}");
        let _ = fs_err::remove_file(bench.output().join("fabric_template.tar"));
        succeed(&mut locked());
        assert_eq!(bench.installed("usr/share/tool"), "version 1");
        assert_eq!(bench.artifact("fabric.lock"), text, "the lock is the same");
    };
    empty_cache();
    succeeds("where it was");
    let there = bench.directory.path().join("there");
    fs_err::rename(bench.directory.path().join("here"), &there).unwrap();
    succeeds("in the cache");
    empty_cache();
    let missing = format!("fetch tool 1 all: failed to open file `{}`", path.display());
    assert_fails(&mut locked(), 1, &[&missing, "No such file"], "the same SHA-256 that the recipe names");
    bench.write("tiny.toml", &format!("include = [\"./there\", \"./nothing.deb\"]\n{}", recipe_with("")));
    succeeds("named by the recipe at another place");
    empty_cache();
    // What is where it was is another package now, and the recipe names the right one.
    bench.deb("here/tool.deb", &tool("1").file("/usr/share/other", "x"));
    succeeds("another file where it was");
    empty_cache();
    fs_err::remove_dir_all(there).unwrap();
    assert_fails(&mut locked(), 1, &["fetch tool 1 all: ", "and should have"], "the file is another one now");
}

fn what_cannot_be_installed_is_told_before_the_network() {
    let bench = Bench::new(archive());
    bench.deb("tool.deb", &tool("1"));
    bench.deb("again/tool.deb", &tool("2"));
    bench.deb("arm.deb", &Deb::new("arm").field("Architecture", "arm64"));
    bench.write("text.deb", "no package");
    fs_err::create_dir(bench.directory.path().join("empty")).unwrap();
    fs_err::create_dir(bench.directory.path().join("dir.deb")).unwrap();
    let cut = fs_err::read(bench.directory.path().join("tool.deb")).unwrap();
    fs_err::write(bench.directory.path().join("cut.deb"), &cut[..cut.len() / 2]).unwrap();
    let cases: [(&str, &[&str], &str); 10] = [
        ("./no.deb", &["/no.deb", "No such file"], "from the current directory"),
        ("tool.deb", &["`tool.deb` is no package name"], "--help"),
        ("./text.deb", &["local package", "/text.deb: this is no .deb file"], "damaged"),
        ("./cut.deb", &["local package", "/cut.deb: it "], "damaged"),
        ("./arm.deb", &["/arm.deb: it is for arm64, not for amd64"], "for amd64"),
        ("./empty", &["there is no .deb file in the directory", "/empty"], "directly in it"),
        ("./dir.deb", &["there is no .deb file in the directory"], "directly in it"),
        ("./tool.deb,./again", &["/tool.deb and ", "/again/tool.deb are both the package tool"], "one of them"),
        ("./tool.deb,tool=2", &["names one package as tool=2 and as ", "/tool.deb"], "leave one"),
        ("libc6:i386", &["libc6:i386 is a package for i386", "amd64 alone"], "leave it out"),
    ];
    for (include, error, hint) in cases {
        for verb in [&[][..], &["plan"], &["lock"]] {
            println!("{verb:?} {include}");
            let arguments = [verb, &["--include", include]].concat();
            assert_fails(&mut bench.build_here(&arguments), 2, error, hint);
            assert!(!bench.output().exists() || verb == ["lock"]);
        }
    }
    assert_eq!(bench.mirror.server.requests().len(), 0);
    // What no archive can give.
    let missing = bench.deb("missing.deb", &tool("1").field("Depends", "lib"));
    let mut build = bench.build(&["--include", missing.to_str().unwrap()]);
    assert_fails(&mut build, 1, &["tool: depends on lib, which no package is or provides"], "");
    assert_nothing_left(&bench.output());
}

fn a_file_that_changes_during_a_build_is_not_installed() {
    let files = archive().files();
    let place = support::directory_of("root");
    let path = place.path().join("tool.deb");
    // Whether it is found by its size or by its digest is a matter of when it is read.
    for other in [tool("1").file("/usr/share/x", "y").build(), Vec::new()] {
        let original = tool("1").build();
        fs_err::write(&path, &original).unwrap();
        let (of_server, changed) = (files.clone(), path.clone());
        // When the archive is asked for the first time, the file was read.
        let server = Server::new(move |request| {
            fs_err::write(&changed, &other).unwrap();
            of_server.get(&request.target).map_or_else(|| Answer::status(404), |body| Answer::file(body, request))
        });
        let bench = Bench::of(Who::Root, Mirror::of(files.clone(), Signer::usual().keyring()));
        let mut build = bench.build(&["--include", path.to_str().unwrap(), "--mirror", &server.url]);
        assert_fails(&mut build, 1, &["fetch tool 1 all: ", ", and should have "], "put the earlier one back");
        assert_nothing_left(&bench.output());
    }
}

fn versions_and_suites_are_chosen() {
    let archive = || {
        archive()
            .with(tool("2"))
            .with(tool("1"))
            .suite(&format!("{SUITE}-updates"))
            .with(tool("4"))
            .with(Deb::new("lib"))
    };
    let bench = Bench::new(archive());
    bench.write("tiny.toml", &recipe_with("").replace("updates = false\n", ""));
    for (include, version) in [
        ("tool", "4"),
        ("tool=1", "1"),
        ("tool:amd64=2", "2"),
        ("tool/tiny", "2"),
        ("tool/tiny-updates", "4"),
        ("tool,tool=1", "1"),
        ("tool=1,tool", "1"),
        ("tool:native", "4"),
    ] {
        succeed(&mut bench.build(&["lock", "--include", include]));
        assert_eq!(bench.locked("tool").unwrap()["version"].as_str(), Some(version), "{include}");
    }
    let mut build = bench.build(&["lock", "--include", "tool=3"]);
    assert_fails(&mut build, 1, &["no such version: `tool=3`"], "there is 4 (tiny-updates), 2 (tiny), 1 (tiny)");
}
