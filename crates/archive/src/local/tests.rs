use support::handmade::deb::{ar, deb, stanza};

use super::*;
use crate::lock::Lock;
use crate::resolve::{Request, Variant, resolve};

/// A directory with these packages, by the name of the file and the text of the control file.
fn directory(debs: &[(&str, String)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, stanza) in debs {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, deb(stanza, &[], &[])).unwrap();
    }
    directory
}

fn paths(directory: &tempfile::TempDir, names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| directory.path().join(name)).collect()
}

/// What reading files of a directory comes to: `name=version` of each, or error and hint.
fn read(debs: &[(&str, String)], names: &[&str]) -> Result<Vec<String>, String> {
    let directory = directory(debs);
    let paths = paths(&directory, names);
    match read_all(paths.iter().map(PathBuf::as_path), "amd64") {
        Ok(debs) => Ok(debs.iter().map(LocalDeb::request).collect()),
        Err(error) => {
            let text = format!("{error}; {}", error.hint().unwrap_or_default());
            Err(text.replace(&format!("{}/", directory.path().display()), ""))
        }
    }
}

#[test]
fn files_and_directories_in_their_order() {
    let debs = [
        ("b.deb", stanza("b", "2", "")),
        ("d/z.deb", stanza("z", "1:1-1", "")),
        ("d/a.deb", stanza("a", "1", "").replace("amd64", "all")),
        ("d/other.udeb", stanza("other", "1", "")),
        ("d/below/c.deb", stanza("c", "1", "")),
        ("with blank ü#%41.deb", stanza("odd", "1", "")),
    ];
    assert_eq!(read(&debs, &["b.deb", "d"]).unwrap(), ["b=2", "a=1", "z=1:1-1"]);
    // One that is named twice is there once, and so is a copy.
    let twice = [&debs[..], &[("copy.deb", stanza("b", "2", ""))]].concat();
    assert_eq!(read(&twice, &["d/a.deb", "d", "b.deb", "copy.deb"]).unwrap(), ["a=1", "z=1:1-1", "b=2"]);
    assert_eq!(read(&debs, &["with blank ü#%41.deb"]).unwrap(), ["odd=1"]);
}

#[test]
fn what_cannot_be_installed_is_told_with_its_file() {
    let debs = [
        ("b.deb", stanza("b", "2", "")),
        ("other/b.deb", stanza("b", "2", "Depends: c\n")),
        ("arm.deb", stanza("a", "1", "").replace("amd64", "arm64")),
        ("empty/readme", stanza("a", "1", "")),
        ("version.deb", stanza("a", "1 beta", "")),
        ("name.deb", stanza("../a", "1", "")),
        ("depends.deb", stanza("a", "1", "Depends: b (>> )\n")),
        ("none.deb", "Section: misc\n".to_owned()),
        ("blank.deb", format!(" x\n{}", stanza("a", "1", ""))),
        ("tab.deb\t", stanza("a", "1", "")),
    ];
    for (names, error) in [
        (&["no.deb"][..], "no.deb`: No such file or directory (os error 2); a path in a recipe is taken from"),
        (&["b.deb", "other"], "local packages b.deb and other/b.deb are both the package b; name one of them"),
        (&["arm.deb"], "local package arm.deb: it is for arm64, not for amd64; get the package for amd64"),
        (&["empty"], "there is no .deb file in the directory"),
        (&["version.deb"], "local package version.deb: its control file: its field Version is invalid: \"1 beta\""),
        (&["name.deb"], "local package name.deb: its control file: its field Package is invalid"),
        (&["depends.deb"], "local package depends.deb: its control file: its field Depends: "),
        (&["none.deb"], "local package none.deb: its control file: it has no field Package"),
        (&["blank.deb"], "local package blank.deb: its control file: it begins with no field"),
        (&["tab.deb\t"], "the name of the file is not UTF-8, or has control characters or blanks at its ends; rename"),
    ] {
        let found = read(&debs, names).unwrap_err();
        assert!(found.contains(error), "{names:?}: {found}");
    }
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes, error) in [
        ("text.deb", b"no package".to_vec(), "this is no .deb file"),
        ("cut.deb", ar(&[("debian-binary", b"2.0\n")]), "it has no control.tar member"),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        let found = read_all([path.as_path()], "amd64").unwrap_err();
        assert!(found.to_string().contains(error) && found.hint().is_some(), "{found}");
        assert!(read_what_is_there([path.as_path()]).is_empty());
    }
    let device = read_all([Path::new("/dev/zero")], "amd64").unwrap_err();
    assert!(device.to_string().contains("/dev/zero is a device, not a regular file"), "{device}");
}

