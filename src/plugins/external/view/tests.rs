use std::os::unix::fs::symlink;

use super::*;

#[test]
fn first_lines() {
    let file = |path: &str| Some(Interpreter::File(path.into()));
    let name = |name: &str| Some(Interpreter::Name(name.into()));
    for (line, expected) in [
        ("/bin/sh", file("/bin/sh")),
        (" /usr/bin/python3 -I ", file("/usr/bin/python3")),
        ("/usr/bin/env python3", name("python3")),
        ("/usr/bin/env -S A=b node --flag", name("node")),
        ("/usr/bin/env -S /opt/x/bin/node", file("/opt/x/bin/node")),
        ("/usr/bin/env", None),
        ("python3", None),
        ("", None),
    ] {
        assert_eq!(Interpreter::of(line.as_bytes()), expected, "{line:?}");
    }
}

/// A home in which a plugin, its recipe, an installation of Python and private files lie; and the
/// view of the plugin.
struct Home {
    directory: tempfile::TempDir,
    path: PathBuf,
    files: HostFiles,
    programs: Vec<PathBuf>,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = fs_err::canonicalize(directory.path()).unwrap();
        let home = Self { directory, path, files: HostFiles::default(), programs: vec!["/usr/bin".into()] };
        home.put(".ssh/id_ed25519", 0o600, "private");
        home
    }

    fn put(&self, name: &str, mode: u32, text: &str) -> PathBuf {
        let file = self.path.join(name);
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(&file, text).unwrap();
        fs_err::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    /// The places of the view that are in this home, beginning there; hidden ones with a minus.
    fn sees(&self, plugin: &Path) -> Vec<String> {
        let path = std::env::join_paths(&self.programs).unwrap();
        let environment = Environment { path, home: Some(self.directory.path().into()) };
        let view = View::new(plugin, true, &self.files, &environment);
        let shown = |(path, place): (&PathBuf, &Place)| {
            let path = path.strip_prefix(&self.path).ok()?.display();
            Some(if *place == Place::Shown { path.to_string() } else { format!("-{path}") })
        };
        assert_eq!(view.places.get(Path::new("/usr")), Some(&Place::Shown));
        let others = view.places.keys().filter(|path| path.starts_with("/usr") || path.starts_with("/run"));
        assert_eq!(others.count(), 1);
        view.places.iter().filter_map(shown).collect()
    }
}

#[test]
fn a_plugin_sees_its_directory_and_the_recipe() {
    let mut home = Home::new();
    let plugin = home.put("project/plugins/greet", 0o755, "#!/bin/sh\n");
    assert_eq!(home.sees(&plugin), ["project/plugins"]);
    home.files.readable.push(home.path.join("project"));
    assert_eq!(home.sees(&plugin), ["project"]);
    let seed = home.put("project/vms/fabric.seed", 0o600, "");
    home.files.hidden = vec![seed.parent().unwrap().into(), home.path.join("not/there")];
    assert_eq!(home.sees(&plugin), ["project", "-project/vms"]);
    let plugin = home.put("project/vms/mine/greet", 0o755, "");
    assert_eq!(home.sees(&plugin), ["project", "-project/vms", "project/vms/mine"]);
    home.files.hidden = vec![home.path.join("project")];
    assert_eq!(home.sees(&plugin), ["project/vms/mine"]);
}

#[test]
fn no_home_is_shown_as_a_whole() {
    let mut home = Home::new();
    let plugin = home.put("greet", 0o755, "#!/bin/sh\n");
    home.files.readable = vec![home.path.clone(), "/".into(), "/etc".into(), "/home/someone".into(), "/tmp".into()];
    home.put("bin/tool", 0o755, "");
    home.put(".local/bin/tool", 0o755, "");
    home.put(".local/lib/python3/site", 0o644, "");
    home.programs.extend([home.path.clone(), home.path.join("bin"), home.path.join(".local/bin")]);
    assert_eq!(home.sees(&plugin), [".local/bin", "bin", "greet"]);
}

#[test]
fn interpreters_bring_their_installation() {
    let mut home = Home::new();
    home.put(".pyenv/versions/3.12/bin/python3", 0o755, "");
    home.put(".pyenv/shims/python3", 0o755, "#!/usr/bin/env bash\n");
    home.put("tools/bin/alone", 0o755, "");
    home.programs.extend([home.path.join(".pyenv/shims"), home.path.join("tools/bin")]);
    let plugin = home.put("plugins/greet.py", 0o755, "#!/usr/bin/env python3\n");
    assert_eq!(home.sees(&plugin), [".pyenv", "plugins", "tools/bin"]);

    // As uv and venv do it: links, the last to an installation that is in no PATH.
    home.programs = vec![home.path.join(".local/bin")];
    home.put(".local/share/uv/python-3.12/bin/python3.12", 0o755, "");
    home.put(".local/share/uv/python-3.12/lib/os.py", 0o644, "");
    fs_err::create_dir_all(home.path.join(".local/bin")).unwrap();
    fs_err::create_dir_all(home.path.join("venv/lib")).unwrap();
    fs_err::create_dir_all(home.path.join("venv/bin")).unwrap();
    symlink("../share/uv/python-3.12/bin/python3.12", home.path.join(".local/bin/python3")).unwrap();
    symlink(home.path.join(".local/bin/python3"), home.path.join("venv/bin/python")).unwrap();
    let expected = [".local/bin", ".local/share/uv/python-3.12", "plugins"];
    assert_eq!(home.sees(&plugin), expected);
    let line = format!("#!{}\n", home.path.join("venv/bin/python").display());
    let plugin = home.put("plugins/other.py", 0o755, &line);
    assert_eq!(home.sees(&plugin), [&expected[..], &["venv"]].concat());
}

#[test]
fn links_on_the_way_are_kept() {
    let home = Home::new();
    home.put("disk/project/plugins/greet", 0o755, "");
    symlink("disk/../disk/project", home.path.join("link")).unwrap();
    symlink("loop", home.path.join("loop")).unwrap();
    assert!(resolve(&home.path.join("loop/x")).is_none());
    let resolved = resolve(&home.path.join("link/plugins/../plugins")).unwrap();
    assert_eq!(resolved.path, home.path.join("disk/project/plugins"));
    assert_eq!(resolved.links[&home.path.join("link")], Path::new("disk/../disk/project"));
}

#[test]
fn a_first_line_opens_no_private_directory() {
    let home = Home::new();
    home.put("private/tool", 0o755, "");
    home.put("private/secret", 0o600, "");
    let private = |name: &str| home.path.join(name).display().to_string();
    let (key, tool) = (private(".ssh/id_ed25519"), private("private/tool"));
    for (line, seen) in [
        (key.clone(), &["plugins"][..]),
        (format!("/usr/bin/env -S -u {key} sh"), &["plugins"]),
        (format!("/usr/bin/env -S --chdir {} sh", private(".ssh")), &["plugins"]),
        (tool, &["plugins", "private/tool"]),
        (private("plugins/bin/link"), &["plugins"]),
    ] {
        let plugin = home.put("plugins/greet", 0o755, &format!("#!{line}\n"));
        let _ = fs_err::create_dir(home.path.join("plugins/bin"));
        let _ = symlink(&key, home.path.join("plugins/bin/link"));
        assert_eq!(home.sees(&plugin), seen, "{line}");
    }
}
