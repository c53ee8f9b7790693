//! The user and group ids that a build may use: who the caller is, what /etc/subuid and /etc/subgid
//! grant, and how the maps of a new user namespace get written (`user_namespaces(7)`, subuid(5),
//! newuidmap(1)).

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fam_progress::Hint;
use rustix::process::{getegid, geteuid};
use rustix::thread::CapabilitySet;

/// Ids 1 to 65534 must exist inside: Debian Policy 9.2.2 uses all of them, `nobody` being 65534.
const NEEDED_SUBORDINATE_IDS: u32 = 65534;

/// A run of ids inside a user namespace and where it lies outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Whose ids a map is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Users.
    User,
    /// Groups.
    Group,
}

impl Kind {
    fn file(self) -> &'static str {
        match self {
            Self::User => "/etc/subuid",
            Self::Group => "/etc/subgid",
        }
    }

    fn helper(self) -> &'static str {
        match self {
            Self::User => "newuidmap",
            Self::Group => "newgidmap",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }

    fn map(self) -> &'static str {
        match self {
            Self::User => "uid_map",
            Self::Group => "gid_map",
        }
    }
}

/// Why there are not enough ids.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// /etc/subuid or /etc/subgid grants the user nothing, or too little.
    #[error("{file} grants user {user} {granted} ids, {NEEDED_SUBORDINATE_IDS} are needed")]
    TooFewIds {
        /// /etc/subuid or /etc/subgid.
        file: &'static str,
        /// The user's name, or number where it has none.
        user: String,
        /// How many it grants.
        granted: u32,
    },
    /// The setuid helper is not installed.
    #[error("{name} is not installed")]
    NoHelper {
        /// Its name.
        name: &'static str,
    },
    /// The helper is installed but has no privilege.
    #[error("{path} is neither setuid root nor has it a file capability")]
    HelperWithoutPrivilege {
        /// Where it is.
        path: PathBuf,
    },
    /// The helper refused.
    #[error("{path} refused to write the id map: {message}")]
    HelperRefused {
        /// Where it is.
        path: PathBuf,
        /// What it said.
        message: String,
    },
    /// The caller is root of a user namespace that has too few ids.
    #[error("this process is root of a user namespace with {count} {kind} ids, 65535 are needed")]
    PoorRoot {
        /// How many there are.
        count: u32,
        /// `user` or `group`.
        kind: &'static str,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::TooFewIds { user, .. } => Some(format!(
                "give the user a range, as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user} \
                 (choose another range if someone has that one), or run fam-build as root"
            )),
            Self::NoHelper { .. } => {
                Some("install it: package uidmap on Debian and Ubuntu, shadow-utils on Fedora, shadow on Arch".into())
            }
            Self::HelperWithoutPrivilege { path } => {
                Some(format!("reinstall its package (uidmap, shadow-utils), or as root: chmod u+s {}", path.display()))
            }
            Self::HelperRefused { .. } => {
                Some("compare /etc/subuid and /etc/subgid with the ranges in the message".into())
            }
            Self::PoorRoot { .. } => {
                Some("run fam-build as a normal user outside of that namespace, or map 65536 ids into it".into())
            }
            Self::Io(_) => None,
        }
    }
}

/// Where the ids of a build come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ids {
    /// The caller is root with all it needs: no user namespace.
    Own,
    /// A user namespace in which the caller is root, and nobody else is there.
    Single,
    /// A user namespace whose maps this process may write itself.
    Direct {
        /// Users.
        uids: Vec<Extent>,
        /// Groups.
        gids: Vec<Extent>,
    },
    /// A user namespace whose maps the setuid helpers write.
    Helpers {
        /// Users.
        uids: Vec<Extent>,
        /// Groups.
        gids: Vec<Extent>,
        /// Path of newuidmap.
        newuidmap: PathBuf,
        /// Path of newgidmap.
        newgidmap: PathBuf,
    },
}

