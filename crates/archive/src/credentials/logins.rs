//! Finds the login for a URL: among those that URLs were named with, those of netrc, and those of
//! apt on this host.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::netrc::{Machine, is_apt_of, is_netrc_of, parse_auth_conf, parse_netrc};
use super::url::Place;
use super::{Login, MirrorUrl, ProxyUrl};

/// All logins that a run knows.
///
/// A login that was named with a URL is for scheme, host and port of that URL, and comes before
/// those of files. One of netrc is for a host, by http and by https; one of apt's auth.conf is for
/// what apt takes it for. Last come those of an old lock. Proxies have theirs from their URLs and
/// from apt's files.
///
/// It is not `Serialize`: [`to_worker`] alone takes it to another process.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Logins {
    mirrors: Vec<Entry>,
    proxies: Vec<Entry>,
    netrc: Vec<Entry>,
    apt: Vec<Entry>,
    locked: Vec<Entry>,
}

/// A login and what it is for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// The URL that it was named with, or the machine of a file.
    of: String,
    #[serde(with = "in_clear")]
    login: Login,
    file: Option<LoginFile>,
}

/// The file that a login is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LoginFile {
    path: PathBuf,
    /// Whether every user of the host can read it.
    is_public: bool,
}

/// Something about a login that its owner should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// What the owner should know.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logins")
    }
}

impl Logins {
    /// Adds the login that a mirror was named with, if any.
    pub fn add_mirror(&mut self, mirror: &MirrorUrl) {
        self.mirrors.extend(Entry::named(mirror.as_str(), mirror.login()));
    }

    /// Adds the login that an old lock has for one of its mirrors, if any.
    pub fn add_locked(&mut self, mirror: &MirrorUrl) {
        let entry = Entry::named(mirror.as_str(), mirror.login());
        // A lock names its mirror once a package.
        self.locked.extend(entry.filter(|entry| !self.locked.contains(entry)));
    }

    /// Adds the login that a proxy was named with, if any.
    pub fn add_proxy(&mut self, proxy: &ProxyUrl) {
        self.proxies.extend(Entry::named(proxy.as_str(), proxy.login()));
    }

    /// Adds what the netrc file at `path` has. A file that cannot be read has nothing.
    pub fn add_netrc(&mut self, path: &Path) {
        self.netrc.extend(entries(path, parse_netrc));
    }

    /// Adds what `auth.conf` and `auth.conf.d` in apt's directory have. As apt does, passes over
    /// files that cannot be read: they are often root's alone.
    pub fn add_apt(&mut self, apt: &Path) {
        let mut files: Vec<_> = fs::read_dir(apt.join("auth.conf.d"))
            .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
            .unwrap_or_default();
        files.retain(|path| is_name_of_part(path));
        files.sort();
        files.insert(0, apt.join("auth.conf"));
        self.apt.extend(files.iter().flat_map(|path| entries(path, parse_auth_conf)));
    }

    /// The login for a mirror, or for a file of one.
    #[must_use]
    pub fn of_mirror(&self, url: &str) -> Option<&Login> {
        let place = Place::of(url)?;
        let entry = named_for(&self.mirrors, &place)
            .or_else(|| self.netrc_for(&place))
            .or_else(|| self.apt_for(&place))
            .or_else(|| named_for(&self.locked, &place));
        entry.map(|entry| &entry.login)
    }

    /// The login for a proxy.
    #[must_use]
    pub fn of_proxy(&self, url: &str) -> Option<&Login> {
        let place = Place::of(url)?;
        named_for(&self.proxies, &place).or_else(|| self.apt_for(&place)).map(|entry| &entry.login)
    }

    /// What the owner should know about the login that is taken for a mirror.
    #[must_use]
    pub fn concerns(&self, mirror: &MirrorUrl) -> Vec<Concern> {
        let mut concerns = Vec::new();
        let Some(place) = Place::of(mirror.as_str()).filter(|place| named_for(&self.mirrors, place).is_none()) else {
            return concerns;
        };
        let netrc = self.netrc_for(&place);
        let Some(LoginFile { path, is_public }) =
            netrc.or_else(|| self.apt_for(&place)).and_then(|entry| entry.file.as_ref())
        else {
            return concerns;
        };
        let path = path.display();
        if *is_public {
            let message = format!("every user of this host can read {path}, which has the login for {mirror}");
            concerns.push(Concern { message, hint: format!("chmod o= {path}") });
        }
        // An entry of apt's is for http only if it says so.
        if netrc.is_some() && place.has_scheme("http") && !place.is_loopback() {
            let message = format!("the login of {path} goes to {mirror} in clear");
            concerns.push(Concern { message, hint: "name the mirror by https://, if it speaks that".to_owned() });
        }
        concerns
    }

