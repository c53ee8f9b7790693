//! Leaves a small C program in a user's home that stores the node's name in the shared memory,
//! shows what others stored, and counts together with them.

use fam_plugin::{Attributes, Context, Description, Error, Plugin, Result, Root, Stage, is_account_name};
use serde::Deserialize;

/// The built-in `demo`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demo;

/// What a recipe may set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// The user in whose home it lies. `fabric` if not set.
    pub user: String,
    /// The shared memory. `/mnt/fabric_emulation` if not set.
    pub file: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { user: "fabric".into(), file: "/mnt/fabric_emulation".into() }
    }
}

const SOURCE: &str = include_str!("hello_fabric.c");

impl Plugin for Demo {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("demo", "leaves hello_fabric.c in a user's home")
            .at(Stage::System)
            .after("users")
            .version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        if !is_account_name(&settings.user) {
            return Err(Error::setting("user", format!("{:?} is no user", settings.user)));
        }
        // It goes into a string of the C program as it is.
        let plain = settings.file.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
        if !settings.file.starts_with('/') || !plain {
            return Err(Error::setting("file", "is no absolute path of plain letters, digits and ._-"));
        }
        Ok(())
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, _: &Context) -> Result<()> {
        let user = root
            .account(&settings.user)?
            .ok_or_else(|| Error::failed(format!("there is no user {} to leave hello_fabric.c to", settings.user)))?;
        let attributes = Attributes::mode(0o644).owner(user.uid, user.gid);
        root.write_with(user.home.join("hello_fabric.c"), SOURCE.replace("@FILE@", &settings.file), attributes)
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(Demo);

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::testing::{Harness, MemoryRoot};
    use fam_plugin::{NewUser, RootFs};

    #[test]
    fn leaves_the_source() {
        let mut image = MemoryRoot::debian();
        let error = Harness::new().system(&Demo, &mut image).unwrap_err();
        assert_eq!(error.to_string(), "there is no user fabric to leave hello_fabric.c to");
        let user = NewUser { name: "fabric".into(), ..NewUser::default() };
        Root::new(&mut image).add_user(&user, 0).unwrap();
        Harness::new().system(&Demo, &mut image).unwrap();
        let metadata = image.metadata("/home/fabric/hello_fabric.c".as_ref()).unwrap();
        assert_eq!((metadata.mode, metadata.uid), (0o644, 1000));
        assert!(image.text("/home/fabric/hello_fabric.c").contains("DEFAULT_FILE \"/mnt/fabric_emulation\""));
    }

    #[test]
    fn checks() {
        for bad in [r#"{ "user": "../x" }"#, r#"{ "file": "/a\"b" }"#, r#"{ "file": "x" }"#] {
            assert!(Harness::new().settings(bad).check(&Demo).is_err(), "{bad}");
        }
    }
}
