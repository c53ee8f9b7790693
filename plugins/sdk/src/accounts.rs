//! Users and groups: the four files of passwd(5), shadow(5), group(5) and gshadow(5), changed
//! together.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Attributes, Error, FileType, Problem, Result, Root};

/// A line of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Numeric user.
    pub uid: u32,
    /// Numeric primary group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell.
    pub shell: String,
}

/// A group to be added.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NewGroup {
    /// Its name.
    pub name: String,
    /// Its number; the next free one otherwise.
    pub gid: Option<u32>,
    /// Whether a free number is taken from the system's range.
    pub system: bool,
}

/// A user to be added.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NewUser {
    /// Login name.
    pub name: String,
    /// Its number; the next free one otherwise.
    pub uid: Option<u32>,
    /// Primary group, which must exist; otherwise one of the user's own name is made.
    pub group: Option<String>,
    /// Further groups, which must exist.
    pub groups: Vec<String>,
    /// Full name and such (GECOS).
    pub comment: String,
    /// Home directory; `/home/NAME` otherwise. It is made from /etc/skel unless it is there.
    pub home: Option<PathBuf>,
    /// Login shell; `/bin/bash` otherwise.
    pub shell: Option<String>,
    /// Password as crypt(5) hashes it; none otherwise, which locks password login.
    pub password_hash: Option<String>,
    /// Whether a free number is taken from the system's range.
    pub system: bool,
}

// The ranges of Debian's adduser.conf and login.defs.
const SYSTEM_IDS: std::ops::RangeInclusive<u32> = 100..=999;
const USER_IDS: std::ops::RangeInclusive<u32> = 1000..=59_999;
const SUBORDINATE_COUNT: u32 = 65_536;
const FIRST_SUBORDINATE: u32 = 100_000;
const SECONDS_PER_DAY: i64 = 86_400;

