//! Sets root's password and adds users, with their groups, homes, passwords and ssh keys.

use std::path::{Path, PathBuf};

use fam_plugin::{
    Account, Context, Description, Error, NewGroup, NewUser, Plugin, Result, Root, Stage, is_account_name,
};
use serde::Deserialize;

mod crypt;

/// The built-in `users`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Users;

/// What a recipe may set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Root's password in plain text. Without it or a hash, root cannot log in by password.
    pub root_password: Option<String>,
    /// Root's password as crypt(5) hashes it.
    pub root_password_hash: Option<String>,
    /// Lines for root's `authorized_keys`.
    pub root_ssh_authorized_keys: Vec<String>,
    /// Groups to make, before any user. One that is there already stays as it is.
    pub groups: Vec<Group>,
    /// The users.
    pub users: Vec<User>,
}

/// One group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its number; the next free one from 1000 if not set.
    #[serde(default)]
    pub gid: Option<u32>,
}

/// One user. What is not set for a user that the system has already is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct User {
    /// Login name.
    pub name: String,
    /// Its number; the next free one from 1000 if not set.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Primary group, which must exist; one of the user's own if not set.
    #[serde(default)]
    pub group: Option<String>,
    /// Further groups, which must exist.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Full name.
    #[serde(default)]
    pub comment: String,
    /// Home directory; `/home/NAME` if not set.
    #[serde(default)]
    pub home: Option<PathBuf>,
    /// Login shell; `/bin/bash` if not set.
    #[serde(default)]
    pub shell: Option<String>,
    /// Password in plain text.
    #[serde(default)]
    pub password: Option<String>,
    /// Password as crypt(5) hashes it.
    #[serde(default)]
    pub password_hash: Option<String>,
    /// Lines for `authorized_keys`.
    #[serde(default)]
    pub ssh_authorized_keys: Vec<String>,
}

