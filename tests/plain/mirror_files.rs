//! Mirrors that are directories of this host, `file:` and `copy:`.

use std::path::{Path, PathBuf};

use support::archive::{Archive, Deb, Files, Mirror, Signer};
use support::{directory_of, succeed, user};

use crate::small::{Bench, SUITE, Who, archive, assert_fails, assert_nothing_left, names, recipe_with};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "gpg", "dpkg-deb"];
    a_directory_is_as_good_as_a_server,
    what_is_no_archive_is_told_by_its_path,
    a_damaged_file_is_not_installed,
}

fn write(files: &Files, directory: &Path) {
    for (path, bytes) in files {
        let path = directory.join(path.trim_start_matches('/'));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }
}

fn suite() -> Archive {
    archive().with(Deb::new("pkg").field("Version", "1:2").file("/usr/share/pkg", "by the mirror"))
}

fn updates() -> Archive {
    Archive::new(&format!("{SUITE}-security"))
        .with(Deb::new("pkg").field("Version", "1:3").file("/usr/share/pkg", "new"))
}

/// All artifacts of a build, by name. Where `mirror` is part of their text, it has another name.
fn artifacts(output: &Path, mirror: &str) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let mut bytes = fs_err::read(output.join(&name)).unwrap();
        match name.as_str() {
            "fabric.lock" => {
                bytes = String::from_utf8(bytes).unwrap().replace(mirror, "MIRROR").into_bytes();
            }
            // Domains name the files of disks.
            xml if xml.ends_with(".xml") => {
                let text = String::from_utf8(bytes).unwrap();
                bytes = text.replace(&output.display().to_string(), "OUTPUT").into_bytes();
            }
            // Its first record names what it was made of, the lock with it.
            "fabric_template.tar" => {
                let words = b"fam-build template ";
                let key = bytes.windows(words.len()).position(|text| text == words).unwrap() + words.len();
                bytes[key..][..64].fill(b'0');
            }
            _ => {}
        }
        (name, bytes)
    };
    let is_compared = |name: &String| {
        !name.starts_with("fabric_emulation.log") && name != "fabric.spdx.json" && name != ".fabric_images.json"
    };
    names(output).into_iter().filter(is_compared).map(read).collect()
}

fn a_directory_is_as_good_as_a_server() {
    // Made once: it has the time in it.
    let files: Files = [suite().files(), updates().files()].into_iter().flatten().collect();
    let server = Bench::of(Who::Root, Mirror::of(files.clone(), Signer::usual().keyring()));
    let recipe = recipe_with("").replace("security = false\n", "");
    server.write("tiny.toml", &recipe);
    let seed = server.write("seed", &"5e".repeat(32));
    let seed = seed.to_str().unwrap();
    support::succeed(std::process::Command::new("chmod").args(["0644", seed]));
    let build = |bench: &Bench, mirror: &str, security: &str| {
        let arguments =
            ["--mirror", mirror, "--security-mirror", security, "--include", "pkg", "--seed", seed, "--fresh"];
        succeed(&mut bench.build(&arguments));
    };
    build(&server, server.mirror.url(), server.mirror.url());
    let by_http = artifacts(&server.output(), server.mirror.url());
    assert!(by_http.len() > 5, "{:?}", names(&server.output()));

    for (who, scheme) in [(Who::Root, "file:"), (Who::User, "file://"), (Who::Root, "copy:")] {
        let place = directory_of(if who == Who::User { user() } else { "root" });
        let archive = place.path().join("an archive @ 50%");
        write(&files, &archive);
        let bench = Bench::of(who, Archive::new("other").serve());
        bench.write("tiny.toml", &recipe);
        let path = archive.display().to_string().replace('%', "%25").replace(' ', "%20");
        build(&bench, &format!("{scheme}{path}/"), &format!("{scheme}{path}"));
        assert_eq!(bench.mirror.server.requests().len(), 0);
        let url = format!("{}://{path}", scheme.split(':').next().unwrap());
        let by_file = artifacts(&bench.output(), &url);
        for ((name, http), (other, file)) in by_http.iter().zip(&by_file) {
            assert_eq!(name, other);
            assert!(http == file, "{name} of {who:?} by {scheme} differs");
        }
        assert_eq!(by_http.len(), by_file.len());
        let text = |name: &str| fs_err::read_to_string(bench.output().join(name)).unwrap();
        assert!(text("fabric.lock").contains(&format!("mirror = \"{url}\"")), "{}", text("fabric.lock"));
        assert!(!text("fabric.spdx.json").contains("archive"), "the path on this host is nobody's business");
        // From the lock, when the archive has changed.
        let lock = bench.write("lock", &text("fabric.lock"));
        fs_err::remove_dir_all(archive.join("dists")).unwrap();
        fs_err::remove_dir_all(bench.cache()).unwrap();
        succeed(&mut bench.build(&[
            "--locked",
            lock.to_str().unwrap(),
            "--fresh",
            "--seed",
            seed,
            "--security-mirror",
            "none",
        ]));
        let again = artifacts(&bench.output(), &url);
        assert!(again.iter().zip(&by_file).all(|(one, other)| one == other));
    }
}

fn what_is_no_archive_is_told_by_its_path() {
    let bench = Bench::new(archive());
    let with = |mirror: &str| bench.build(&["--mirror", mirror]);
    for relative in
        ["./debian", "debian/..", "/srv/debian", "file:debian", "file:./debian", "copy:debian", "file://host/debian"]
    {
        let error = if relative == "debian/.." { "was expected" } else { "as in file:///srv/debian" };
        assert_fails(&mut with(relative), 2, &["is no address of a mirror", error], "--help");
    }
    let place = directory_of("root");
    let (path, url): (PathBuf, _) = (place.path().into(), format!("file://{}", place.path().display()));
    assert_fails(&mut with(&url), 1, &[&format!("the mirror {url} has no suite {SUITE}")], "check the suite");
    fs_err::create_dir_all(path.join("dists/tiny/InRelease")).unwrap();
    assert_fails(
        &mut with(&url),
        1,
        &[&format!("{}/dists/tiny/InRelease is a directory", path.display())],
        "you can read",
    );
    fs_err::remove_dir(path.join("dists/tiny/InRelease")).unwrap();
    let mut files = suite().files();
    files.remove("/dists/tiny/main/binary-amd64/Packages");
    write(&files, &path);
    assert_fails(&mut with(&url), 1, &["fetch index", "binary-amd64/Packages`: No such file"], "");
    assert_nothing_left(&bench.output());
}

fn a_damaged_file_is_not_installed() {
    let bench = Bench::new(archive());
    let place = directory_of("root");
    let mut files = suite().files();
    let deb = files.keys().find(|path| path.contains("pkg")).unwrap().clone();
    *files.get_mut(&deb).unwrap().last_mut().unwrap() ^= 1;
    write(&files, place.path());
    let url = format!("file:{}", place.path().display());
    let mut build = bench.build(&["--mirror", &url, "--include", "pkg"]);
    assert_fails(&mut build, 1, &["pkg 1:2 all", "has the SHA-256", "and should have"], "the file is another one now");
    fs_err::write(place.path().join(deb.trim_start_matches('/')), "short").unwrap();
    assert_fails(&mut build, 1, &["has 5 bytes, and should have"], "the file is another one now");
    fs_err::remove_file(place.path().join(deb.trim_start_matches('/'))).unwrap();
    assert_fails(&mut build, 1, &["fetch pkg 1:2 all: ", "No such file"], "put the file back");
    assert_nothing_left(&bench.output());
}