impl Root<'_> {
    /// The account of that name, if there is one.
    ///
    /// # Errors
    /// [`Problem::Malformed`] where its line in /etc/passwd cannot be read.
    pub fn account(&self, name: &str) -> Result<Option<Account>> {
        let passwd = self.read_text("/etc/passwd")?;
        let Some(line) = passwd.lines().find(|line| first_field(line) == name) else { return Ok(None) };
        let fields: Vec<&str> = line.split(':').collect();
        let malformed = || Problem::Malformed(format!("unreadable line of {name}")).at("read", "/etc/passwd");
        let [_, _, uid, gid, _, home, shell] = fields[..] else { return Err(malformed()) };
        Ok(Some(Account {
            name: name.into(),
            uid: uid.parse().map_err(|_| malformed())?,
            gid: gid.parse().map_err(|_| malformed())?,
            home: home.into(),
            shell: shell.into(),
        }))
    }

    /// The number of the group of that name, if there is one.
    ///
    /// # Errors
    /// [`Error::File`] where /etc/group cannot be read.
    pub fn group_id(&self, name: &str) -> Result<Option<u32>> {
        let groups = self.read_text("/etc/group")?;
        Ok(groups.lines().find(|line| first_field(line) == name).and_then(third_field))
    }

    /// Adds a group, and gives its number.
    ///
    /// # Errors
    /// [`Error::Failed`] where the name or the number is taken or the name is not usable.
    pub fn add_group(&mut self, group: &NewGroup) -> Result<u32> {
        check_name(&group.name)?;
        if self.group_id(&group.name)?.is_some() {
            return Err(Error::failed(format!("group {} exists already", group.name)));
        }
        let gid = free_id(&self.read_text("/etc/group")?, group.gid, group.system, &format!("group {}", group.name))?;
        self.ensure_line("/etc/group", &format!("{}:x:{gid}:", group.name))?;
        if self.exists("/etc/gshadow") {
            self.ensure_line("/etc/gshadow", &format!("{}:!::", group.name))?;
        }
        Ok(gid)
    }

    /// Adds a user with its group, home directory and ranges of subordinate ids (where the image
    /// has /etc/subuid), as Debian's adduser does. `epoch`, seconds since 1970, becomes the day of
    /// the last password change.
    ///
    /// # Errors
    /// [`Error::Failed`] where the name or the number is taken, or a group is missing.
    pub fn add_user(&mut self, user: &NewUser, epoch: i64) -> Result<Account> {
        let name = user.name.as_str();
        check_name(name)?;
        if self.account(name)?.is_some() {
            return Err(Error::failed(format!("user {name} exists already")));
        }
        let home = user.home.clone().unwrap_or_else(|| Path::new("/home").join(name));
        let shell = user.shell.clone().unwrap_or_else(|| "/bin/bash".into());
        let home_text = home.to_str().ok_or_else(|| Error::failed(format!("home of {name} is not UTF-8")))?;
        for (what, field) in [("comment", user.comment.as_str()), ("home", home_text), ("shell", &shell)] {
            check_field(name, what, field)?;
        }
        let uid = free_id(&self.read_text("/etc/passwd")?, user.uid, user.system, &format!("user {name}"))?;
        let gid = match &user.group {
            Some(group) => self.group_id(group)?.ok_or_else(|| missing_group(name, group))?,
            None => match self.group_id(name)? {
                Some(gid) => gid,
                None => {
                    let groups = self.read_text("/etc/group")?;
                    // The group has the user's number where that is free, as adduser has it.
                    let gid = Some(uid).filter(|uid| !groups.lines().any(|line| third_field(line) == Some(*uid)));
                    self.add_group(&NewGroup { name: name.into(), gid, system: user.system })?
                }
            },
        };
        let comment = &user.comment;
        self.ensure_line("/etc/passwd", &format!("{name}:x:{uid}:{gid}:{comment}:{home_text}:{shell}"))?;
        self.set_password(name, user.password_hash.as_deref().unwrap_or("!"), epoch)?;
        for group in &user.groups {
            self.add_to_group(name, group)?;
        }
        // useradd(8) gives none to users of the system.
        if !user.system {
            for file in ["/etc/subuid", "/etc/subgid"] {
                self.add_subordinates(file, name)?;
            }
        }
        if !self.exists(&home) {
            self.make_home(&home, uid, gid)?;
        }
        Ok(Account { name: name.into(), uid, gid, home, shell })
    }

    /// Makes `user` a member of a group that exists.
    ///
    /// # Errors
    /// [`Error::Failed`] where it does not.
    pub fn add_to_group(&mut self, user: &str, group: &str) -> Result<()> {
        if self.group_id(group)?.is_none() {
            return Err(missing_group(user, group));
        }
        for file in ["/etc/group", "/etc/gshadow"] {
            if self.exists(file) {
                self.edit(file, |text| Ok(rewrite(&text, group, |fields| add_member(fields, user)).0))?;
            }
        }
        Ok(())
    }

    /// Sets the password of a user as crypt(5) hashes it; `!` and `*` lock it. `epoch`, seconds
    /// since 1970, becomes the day of the last change.
    ///
    /// # Errors
    /// [`Error::Failed`] where there is no such user, or the hash holds what would break the file.
    pub fn set_password(&mut self, user: &str, hash: &str, epoch: i64) -> Result<()> {
        if self.account(user)?.is_none() {
            return Err(Error::failed(format!("there is no user {user}")));
        }
        check_field(user, "password", hash)?;
        // Day 0 would mean that the password has to be changed at the next login (shadow(5)).
        let day = epoch.div_euclid(SECONDS_PER_DAY).max(1);
        if !self.exists("/etc/shadow") {
            self.write_with("/etc/shadow", "", Attributes::mode(0o600))?;
        }
        self.edit("/etc/shadow", |text| {
            let (mut text, found) = rewrite(&text, user, |fields| {
                // All fields of shadow(5), of which a line may lack the last.
                fields.resize(9, String::new());
                fields[1] = hash.into();
                fields[2] = day.to_string();
            });
            if !found {
                // As Debian's login.defs(5) has it: it may be changed at once, and practically
                // never must be.
                text.push_str(&format!("{user}:{hash}:{day}:0:99999:7:::\n"));
            }
            Ok(text)
        })
    }

    /// Gives the user the range of 65,536 ids that follows all others, as useradd(8) does.
    fn add_subordinates(&mut self, file: &str, name: &str) -> Result<()> {
        if !self.exists(file) {
            return Ok(());
        }
        self.edit(file, |mut text| {
            if text.lines().any(|line| first_field(line) == name) {
                return Ok(text);
            }
            let ends = text.lines().filter_map(|line| {
                let mut numbers = line.split(':').skip(1).map(str::parse::<u32>);
                numbers.next()?.ok()?.checked_add(numbers.next()?.ok()?)
            });
            let start = ends.max().unwrap_or(0).max(FIRST_SUBORDINATE);
            text.push_str(&format!("{name}:{start}:{SUBORDINATE_COUNT}\n"));
            Ok(text)
        })
    }

    fn make_home(&mut self, home: &Path, uid: u32, gid: u32) -> Result<()> {
        if let Some(parent) = home.parent() {
            self.create_dir_all(parent)?;
        }
        // As adduser makes it from bookworm on (`DIR_MODE` of adduser.conf(5)).
        self.create_dir(home, 0o700)?;
        self.set_owner(home, uid, gid)?;
        if self.exists("/etc/skel") {
            self.copy_skeleton(Path::new("/etc/skel"), home, uid, gid)?;
        }
        Ok(())
    }

    fn copy_skeleton(&mut self, from: &Path, to: &Path, uid: u32, gid: u32) -> Result<()> {
        for name in self.list(from)? {
            let (source, target) = (from.join(&name), to.join(&name));
            let metadata = self.symlink_metadata(&source)?;
            match metadata.file_type {
                FileType::File => {
                    let bytes = self.read(&source)?;
                    self.write_with(&target, bytes, Attributes::mode(metadata.mode).owner(uid, gid))?;
                }
                FileType::Directory => {
                    self.create_dir(&target, metadata.mode)?;
                    self.set_owner(&target, uid, gid)?;
                    self.copy_skeleton(&source, &target, uid, gid)?;
                }
                FileType::Symlink(points_to) => {
                    self.symlink(points_to, &target)?;
                    self.set_symlink_owner(&target, uid, gid)?;
                }
                FileType::Special => {}
            }
        }
        Ok(())
    }
}