/// What a control file says of the file that it is in counts for nothing.
#[test]
fn a_control_file_does_not_speak_for_its_file() {
    let lies = format!("Filename: ../../etc/passwd\nSize: 1\nSHA256: {}\n", "0".repeat(64));
    let directory = directory(&[("a.deb", stanza("a", "1", &(lies + "Essential: yes\n")))]);
    let path = directory.path().join("a.deb");
    let bytes = fs::read(&path).unwrap();
    let deb = LocalDeb::read(&path).unwrap();
    let mut index = PackageIndex::new("amd64");
    deb.add_to(&mut index).unwrap();
    let request = Request { variant: Variant::Essential, include: &[], suite: Some(SUITE), ..Request::default() };
    let lock = Lock::new(&resolve(&index, &request).unwrap(), "amd64", Vec::new()).unwrap();
    let [locked] = &lock.packages[..] else { panic!("{lock:?}") };
    assert_eq!(locked.url(), deb.url());
    assert_eq!((locked.size, locked.digest), (bytes.len() as u64, crate::digest::sha256(&bytes)));
}

/// As `apt-get install ./x.deb`: the file is taken before other versions and equal ones, and what it
/// depends on comes from wherever it is.
#[test]
fn a_file_comes_before_archives() {
    let archive = |name: &str, version: &str, more: &str| {
        let digest = "0123456789abcdef".repeat(4);
        let file = format!("Filename: pool/{name}.deb\nSize: 1\nSHA256: {digest}\n");
        stanza(name, version, &(file + more)) + "\n"
    };
    let text = archive("base", "1", "Essential: yes\n")
        + &archive("x", "1", "")
        + &archive("x", "3", "Depends: never\n")
        + &archive("lib", "5", "");
    for version in ["0.9", "1", "2", "3", "4"] {
        let directory = directory(&[
            ("x ü.deb", stanza("x", version, "Depends: lib, other\n")),
            ("other.deb", stanza("other", "1", "Depends: lib (>= 5)\n")),
        ]);
        let paths = paths(&directory, &["x ü.deb", "other.deb"]);
        let debs = read_all(paths.iter().map(PathBuf::as_path), "amd64").unwrap();
        let mut index = PackageIndex::new("amd64");
        let origin = Origin {
            mirror: "http://mirror.example/debian".into(),
            suite: "sid".into(),
            component: "main".into(),
            ..Origin::default()
        };
        index.add(text.clone(), origin).unwrap();
        debs.iter().for_each(|deb| deb.add_to(&mut index).unwrap());
        let include: Vec<String> = debs.iter().map(LocalDeb::request).collect();
        let request =
            Request { variant: Variant::Essential, include: &include, suite: Some("sid"), ..Request::default() };
        let lock = Lock::new(&resolve(&index, &request).unwrap(), "amd64", Vec::new()).unwrap();
        let chosen: Vec<_> = lock.packages.iter().map(|it| (it.name.as_str(), it.mirror.is_file())).collect();
        assert_eq!(chosen, [("base", false), ("lib", false), ("other", true), ("x", true)], "{version}");
        let x = &lock.packages[3];
        assert_eq!((x.version.as_str(), x.filename.as_str()), (version, "x ü.deb"));
        assert_eq!(file_url::path_of(&x.url()), Some(paths[0].clone()));
        assert_eq!(Lock::parse(&lock.to_toml()).unwrap(), lock);
    }
}
