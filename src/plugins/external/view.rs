//! What of the host's files a plugin finds: what any program needs to run, its own directory, the
//! directories of the PATH, the interpreter that its first line names, and what the caller adds.
//! Here is only decided what that is, by looking at the host; [`super::mounts`] makes a root of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use fam_host::regular;

/// Programs and libraries of any distribution: there is nothing of a user's in them.
const SYSTEM: [&str; 9] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"];
/// Of /etc what loaders and interpreters read, by the beginnings of the names; all of it is for
/// everyone to read. Not the time zone, by which images would differ from host to host.
const ETC: [&str; 8] = ["alternatives", "group", "java", "ld.so.", "nsswitch.conf", "passwd", "perl", "python"];
/// Directories that have what does not belong together.
const TOO_WIDE: [&str; 15] = [
    "/", "/boot", "/dev", "/etc", "/home", "/media", "/mnt", "/opt", "/proc", "/root", "/run", "/srv", "/sys", "/tmp",
    "/var",
];
/// Names of directories of programs that may be part of an installation.
const PROGRAMS: [&str; 3] = ["bin", "sbin", "shims"];
/// What is next to them then: of Python, conda, Node and Go; of pyenv and rbenv; of asdf and mise.
const INSTALLED: [&str; 5] = ["lib", "lib64", "libexec", "versions", "installs"];
/// The kernel reads no more of a first line, and no more interpreters of interpreters.
const FIRST_LINE_BYTES: u64 = 256;
const INTERPRETERS: usize = 5;
/// As many symbolic links as the kernel follows.
const LINKS: usize = 40;

/// Files of the host that plugins may read in addition to those that they need to run, and files
/// that are hidden from them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// Directories that plugins may read, such as the recipe's.
    pub readable: Vec<PathBuf>,
    /// Directories and files that they must not read, though a directory that they may read has
    /// them.
    pub hidden: Vec<PathBuf>,
}

/// What the environment of the user who runs the plugin says.
#[derive(Debug, Clone)]
pub(super) struct Environment {
    pub(super) path: OsString,
    pub(super) home: Option<PathBuf>,
}

impl Environment {
    pub(super) fn of_process() -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        Self { path: std::env::var_os("PATH").unwrap_or_default(), home }
    }

    /// Those of the PATH.
    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        std::env::split_paths(&self.path).filter(|directory| directory.is_absolute())
    }

    /// The program of that name.
    fn find(&self, name: &OsStr) -> Option<PathBuf> {
        self.directories().map(|directory| directory.join(name)).find(|file| is_program(file))
    }
}

/// What is to be at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// What the host has there.
    Shown,
    /// Nothing, though the host has something.
    Hidden,
}

/// The files that a plugin finds. No path in it leads through a symbolic link.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Directories before what is in them.
    pub(super) places: BTreeMap<PathBuf, Place>,
    /// Symbolic links on the way to them, with their targets.
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
}

impl View {
    /// That of the plugin in `file`, whose interpreter is looked for where it `is_program`.
    pub(super) fn new(file: &Path, is_program: bool, files: &HostFiles, environment: &Environment) -> Self {
        let hidden: Vec<PathBuf> = files.hidden.iter().filter_map(|path| Some(resolve(path)?.path)).collect();
        let home = environment.home.as_deref().and_then(resolve).map(|home| home.path);
        let mut looking = Looking { view: Self::default(), hidden: &hidden, home, environment };
        for directory in SYSTEM {
            looking.show(Path::new(directory));
        }
        for entry in fs_err::read_dir("/etc").into_iter().flatten().flatten() {
            if ETC.iter().any(|name| entry.file_name().as_bytes().starts_with(name.as_bytes())) {
                looking.show(&entry.path());
            }
        }
        for directory in environment.directories() {
            looking.programs(&directory);
        }
        for directory in &files.readable {
            looking.directory(directory);
        }
        if !file.parent().is_some_and(|directory| looking.directory(directory)) {
            looking.show(file);
        }
        if is_program {
            looking.interpreter(file, INTERPRETERS);
        }
        let mut view = looking.view;
        view.places.extend(hidden.into_iter().map(|path| (path, Place::Hidden)));
        view.without_what_is_said_twice()
    }

    /// Drops each place that is in another of the same kind, and what is hidden where nothing is
    /// shown.
    fn without_what_is_said_twice(mut self) -> Self {
        // In the order of paths a directory comes before what is in it, so what is around a path is
        // decided first.
        let mut kept: BTreeMap<PathBuf, Place> = BTreeMap::new();
        for (path, place) in std::mem::take(&mut self.places) {
            let around = path.ancestors().skip(1).find_map(|above| kept.get(above)).copied().unwrap_or(Place::Hidden);
            if around != place {
                kept.insert(path, place);
            }
        }
        self.places = kept;
        self
    }
}

/// A view in the making.
struct Looking<'a> {
    view: View,
    hidden: &'a [PathBuf],
    home: Option<PathBuf>,
    environment: &'a Environment,
}