impl Ids {
    /// Finds out what the caller may use.
    ///
    /// # Errors
    /// [`Error`] naming what is missing; nothing has been tried yet.
    pub fn detect() -> Result<Self, Error> {
        let effective = rustix::thread::capabilities(None).map_err(io::Error::from)?.effective;
        if geteuid().is_root() {
            let own = |kind: Kind| {
                let map = fs_err::read_to_string(format!("/proc/self/{}", kind.map()))?;
                same_from_zero(&map).map_err(|count| Error::PoorRoot { count, kind: kind.name() })
            };
            let (uids, gids) = (own(Kind::User)?, own(Kind::Group)?);
            // In a container root may have the one and not the other.
            if effective.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN) {
                return Ok(Self::Own);
            }
            // The kernel asks for both of the process that writes a map with other ids than its own.
            if effective.contains(CapabilitySet::SETUID | CapabilitySet::SETGID) {
                return Ok(Self::Direct { uids, gids });
            }
        }
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let user = user_name(uid);
        let granted = |kind: Kind, own| -> Result<Vec<Extent>, Error> {
            let table = match fs_err::read(kind.file()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                other => other?,
            };
            map_of(own, &ranges(&table, user.as_deref(), uid)).map_err(|granted| Error::TooFewIds {
                file: kind.file(),
                user: user.clone().unwrap_or_else(|| uid.to_string()),
                granted,
            })
        };
        // The helpers first: they are one package to install, and without it /etc/subuid is often
        // missing as well.
        let newuidmap = find_helper(Kind::User)?;
        let newgidmap = find_helper(Kind::Group)?;
        Ok(Self::Helpers { uids: granted(Kind::User, uid)?, gids: granted(Kind::Group, gid)?, newuidmap, newgidmap })
    }

    /// Whether a user namespace is needed.
    pub(crate) fn needs_user_namespace(&self) -> bool {
        *self != Self::Own
    }

    /// How many ids there are in a build, and who gives them.
    #[must_use]
    pub fn describe(&self) -> String {
        let count = |extents: &[Extent]| extents.iter().map(|extent| extent.count).sum::<u32>();
        match self {
            Self::Own => "root's own, without a user namespace".into(),
            Self::Single => "the caller's own alone".into(),
            Self::Direct { uids, .. } => format!("{} of this process's own user namespace", count(uids)),
            Self::Helpers { uids, gids, newuidmap, .. } => format!(
                "{} users and {} groups of /etc/subuid and /etc/subgid, through {}",
                count(uids),
                count(gids),
                newuidmap.display()
            ),
        }
    }

    /// Writes the maps of `pid`, a child of this process that has just entered a new user
    /// namespace.
    pub(crate) fn write_maps(&self, pid: u32) -> Result<(), Error> {
        match self {
            Self::Own => Ok(()),
            Self::Single => {
                // What may be written without privilege, in the order in which it may.
                for (file, text) in [
                    ("setgroups", "deny".to_owned()),
                    ("uid_map", format!("0 {} 1", geteuid().as_raw())),
                    ("gid_map", format!("0 {} 1", getegid().as_raw())),
                ] {
                    fs_err::write(format!("/proc/{pid}/{file}"), text)?;
                }
                Ok(())
            }
            Self::Direct { uids, gids } => {
                for (kind, extents) in [(Kind::User, uids), (Kind::Group, gids)] {
                    let text: String = extents
                        .iter()
                        .map(|Extent { inside, outside, count }| format!("{inside} {outside} {count}\n"))
                        .collect();
                    fs_err::write(format!("/proc/{pid}/{}", kind.map()), text)?;
                }
                Ok(())
            }
            Self::Helpers { uids, gids, newuidmap, newgidmap } => {
                run_helper(newuidmap, pid, uids)?;
                run_helper(newgidmap, pid, gids)
            }
        }
    }
}

fn run_helper(path: &Path, pid: u32, extents: &[Extent]) -> Result<(), Error> {
    let mut command = Command::new(path);
    command.arg(pid.to_string()).stdin(Stdio::null());
    for Extent { inside, outside, count } in extents {
        command.args([inside.to_string(), outside.to_string(), count.to_string()]);
    }
    let output =
        command.output().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = match said.trim() {
        "" => output.status.to_string(),
        said => said.to_owned(),
    };
    Err(Error::HelperRefused { path: path.to_owned(), message })
}

