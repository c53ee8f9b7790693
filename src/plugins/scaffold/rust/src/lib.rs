//! @NAME@: greets at login.

use fam_plugin::{Context, Plugin, Description, Error, Node, Result, Root, Stage};
use serde::Deserialize;

/// Greets at login.
#[derive(Debug, Clone, Copy, Default)]
pub struct Motd;

/// What a recipe may set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// What to greet with.
    pub text: String,
}

impl Plugin for Motd {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("@NAME@", "greets at login")
            .at(Stage::System)
            .at(Stage::Node)
            .version(env!("CARGO_PKG_VERSION"))
    }

    /// Settings are checked before anything is fetched.
    fn check(&self, settings: &Settings) -> Result<()> {
        if settings.text.is_empty() {
            return Err(Error::setting("text", "is empty").with_hint("say what to greet with"));
        }
        Ok(())
    }

    /// Once, for the system that all nodes share.
    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, _: &Context) -> Result<()> {
        root.write("/etc/motd", format!("{}\n", settings.text))
    }

    /// Once for each node: what it alone gets.
    fn apply_node(&self, _: &Settings, root: &mut Root<'_>, node: &Node, _: &Context) -> Result<()> {
        root.append("/etc/motd", format!("This is {}.\n", node.name))
    }
}

fam_plugin::export!(Motd);

#[cfg(test)]
mod tests {
    use fam_plugin::testing::{Harness, MemoryRoot};

    use super::*;

    #[test]
    fn greets() {
        let mut image = MemoryRoot::debian();
        let harness = Harness::new().settings(r#"{ "text": "hello" }"#);
        harness.system(&Motd, &mut image).unwrap();
        harness.node(&Motd, 2, &mut image).unwrap();
        assert_eq!(image.text("/etc/motd"), "hello\nThis is fabric2.\n");
    }

    #[test]
    fn wants_a_text() {
        let error = Harness::new().check(&Motd).unwrap_err();
        assert_eq!(error.to_string(), "setting text: is missing");
        assert!(Harness::new().settings(r#"{ "text": "" }"#).check(&Motd).is_err());
    }
}
