//! Packages of the tests' own, made by dpkg-deb.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::succeed;

/// A package that is being described. Its version is 1, and its architecture `all`, unless said
/// otherwise.
#[derive(Debug, Clone)]
pub struct Deb {
    fields: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>, u32)>,
    directories: Vec<String>,
    links: Vec<(String, String)>,
    hard_links: Vec<(String, String)>,
    control: Vec<(String, String, u32)>,
    filename: Option<String>,
}

impl Deb {
    /// A package with nothing in it.
    pub fn new(name: &str) -> Self {
        let fields = [
            ("Package", name),
            ("Version", "1"),
            ("Architecture", "all"),
            ("Maintainer", "Tests <tests@example.org>"),
            ("Installed-Size", "1"),
            ("Description", "for a test"),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self {
            fields,
            files: Vec::new(),
            directories: Vec::new(),
            links: Vec::new(),
            hard_links: Vec::new(),
            control: Vec::new(),
            filename: None,
        }
    }

    /// Sets a field of the control file.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(other, _)| other != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes it one of those that every variant installs.
    #[must_use]
    pub fn essential(self) -> Self {
        self.field("Essential", "yes").field("Priority", "required")
    }

    /// With a file, which everyone may read.
    #[must_use]
    pub fn file(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.file_with_mode(path, content, 0o644)
    }

    /// With a file of this mode.
    #[must_use]
    pub fn file_with_mode(mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.files.push((path.to_owned(), content.into(), mode));
        self
    }

    /// With an empty directory.
    #[must_use]
    pub fn directory(mut self, path: &str) -> Self {
        self.directories.push(path.to_owned());
        self
    }

    /// With a symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.links.push((path.to_owned(), target.to_owned()));
        self
    }

    /// With another name of a file. Of several names, the first in the order of names is the file,
    /// and the others are links.
    #[must_use]
    pub fn hard_link(mut self, path: &str, file: &str) -> Self {
        self.hard_links.push((path.to_owned(), file.to_owned()));
        self
    }

    /// With a maintainer script, by its name, which is run by the shell.
    #[must_use]
    pub fn script(mut self, name: &str, commands: &str) -> Self {
        self.control.push((name.to_owned(), format!("#!/bin/sh\n{commands}\n"), 0o755));
        self
    }

    /// With another file beside the control file: `conffiles`, `triggers`.
    #[must_use]
    pub fn control_file(mut self, name: &str, text: &str) -> Self {
        self.control.push((name.to_owned(), text.to_owned(), 0o644));
        self
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.get("Package").unwrap()
    }

    /// With this path in an archive.
    #[must_use]
    pub fn at(self, filename: &str) -> Self {
        Self { filename: Some(filename.to_owned()), ..self }
    }

    /// Its path in an archive.
    pub fn filename(&self) -> String {
        if let Some(filename) = &self.filename {
            return filename.clone();
        }
        let [version, architecture] = ["Version", "Architecture"].map(|name| self.get(name).unwrap());
        format!("pool/{}_{}_{architecture}.deb", self.name(), version.replace(':', "%3a"))
    }

    /// The fields as a stanza, without a line end after the last.
    pub fn stanza(&self) -> String {
        let lines = self.fields.iter().map(|(name, value)| format!("{name}: {value}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Has dpkg-deb make the package.
    pub fn build(&self) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let (tree, deb) = (directory.path().join("tree"), directory.path().join("deb"));
        fs_err::create_dir(&tree).unwrap();
        let control = self.control.iter().map(|(name, text, mode)| (format!("/DEBIAN/{name}"), text.as_bytes(), *mode));
        let stanza = self.stanza() + "\n";
        let files = self.files.iter().map(|(path, content, mode)| (path.clone(), content.as_slice(), *mode));
        let main = [("/DEBIAN/control".to_owned(), stanza.as_bytes(), 0o644)];
        for (path, content, mode) in main.into_iter().chain(control).chain(files) {
            let path = below(&tree, &path);
            fs_err::write(&path, content).unwrap();
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        for path in &self.directories {
            fs_err::create_dir_all(below(&tree, path).as_path()).unwrap();
        }
        for (path, target) in &self.links {
            fs_err::os::unix::fs::symlink(target, below(&tree, path)).unwrap();
        }
        for (path, file) in &self.hard_links {
            fs_err::hard_link(below(&tree, file), below(&tree, path)).unwrap();
        }
        let mut build = Command::new("dpkg-deb");
        // The same package has the same bytes whenever it is made.
        build.env("SOURCE_DATE_EPOCH", "1700000000");
        succeed(build.args(["-Znone", "--root-owner-group", "--build"]).arg(&tree).arg(&deb));
        fs_err::read(deb).unwrap()
    }
}

/// The path of the tree's file `path`, with the directories above it made.
fn below(tree: &Path, path: &str) -> std::path::PathBuf {
    let path = tree.join(path.trim_start_matches('/'));
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    path
}