/// Looks through PATH and where distributions put it; PATH of a cron job or a service may lack
/// these.
fn find_helper(kind: Kind) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path)
        // A relative entry of PATH would have a file of the current directory run.
        .filter(|directory| directory.is_absolute())
        // NixOS has its setuid programs in /run/wrappers/bin.
        .chain(["/usr/bin", "/bin", "/run/wrappers/bin"].map(PathBuf::from));
    let mut powerless = None;
    for directory in directories {
        let candidate = directory.join(kind.helper());
        let Ok(metadata) = fs_err::metadata(&candidate) else { continue };
        let executable = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
        let setuid = metadata.permissions().mode() & 0o4000 != 0;
        if executable && (setuid || rustix::fs::getxattr(&candidate, "security.capability", &mut [0u8; 64]).is_ok()) {
            return Ok(candidate);
        }
        if executable {
            powerless.get_or_insert(candidate);
        }
    }
    Err(match powerless {
        Some(path) => Error::HelperWithoutPrivilege { path },
        None => Error::NoHelper { name: kind.helper() },
    })
}

/// The caller's login name by /etc/passwd; for one of a directory service, what the login said
/// (newuidmap checks it).
fn user_name(uid: u32) -> Option<String> {
    let passwd = fs_err::read("/etc/passwd").unwrap_or_default();
    name_in_passwd(&passwd, uid).or_else(|| {
        ["LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok()).filter(|name| !name.is_empty())
    })
}

fn name_in_passwd(passwd: &[u8], uid: u32) -> Option<String> {
    String::from_utf8_lossy(passwd).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The ranges that a subuid(5) table grants to a user, as (first id, count), in the order of the
/// file. Lines that are no entry are passed over, as shadow does; so are ranges beyond 32 bits.
fn ranges(table: &[u8], name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    String::from_utf8_lossy(table)
        .lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
            let mine = name == Some(owner) || owner.parse() == Ok(uid);
            if !mine || fields.next().is_some() {
                return None;
            }
            let (first, count): (u32, u32) = (first.parse().ok()?, count.parse().ok()?);
            (count > 0 && first.checked_add(count).is_some()).then_some((first, count))
        })
        .collect()
}

/// Maps 0 to the caller's own id and the ids from 1 on to `ranges` one after the other; fails with
/// how many they hold if that is too few.
fn map_of(own: u32, ranges: &[(u32, u32)]) -> Result<Vec<Extent>, u32> {
    let mut extents = vec![Extent { inside: 0, outside: own, count: 1 }];
    let mut next = 1;
    for &(first, count) in ranges {
        let count = count.min(NEEDED_SUBORDINATE_IDS + 2 - next);
        let overlaps = |extent: &Extent| first < extent.outside + extent.count && extent.outside < first + count;
        // The kernel takes no id twice.
        if count == 0 || extents.iter().any(overlaps) {
            continue;
        }
        extents.push(Extent { inside: next, outside: first, count });
        next += count;
    }
    let granted = next - 1;
    if granted < NEEDED_SUBORDINATE_IDS { Err(granted) } else { Ok(extents) }
}

/// Maps the ids that a build needs to themselves, where this user namespace has `map`; fails with
/// how many it has from 0 on without a gap if that is too few. An extent for each of the map's own,
/// as the kernel takes none that lies in two of these.
fn same_from_zero(map: &str) -> Result<Vec<Extent>, u32> {
    const NEEDED: u32 = NEEDED_SUBORDINATE_IDS + 1;
    let mut own = parse_map(map);
    own.sort_unstable_by_key(|extent| extent.inside);
    let mut extents = Vec::new();
    let mut end = 0;
    for Extent { inside, count, .. } in own.into_iter().filter(|extent| extent.count > 0) {
        if inside == end && end < NEEDED {
            let count = count.min(NEEDED - end);
            extents.push(Extent { inside, outside: inside, count });
            end += count;
        }
    }
    if end < NEEDED { Err(end) } else { Ok(extents) }
}