impl Looking<'_> {
    /// Shows what is at `path`, if there is anything, by this name of it too.
    fn show(&mut self, path: &Path) {
        if let Some(Resolved { path, links }) = resolve(path) {
            self.view.links.extend(links);
            self.view.places.insert(path, Place::Shown);
        }
    }

    /// Shows a directory with all that is in it, unless it [is too wide](Self::is_too_wide).
    /// Returns whether it did.
    fn directory(&mut self, directory: &Path) -> bool {
        let fits = resolve(directory).is_some_and(|resolved| !self.is_too_wide(&resolved.path));
        if fits {
            self.show(directory);
        }
        fits
    }

    /// Whether the directory may have anything in it: one that every system has, a home or what
    /// homes are in, what everyone writes to (as /var/tmp), what is hidden.
    fn is_too_wide(&self, directory: &Path) -> bool {
        // ~/.local, with its bin and lib, looks like an installation; it has the user's own data as
        // well.
        let is_home = directory.parent() == Some(Path::new("/home"))
            || self.home.as_ref().is_some_and(|home| home.starts_with(directory) || directory == home.join(".local"));
        let is_shared = fs_err::metadata(directory).is_ok_and(|metadata| metadata.permissions().mode() & 0o1000 != 0);
        let is = |other: &Path| directory == other;
        TOO_WIDE.iter().any(|known| is(Path::new(known)))
            || is_home
            || is_shared
            || self.hidden.iter().any(|hidden| is(hidden))
    }

    /// Shows a directory of programs, and the installation that it is part of.
    fn programs(&mut self, directory: &Path) {
        let Some(Resolved { path: real, .. }) = resolve(directory) else { return };
        if is_for_programs(&real)
            && let Some(installation) = real.parent()
            && INSTALLED.iter().any(|name| installation.join(name).is_dir())
        {
            self.directory(installation);
        }
        self.directory(directory);
    }

    /// Shows the interpreter that the first line of a script names, with the installation that it
    /// is in, and what interprets that in turn. The line is the plugin's: it must not open a
    /// directory that is not for programs.
    fn interpreter(&mut self, script: &Path, left: usize) {
        let program = match first_line(script).and_then(|line| Interpreter::of(&line)) {
            Some(Interpreter::File(file)) => Some(file),
            Some(Interpreter::Name(name)) => self.environment.find(&name),
            None => None,
        };
        let Some(mut file) = program.filter(|file| is_program(file)) else { return };
        for _ in 0..LINKS {
            let Some(directory) = file.parent().map(Path::to_path_buf) else { return };
            if is_for_programs(&directory) {
                self.programs(&directory);
            }
            self.show(&file);
            match fs_err::read_link(&file) {
                Ok(target) => file = directory.join(target),
                Err(_) if left > 0 => return self.interpreter(&file, left - 1),
                Err(_) => return,
            }
        }
    }
}

fn is_for_programs(directory: &Path) -> bool {
    directory.file_name().is_some_and(|name| PROGRAMS.iter().any(|known| name == *known))
}

fn is_program(file: &Path) -> bool {
    fs_err::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The first line of a script, without `#!`.
fn first_line(file: &Path) -> Option<Vec<u8>> {
    let mut beginning = Vec::new();
    regular::open(file).ok()?.take(FIRST_LINE_BYTES).read_to_end(&mut beginning).ok()?;
    let line = beginning.strip_prefix(b"#!")?;
    Some(line.split(|byte| *byte == b'\n').next()?.to_vec())
}

/// What a script says that it is run by.
#[derive(Debug, PartialEq, Eq)]
enum Interpreter {
    File(PathBuf),
    /// A name that env(1) looks for in the PATH.
    Name(OsString),
}

impl Interpreter {
    fn of(line: &[u8]) -> Option<Self> {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(OsStr::from_bytes);
        let file = Path::new(words.next()?);
        if file.file_name() != Some(OsStr::new("env")) {
            return file.is_absolute().then(|| Self::File(file.to_owned()));
        }
        // Options of env, and variables that it sets, come before the name.
        let name = words.find(|word| !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'='))?;
        let path = Path::new(name);
        Some(if path.is_absolute() { Self::File(path.to_owned()) } else { Self::Name(name.to_owned()) })
    }
}

/// A path without symbolic links, and those that were followed for it.
#[derive(Debug)]
struct Resolved {
    path: PathBuf,
    links: BTreeMap<PathBuf, PathBuf>,
}

/// Follows an absolute path as the kernel does; `None` where nothing is there.
fn resolve(path: &Path) -> Option<Resolved> {
    let mut resolved = Resolved { path: PathBuf::from("/"), links: BTreeMap::new() };
    let mut followed = 0;
    let mut left: Vec<OsString> = steps(path);
    while let Some(step) = left.pop() {
        if step == ".." {
            resolved.path.pop();
            continue;
        }
        let next = resolved.path.join(&step);
        if !fs_err::symlink_metadata(&next).ok()?.is_symlink() {
            resolved.path = next;
            continue;
        }
        followed += 1;
        if followed > LINKS {
            return None;
        }
        let target = fs_err::read_link(&next).ok()?;
        if target.is_absolute() {
            resolved.path = PathBuf::from("/");
        }
        left.extend(steps(&target));
        resolved.links.insert(next, target);
    }
    Some(resolved)
}

/// The components of a path that lead anywhere, the first of them last.
fn steps(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