impl Plugin for Users {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("users", "sets passwords and adds users").at(Stage::System).version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        check_password("root-password", settings.root_password.as_deref(), settings.root_password_hash.as_deref())?;
        check_keys("root-ssh-authorized-keys", &settings.root_ssh_authorized_keys)?;
        if let Some(index) = settings.groups.iter().position(|group| !is_account_name(&group.name)) {
            let name = &settings.groups[index].name;
            return Err(Error::setting(
                format!("groups[{index}].name"),
                format!("{name:?} is no usable name of a group"),
            ));
        }
        for (index, user) in settings.users.iter().enumerate() {
            let key = |name: &str| format!("users[{index}].{name}");
            if user.name == "root" {
                return Err(Error::setting(key("name"), "root is there already")
                    .with_hint("set root-password and root-ssh-authorized-keys instead"));
            }
            if settings.users[..index].iter().any(|other| other.name == user.name) {
                return Err(Error::setting(key("name"), format!("{} is listed twice", user.name)));
            }
            for name in [&user.name].into_iter().chain(&user.group).chain(&user.groups) {
                if !is_account_name(name) {
                    return Err(Error::setting(key("name"), format!("{name:?} is no usable name of a user or group")));
                }
            }
            for (name, path) in [("home", user.home.as_deref()), ("shell", user.shell.as_deref().map(Path::new))] {
                if path.is_some_and(|path| !path.is_absolute()) {
                    return Err(Error::setting(key(name), "is no absolute path"));
                }
            }
            check_password(&key("password"), user.password.as_deref(), user.password_hash.as_deref())?;
            check_keys(&key("ssh-authorized-keys"), &user.ssh_authorized_keys)?;
        }
        Ok(())
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
        let epoch = context.facts.source_date_epoch;
        let hash =
            shadow_hash("root", settings.root_password.as_deref(), settings.root_password_hash.as_deref(), context)?;
        if let Some(hash) = hash {
            root.set_password("root", &hash, epoch)?;
        }
        if !settings.root_ssh_authorized_keys.is_empty() {
            let account = root.account("root")?.ok_or_else(|| Error::failed("the system has no user root"))?;
            root.authorize(&account, &settings.root_ssh_authorized_keys)?;
        }
        for Group { name, gid } in &settings.groups {
            match (root.group_id(name)?, gid) {
                (None, _) => drop(root.add_group(&NewGroup { name: name.clone(), gid: *gid, system: false })?),
                (Some(there), Some(gid)) if there != *gid => {
                    return Err(Error::failed(format!("group {name} exists already, with gid {there}")));
                }
                (Some(_), _) => {}
            }
        }
        for user in &settings.users {
            let hash = shadow_hash(&user.name, user.password.as_deref(), user.password_hash.as_deref(), context)?;
            let account = match root.account(&user.name)? {
                Some(account) => update(root, account, user, hash.as_deref(), epoch)?,
                None => root.add_user(&new_user(user, hash), epoch)?,
            };
            root.authorize(&account, &user.ssh_authorized_keys)?;
            context.info(format!("user {} has uid {}", account.name, account.uid));
        }
        Ok(())
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(Users);

fn new_user(user: &User, password_hash: Option<String>) -> NewUser {
    NewUser {
        name: user.name.clone(),
        uid: user.uid,
        group: user.group.clone(),
        groups: user.groups.clone(),
        comment: user.comment.clone(),
        home: user.home.clone(),
        shell: user.shell.clone(),
        password_hash,
        system: false,
    }
}

/// Brings a user that is there already to what is set, as far as that harms nothing: its number and
/// home stay.
fn update(root: &mut Root<'_>, account: Account, user: &User, hash: Option<&str>, epoch: i64) -> Result<Account> {
    let name = &user.name;
    if user.uid.is_some_and(|uid| uid != account.uid) {
        return Err(Error::failed(format!("user {name} exists already, with uid {}", account.uid)));
    }
    if user.home.as_ref().is_some_and(|home| *home != account.home) {
        return Err(Error::failed(format!("user {name} exists already, with home {}", account.home.display())));
    }
    if user.shell.as_ref().is_some_and(|shell| *shell != account.shell) {
        return Err(Error::failed(format!("user {name} exists already, with shell {}", account.shell)));
    }
    if let Some(hash) = hash {
        root.set_password(name, hash, epoch)?;
    }
    for group in &user.groups {
        root.add_to_group(name, group)?;
    }
    Ok(account)
}

/// The hash for /etc/shadow, salted by a secret of the build: same seed, same bytes.
fn shadow_hash(user: &str, plain: Option<&str>, hashed: Option<&str>, context: &Context) -> Result<Option<String>> {
    match (plain, hashed) {
        (Some(plain), _) => crypt::sha512(plain, &context.secret(&format!("users/salt/{user}"))).map(Some),
        (None, hashed) => Ok(hashed.map(Into::into)),
    }
}

fn check_password(key: &str, plain: Option<&str>, hashed: Option<&str>) -> Result<()> {
    match (plain, hashed) {
        (Some(_), Some(_)) => Err(Error::setting(key, "is set in plain text and as a hash, too")),
        (Some(plain), None) if plain.is_empty() || plain.contains(['\0', '\n']) => {
            Err(Error::setting(key, "is empty or holds a newline"))
        }
        (None, Some(hash)) if !crypt::is_hash(hash) => {
            Err(Error::setting(format!("{key}-hash"), "is no crypt(5) hash")
                .with_hint("make one with `mkpasswd`; \"*\" locks the password"))
        }
        _ => Ok(()),
    }
}

fn check_keys(key: &str, lines: &[String]) -> Result<()> {
    // sshd(8), AUTHORIZED_KEYS FILE FORMAT: options may come first, so only the shape is checked.
    // Every key begins with the length of its kind in four bytes (RFC 4253, 6.6), of which the
    // first three are zero: in base64 that is `AAAA`.
    let usable = |line: &String| {
        !line.contains('\n') && line.split_whitespace().any(|word| word.starts_with("AAAA") && word.len() > 40)
    };
    match lines.iter().position(|line| !usable(line)) {
        Some(index) => Err(Error::setting(format!("{key}[{index}]"), "is no line of a public key file")
            .with_hint("write the content of id_ed25519.pub, not its path")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::RootFs;
    use fam_plugin::testing::{Harness, MemoryRoot};

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFf5Yl5g5Zl0h3n2tZ0a1Zx1m0nY3m5nQ6c1s9rVdQzE me@home";

    fn default_recipe() -> Harness {
        Harness::new().settings(
            r#"{ "root-password": "aresquare", "users": [{ "name": "fabric", "password": "rocks", "groups": ["sudo"] }] }"#,
        )
    }

    fn shadow_field<'a>(shadow: &'a str, user: &str) -> &'a str {
        shadow.lines().find_map(|line| line.strip_prefix(user)?.strip_prefix(':')?.split(':').next()).unwrap()
    }

    #[test]
    fn makes_the_users_of_the_default_recipe() {
        let mut image = MemoryRoot::debian();
        default_recipe().system(&Users, &mut image).unwrap();
        let shadow = image.text("/etc/shadow");
        assert!(shadow_field(&shadow, "root").starts_with("$6$"));
        assert!(shadow_field(&shadow, "fabric").starts_with("$6$"));
        assert!(shadow.contains(":20254:0:99999:7:::"), "{shadow}");
        assert!(image.text("/etc/passwd").contains("\nfabric:x:1000:1000::/home/fabric:/bin/bash\n"));
        let mut again = MemoryRoot::debian();
        default_recipe().system(&Users, &mut again).unwrap();
        assert_eq!(again.text("/etc/shadow"), shadow, "same seed, same bytes");
    }

    #[test]
    fn takes_hashes_and_keys() {
        let mut image = MemoryRoot::debian();
        let settings = format!(
            r#"{{ "root-password-hash": "*", "root-ssh-authorized-keys": ["{KEY}"], "users": [
                {{ "name": "a", "uid": 1234, "password-hash": "$y$j9T$abc$def", "shell": "/bin/sh", "home": "/srv/a",
                   "group": "users", "comment": "A B", "ssh-authorized-keys": ["{KEY}"] }}] }}"#
        );
        Harness::new().settings(&settings).system(&Users, &mut image).unwrap();
        assert!(image.text("/etc/passwd").ends_with("\na:x:1234:100:A B:/srv/a:/bin/sh\n"));
        assert_eq!(shadow_field(&image.text("/etc/shadow"), "a"), "$y$j9T$abc$def");
        for (path, owner) in [("/root/.ssh/authorized_keys", 0), ("/srv/a/.ssh/authorized_keys", 1234)] {
            assert_eq!(image.text(path), format!("{KEY}\n"));
            let metadata = image.metadata(path.as_ref()).unwrap();
            assert_eq!((metadata.mode, metadata.uid), (0o600, owner));
        }
        assert_eq!(image.metadata("/srv/a/.ssh".as_ref()).unwrap().mode, 0o700);
    }

    #[test]
    fn updates_a_user_that_is_there() {
        let mut image = MemoryRoot::debian();
        default_recipe().system(&Users, &mut image).unwrap();
        let harness = Harness::new().settings(r#"{ "users": [{ "name": "fabric", "groups": ["users"] }] }"#);
        harness.system(&Users, &mut image).unwrap();
        assert!(image.text("/etc/group").contains("\nusers:x:100:fabric\n"));
        assert!(shadow_field(&image.text("/etc/shadow"), "fabric").starts_with("$6$"), "the password stays");
        let harness = Harness::new().settings(r#"{ "users": [{ "name": "fabric", "uid": 7 }] }"#);
        let error = harness.system(&Users, &mut image).unwrap_err();
        assert_eq!(error.to_string(), "user fabric exists already, with uid 1000");
    }

    #[test]
    fn makes_groups_before_users() {
        let settings = r#"{ "groups": [{ "name": "lab", "gid": 3000 }, { "name": "sudo" }, { "name": "more" }],
                            "users": [{ "name": "a", "group": "lab", "groups": ["more"] }] }"#;
        let mut image = MemoryRoot::debian();
        Harness::new().settings(settings).system(&Users, &mut image).unwrap();
        let groups = image.text("/etc/group");
        assert!(groups.contains("\nlab:x:3000:") && groups.contains("\nmore:x:1000:a\n"), "{groups}");
        assert!(image.text("/etc/passwd").contains("\na:x:1000:3000:"), "{groups}");
        let harness = Harness::new().settings(r#"{ "groups": [{ "name": "sudo", "gid": 5 }] }"#);
        let error = harness.system(&Users, &mut image).unwrap_err();
        assert_eq!(error.to_string(), "group sudo exists already, with gid 27");
        let bad = Harness::new().settings(r#"{ "groups": [{ "name": "A b" }] }"#).check(&Users).unwrap_err();
        assert_eq!(bad.to_string(), "setting groups[0].name: \"A b\" is no usable name of a group");
    }

    #[test]
    fn checks() {
        for (settings, message) in [
            (r#"{ "users": [{ "name": "root" }] }"#, "setting users[0].name: root is there already"),
            (r#"{ "users": [{ "name": "a" }, { "name": "a" }] }"#, "setting users[1].name: a is listed twice"),
            (r#"{ "users": [{ "name": "A" }] }"#, r#"setting users[0].name: "A" is no usable name of a user or group"#),
            (r#"{ "users": [{ "name": "a", "home": "x" }] }"#, "setting users[0].home: is no absolute path"),
            (r#"{ "root-password-hash": "rocks" }"#, "setting root-password-hash: is no crypt(5) hash"),
            (r#"{ "root-password": "" }"#, "setting root-password: is empty or holds a newline"),
            (
                r#"{ "users": [{ "name": "a", "ssh-authorized-keys": ["~/.ssh/id.pub"] }] }"#,
                "setting users[0].ssh-authorized-keys[0]: is no line of a public key file",
            ),
        ] {
            assert_eq!(Harness::new().settings(settings).check(&Users).unwrap_err().to_string(), message);
        }
    }
}
