//! Lets users become root by sudo: one file in /etc/sudoers.d.

use fam_plugin::{Attributes, Context, Description, Error, Plugin, Result, Root, Stage};
use serde::Deserialize;

/// The built-in `sudo`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sudo;

/// What a recipe may set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Users, and groups as `%name`, that may run everything. `fabric` if not set.
    pub users: Vec<String>,
    /// Whether they need no password. They do if not set.
    pub nopasswd: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { users: vec!["fabric".into()], nopasswd: false }
    }
}

/// Without a dot, since sudo ignores files that have one; last in the order of names, so that it
/// wins.
const FILE: &str = "/etc/sudoers.d/zz-fam-build";

impl Plugin for Sudo {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("sudo", "lets users run everything as root")
            .at(Stage::System)
            .after("users")
            .version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        for (index, user) in settings.users.iter().enumerate() {
            let name = user.strip_prefix('%').unwrap_or(user);
            // What is left out here has a meaning of its own in sudoers(5): ALL, a list, a space,
            // an escape.
            let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
            if !plain || name.is_empty() {
                return Err(Error::setting(format!("users[{index}]"), format!("{user:?} is no user or group")));
            }
        }
        Ok(())
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
        if !root.exists("/usr/bin/sudo") {
            context.warning("the system has no sudo: include the package, or leave this plugin out");
        }
        for user in settings.users.iter().filter(|user| !user.starts_with('%')) {
            if root.account(user)?.is_none() {
                return Err(Error::failed(format!("there is no user {user} to give sudo to")));
            }
        }
        let how = if settings.nopasswd { "NOPASSWD: ALL" } else { "ALL" };
        let text: String = settings.users.iter().map(|user| format!("{user}\tALL=(ALL:ALL) {how}\n")).collect();
        if !root.exists("/etc/sudoers.d") {
            root.create_dir("/etc/sudoers.d", 0o755)?;
        }
        // sudo expects this mode, and refuses a file that others may write (sudoers(5)).
        root.write_with(FILE, text, Attributes::mode(0o440).owner(0, 0))
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(Sudo);

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::testing::{Harness, MemoryRoot};
    use fam_plugin::{NewUser, RootFs};

    fn image() -> MemoryRoot {
        let mut image = MemoryRoot::debian();
        image.put("usr/bin/sudo", "", 0o4755);
        let user = NewUser { name: "fabric".into(), ..NewUser::default() };
        Root::new(&mut image).add_user(&user, 0).unwrap();
        image
    }

    #[test]
    fn writes_rules() {
        let mut image = image();
        let harness = Harness::new();
        harness.system(&Sudo, &mut image).unwrap();
        assert_eq!(image.text(FILE), "fabric\tALL=(ALL:ALL) ALL\n");
        assert_eq!(image.metadata(FILE.as_ref()).unwrap().mode, 0o440);
        assert_eq!(harness.warnings(), Vec::<String>::new());
        let harness = Harness::new().settings(r#"{ "users": ["fabric", "%sudo"], "nopasswd": true }"#);
        harness.system(&Sudo, &mut image).unwrap();
        assert_eq!(image.text(FILE), "fabric\tALL=(ALL:ALL) NOPASSWD: ALL\n%sudo\tALL=(ALL:ALL) NOPASSWD: ALL\n");
    }

    #[test]
    fn refuses_what_sudo_would_take_otherwise() {
        for bad in ["", "%", "ALL", "a,b", "a b", "a\nroot2", "#0", "a=b", "!a"] {
            let settings = format!("{{ \"users\": [{bad:?}] }}");
            assert!(Harness::new().settings(&settings).check(&Sudo).is_err(), "{bad:?}");
        }
        let harness = Harness::new().settings(r#"{ "users": ["nemo"] }"#);
        let error = harness.system(&Sudo, &mut image()).unwrap_err();
        assert_eq!(error.to_string(), "there is no user nemo to give sudo to");
    }

    #[test]
    fn warns_without_sudo() {
        let harness = Harness::new().settings(r#"{ "users": [] }"#);
        harness.system(&Sudo, &mut MemoryRoot::debian()).unwrap();
        assert_eq!(harness.warnings().len(), 1);
    }
}