fn first_field(line: &str) -> &str {
    line.split(':').next().unwrap_or_default()
}

fn third_field(line: &str) -> Option<u32> {
    line.split(':').nth(2)?.parse().ok()
}

fn missing_group(user: &str, group: &str) -> Error {
    Error::failed(format!("user {user} should be in group {group}, which the system does not have"))
}

/// Adds `user` to the list of members, which is the last field in both files.
fn add_member(fields: &mut [String], user: &str) {
    let Some(members) = fields.last_mut() else { return };
    if members.split(',').any(|member| member == user) {
        return;
    }
    if !members.is_empty() {
        members.push(',');
    }
    members.push_str(user);
}

/// Changes the fields of the line that begins with `name`; says whether there was one. The text
/// ends with a newline.
fn rewrite(text: &str, name: &str, change: impl Fn(&mut Vec<String>)) -> (String, bool) {
    let (mut result, mut found) = (String::with_capacity(text.len()), false);
    for line in text.lines() {
        if first_field(line) == name && !found {
            let mut fields: Vec<String> = line.split(':').map(Into::into).collect();
            change(&mut fields);
            result.push_str(&fields.join(":"));
            found = true;
        } else {
            result.push_str(line);
        }
        result.push('\n');
    }
    (result, found)
}

/// The number wanted, or the lowest free one of the range.
fn free_id(file: &str, wanted: Option<u32>, system: bool, whose: &str) -> Result<u32> {
    let taken: std::collections::BTreeSet<u32> = file.lines().filter_map(third_field).collect();
    match wanted {
        Some(id) if taken.contains(&id) => Err(Error::failed(format!("number {id} for {whose} is taken"))),
        Some(id) => Ok(id),
        None => (if system { SYSTEM_IDS } else { USER_IDS })
            .find(|id| !taken.contains(id))
            .ok_or_else(|| Error::failed(format!("no number is free for {whose}"))),
    }
}