    fn netrc_for(&self, place: &Place<'_>) -> Option<&Entry> {
        self.netrc.iter().find(|entry| is_netrc_of(&entry.of, place))
    }

    fn apt_for(&self, place: &Place<'_>) -> Option<&Entry> {
        self.apt.iter().find(|entry| is_apt_of(&entry.of, place))
    }
}

/// Of the logins that were named for this scheme, host and port, the one with the longest path that
/// `place` begins with; of several, the first.
fn named_for<'a>(named: &'a [Entry], place: &Place<'_>) -> Option<&'a Entry> {
    let matching_length = |entry: &Entry| {
        let of = Place::of(&entry.of).filter(|of| place.has_origin_of(of))?;
        Some(if place.path.starts_with(of.path) { of.path.len() } else { 0 })
    };
    // `max_by_key` takes the last of equal ones, so the first must come last.
    let candidates = named.iter().rev().filter(|entry| matching_length(entry).is_some());
    candidates.max_by_key(|entry| matching_length(entry))
}

impl Entry {
    fn named(url: &str, login: Option<&Login>) -> Option<Self> {
        login.map(|login| Self { of: url.to_owned(), login: login.clone(), file: None })
    }
}

/// What `parse` finds in a file: nothing, if the file is not there, is not UTF-8, or may not be
/// read.
fn entries(path: &Path, parse: impl Fn(&str) -> Vec<Machine>) -> Vec<Entry> {
    read_entries(path, parse).unwrap_or_default()
}

fn read_entries(path: &Path, parse: impl Fn(&str) -> Vec<Machine>) -> io::Result<Vec<Entry>> {
    let mode = fs::metadata(path)?.permissions().mode();
    let file = LoginFile { path: path.to_owned(), is_public: mode & 0o004 != 0 };
    let machines = parse(&fs::read_to_string(path)?).into_iter();
    Ok(machines.map(|Machine { name, login }| Entry { of: name, login, file: Some(file.clone()) }).collect())
}

/// Whether apt reads a file of this name in `auth.conf.d`.
fn is_name_of_part(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    name.ends_with(".conf") && !name.starts_with('.') && name.chars().all(is_allowed)
}

/// For the field of what is sent to a worker over its socket, `#[serde(with = "to_worker")]`: the
/// only way in which logins leave the process.
pub mod to_worker {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Logins;

    /// Writes all logins in clear.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(logins: &Logins, serializer: S) -> Result<S::Ok, S::Error> {
        let Logins { mirrors, proxies, netrc, apt, locked } = logins;
        (mirrors, proxies, netrc, apt, locked).serialize(serializer)
    }

    /// Reads what was written so.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Logins, D::Error> {
        let (mirrors, proxies, netrc, apt, locked) = Deserialize::deserialize(deserializer)?;
        Ok(Logins { mirrors, proxies, netrc, apt, locked })
    }
}

/// A login as it crosses to the worker.
mod in_clear {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Login;