/// The extents of a map in the form of `/proc/PID/uid_map`.
pub(crate) fn parse_map(map: &str) -> Vec<Extent> {
    let extent = |line: &str| {
        let numbers: Vec<u32> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let [inside, outside, count] = numbers[..] else { return None };
        Some(Extent { inside, outside, count })
    };
    map.lines().filter_map(extent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_tables() {
        let table = b"# comment\nroot:1:65536\nann:100000:65536\nbob:165536:65536\n1001:300000:10\nann:400000:5\n\
            ann:x:5\nann:1\nann:1:2:3\nann:4294967295:9\nann:500000:0\n\xff\xfe:1:1\n  ann:600000:7  \n\nann::\n";
        assert_eq!(ranges(table, Some("ann"), 1001), [(100000, 65536), (300000, 10), (400000, 5), (600000, 7)]);
        assert_eq!(ranges(table, None, 1001), [(300000, 10)]);
        assert_eq!(ranges(table, Some("eve"), 7), []);
        assert_eq!(ranges(table, Some(""), 7), []);
    }

    #[test]
    fn maps_own_id_first_and_joins_ranges() {
        let extent = |inside, outside, count| Extent { inside, outside, count };
        assert_eq!(map_of(1000, &[(100000, 65536)]), Ok(vec![extent(0, 1000, 1), extent(1, 100000, 65535)]));
        assert_eq!(map_of(1000, &[(100000, 65534)]), Ok(vec![extent(0, 1000, 1), extent(1, 100000, 65534)]));
        assert_eq!(map_of(1000, &[(100000, 65533)]), Err(65533));
        assert_eq!(map_of(1000, &[]), Err(0));
        assert_eq!(
            map_of(1000, &[(100000, 40000), (200000, 40000)]),
            Ok(vec![extent(0, 1000, 1), extent(1, 100000, 40000), extent(40001, 200000, 25535)])
        );
        // A range given twice, or one that holds the user's own id, would make the kernel refuse
        // the whole map.
        assert_eq!(map_of(1000, &[(100000, 40000), (100000, 40000)]), Err(40000));
        assert_eq!(map_of(1000, &[(500, 65536)]), Err(0));
    }

    #[test]
    fn ids_of_this_namespace_keep_to_its_extents() {
        let extent = |first, count| Extent { inside: first, outside: first, count };
        assert_eq!(same_from_zero("         0          0 4294967295\n"), Ok(vec![extent(0, 65535)]));
        // A container of a user's.
        assert_eq!(same_from_zero("0 1000 1\n1 100000 65536\n"), Ok(vec![extent(0, 1), extent(1, 65534)]));
        assert_eq!(same_from_zero("1 100000 65536\n0 1000 1\n"), Ok(vec![extent(0, 1), extent(1, 65534)]));
        assert_eq!(same_from_zero("0 1 65535\n65535 70000 1\n"), Ok(vec![extent(0, 65535)]));
        assert_eq!(same_from_zero("0 1000 1\n2 100000 65536\n"), Err(1));
        assert_eq!(same_from_zero("0 1000 1\n"), Err(1));
        assert_eq!(same_from_zero("5 1000 100\n"), Err(0));
        assert_eq!(same_from_zero(""), Err(0));
    }

    #[test]
    fn finds_names() {
        let passwd = b"root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n:x:7::\nbroken\n";
        assert_eq!(name_in_passwd(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(name_in_passwd(passwd, 7), None);
    }

    #[test]
    fn hints_say_what_to_type() {
        let error = Error::TooFewIds { file: "/etc/subuid", user: "ann".into(), granted: 0 };
        assert_eq!(error.to_string(), "/etc/subuid grants user ann 0 ids, 65534 are needed");
        assert!(error.hint().unwrap().contains("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ann"));
    }
}