/// Whether a user or group may be so named by the rules of Debian's adduser (`NAME_REGEX`), up to
/// the 32 bytes that utmp holds.
#[must_use]
pub fn is_account_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
    first && rest && name.len() <= 32
}

fn check_name(name: &str) -> Result<()> {
    if is_account_name(name) {
        Ok(())
    } else {
        Err(Error::failed(format!("{name:?} is no usable name of a user or group")))
    }
}

fn check_field(user: &str, what: &str, field: &str) -> Result<()> {
    if field.contains(|c: char| c == ':' || c.is_control()) {
        return Err(Error::failed(format!("{what} of {user} holds a colon or a control character")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryRoot;

    fn fabric() -> NewUser {
        NewUser {
            name: "fabric".into(),
            groups: vec!["sudo".into()],
            password_hash: Some("$6$s$h".into()),
            ..NewUser::default()
        }
    }

    #[test]
    fn adds_a_user_as_adduser_does() {
        let mut image = MemoryRoot::debian();
        image.put("etc/subuid", "other:100000:65536\n", 0o644);
        let mut root = Root::new(&mut image);
        let account = root.add_user(&fabric(), 20_000 * 86_400 + 5).unwrap();
        assert_eq!((account.uid, account.gid), (1000, 1000));
        let home = root.metadata("/home/fabric").unwrap();
        assert_eq!((home.mode, home.uid, home.gid), (0o700, 1000, 1000));
        assert_eq!(root.metadata("/home/fabric/.profile").unwrap().uid, 1000);
        assert_eq!(root.metadata("/etc/shadow").unwrap().mode, 0o640);
        assert!(image.text("/etc/passwd").ends_with("\nfabric:x:1000:1000::/home/fabric:/bin/bash\n"));
        assert!(image.text("/etc/shadow").ends_with("\nfabric:$6$s$h:20000:0:99999:7:::\n"));
        assert!(image.text("/etc/group").contains("\nsudo:x:27:fabric\n"));
        assert!(image.text("/etc/group").ends_with("\nfabric:x:1000:\n"));
        assert!(image.text("/etc/gshadow").contains("\nsudo:*::fabric\n"));
        assert!(image.text("/etc/gshadow").ends_with("\nfabric:!::\n"));
        assert_eq!(image.text("/etc/subuid"), "other:100000:65536\nfabric:165536:65536\n");
    }

    #[test]
    fn takes_free_numbers_and_refuses_taken_ones() {
        let mut image = MemoryRoot::debian();
        let mut root = Root::new(&mut image);
        root.add_group(&NewGroup { name: "early".into(), gid: Some(1000), system: false }).unwrap();
        let account = root.add_user(&fabric(), 0).unwrap();
        assert_eq!((account.uid, account.gid), (1000, 1001));
        let system = NewUser { name: "svc".into(), system: true, ..NewUser::default() };
        assert_eq!(root.add_user(&system, 0).unwrap().uid, 100);
        for (user, message) in [
            (fabric(), "user fabric exists already"),
            (NewUser { name: "b".into(), uid: Some(1), ..NewUser::default() }, "number 1 for user b is taken"),
            (
                NewUser { name: "c".into(), groups: vec!["kvm".into()], ..NewUser::default() },
                "user c should be in group kvm, which the system does not have",
            ),
            (NewUser { name: "a:b".into(), ..NewUser::default() }, "\"a:b\" is no usable name of a user or group"),
            (
                NewUser { name: "d".into(), comment: "x\nroot2:x:0:0".into(), ..NewUser::default() },
                "comment of d holds a colon or a control character",
            ),
        ] {
            assert_eq!(root.add_user(&user, 0).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn sets_passwords() {
        let mut image = MemoryRoot::debian();
        let mut root = Root::new(&mut image);
        root.set_password("root", "$6$x", 86_400).unwrap();
        root.set_password("nobody", "*", 0).unwrap();
        assert!(root.set_password("nemo", "*", 0).is_err());
        let shadow = image.text("/etc/shadow");
        assert!(shadow.starts_with("root:$6$x:1:0:99999:7:::\n"));
        assert!(shadow.ends_with("nobody:*:1:0:99999:7:::\n"), "day 0 would force a change at login");
    }
}