    pub(super) fn serialize<S: Serializer>(login: &Login, serializer: S) -> Result<S::Ok, S::Error> {
        login.reveal().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Login, D::Error> {
        let (user, password) = <(String, String)>::deserialize(deserializer)?;
        Ok(Login::new(user, password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(url: &str) -> MirrorUrl {
        url.parse().unwrap()
    }

    fn user(login: Option<&Login>) -> Option<&str> {
        login.map(|login| login.reveal().0)
    }

    /// Logins of a netrc file and of apt's files with these texts and modes.
    fn of_files(netrc: (&str, u32), apt: &[(&str, &str, u32)]) -> (Logins, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        write("netrc", netrc.0, netrc.1);
        for (name, text, mode) in apt {
            write(name, text, *mode);
        }
        let mut logins = Logins::default();
        logins.add_netrc(&directory.path().join("netrc"));
        logins.add_apt(directory.path());
        (logins, directory)
    }

    #[test]
    fn a_named_login_is_for_its_origin_alone() {
        let mut logins = Logins::default();
        logins.add_mirror(&mirror("http://ann:a@host/debian"));
        logins.add_mirror(&mirror("http://bob:b@host/debian/inner"));
        logins.add_mirror(&mirror("http://carl:c@host/debian"));
        logins.add_mirror(&mirror("http://no-login.example/debian"));
        logins.add_proxy(&"http://pia:p@host:3128".parse().unwrap());
        for (url, expected) in [
            ("http://host/debian/dists/trixie/InRelease", Some("ann")),
            ("http://HOST:80/debian-security", Some("ann")),
            ("http://host/elsewhere", Some("ann")),
            ("http://host/debian/inner/pool/x.deb", Some("bob")),
            ("https://host/debian", None),
            ("http://host:8080/debian", None),
            ("http://host:3128", None),
            ("http://host.example/debian", None),
            ("http://no-login.example/debian", None),
        ] {
            assert_eq!(user(logins.of_mirror(url)), expected, "{url}");
        }
        assert_eq!(user(logins.of_proxy("http://host:3128")), Some("pia"));
        assert_eq!(user(logins.of_proxy("http://host")), None);
        assert_eq!(logins.concerns(&mirror("http://host/debian")), []);
    }

    #[test]
    fn the_order_is_urls_then_netrc_then_apt_then_an_old_lock() {
        let (mut logins, _directory) = of_files(
            ("machine a.example login netrc\nmachine b.example login netrc", 0o600),
            &[
                ("auth.conf", "machine b.example login apt machine http://c.example login first", 0o600),
                ("auth.conf.d/10.conf", "machine http://c.example login second machine d.example login apt", 0o600),
                ("auth.conf.d/20.conf~", "machine http://e.example login backup", 0o600),
                ("auth.conf.d/30.conf", "machine http://proxy.example:3128 login apt", 0o600),
            ],
        );
        logins.add_mirror(&mirror("http://named@a.example/debian"));
        for host in ["a", "b", "f"] {
            logins.add_locked(&mirror(&format!("http://locked@{host}.example/debian-security")));
        }
        for (url, expected) in [
            ("http://a.example/debian", Some("named")),
            ("http://a.example/debian-security", Some("named")),
            ("http://b.example/debian-security", Some("netrc")),
            ("http://f.example/debian", Some("locked")),
            ("https://a.example/debian", Some("netrc")),
            ("https://b.example/debian", Some("netrc")),
            ("http://c.example/debian", Some("first")),
            ("http://d.example/debian", None),
            ("https://d.example/debian", Some("apt")),
            ("http://e.example/debian", None),
        ] {
            assert_eq!(user(logins.of_mirror(url)), expected, "{url}");
        }
        assert_eq!(user(logins.of_proxy("http://proxy.example:3128")), Some("apt"));
        assert_eq!(user(logins.of_proxy("http://a.example")), None);
    }

    #[test]
    fn files_that_are_not_there_have_nothing() {
        let mut logins = Logins::default();
        logins.add_netrc(Path::new("/nonexistent"));
        logins.add_apt(Path::new("/nonexistent"));
        assert_eq!(logins, Logins::default());
    }

    #[test]
    fn warns_of_files_that_all_can_read_and_of_logins_in_clear() {
        let (logins, _directory) = of_files(
            ("machine a.example login x machine 127.0.0.1 login x", 0o644),
            &[("auth.conf", "machine b.example login x", 0o640)],
        );
        for (url, expected) in [
            ("https://a.example/debian", &["every user of this host can read"][..]),
            ("http://a.example/debian", &["every user of this host can read", "in clear"]),
            ("http://127.0.0.1/debian", &["every user of this host can read"]),
            ("https://b.example/debian", &[]),
            ("https://c.example/debian", &[]),
        ] {
            let concerns = logins.concerns(&mirror(url));
            assert_eq!(concerns.len(), expected.len(), "{concerns:?}");
            assert!(
                concerns.iter().zip(expected).all(|(concern, part)| concern.message.contains(part)),
                "{concerns:?}"
            );
        }
    }

    #[test]
    fn only_the_way_to_the_worker_has_them_in_clear() {
        #[derive(Debug, Serialize, Deserialize)]
        struct Job {
            #[serde(with = "super::to_worker")]
            logins: Logins,
        }

        let (mut logins, _directory) = of_files(("machine a.example login ann password netrc-secret", 0o600), &[]);
        logins.add_mirror(&mirror("http://ann:url-secret@host/debian"));
        let job = Job { logins };
        assert!(!format!("{job:?}").contains("secret"));
        let json = serde_json::to_string(&job).unwrap();
        assert_eq!(serde_json::from_str::<Job>(&json).unwrap().logins, job.logins);
    }
}
