//! Runs a script inside the new system: the simplest plugin there is.

use fam_plugin::{Attributes, Command, Context, Description, Error, Plugin, RecipeFiles, Result, Root, Stage};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The built-in `script`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Script;

/// What a recipe may set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The script itself.
    pub script: Option<String>,
    /// A file beside the recipe that holds it.
    pub file: Option<RecipeFiles>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Whether it has the network of the host.
    pub network: bool,
}

/// Where the script lies while it runs. The directory is there in every system, and nothing is
/// mounted on it.
const PLACE: &str = "/var/lib/fam-build-script";

impl Plugin for Script {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("script", "runs a script inside the new system")
            .at(Stage::System)
            .reads("file")
            .network()
            .version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        match (&settings.script, &settings.file) {
            (None, None) => {
                return Err(Error::setting("script", "is missing").with_hint("write it here, or name a `file` of it"));
            }
            (Some(_), Some(_)) => {
                return Err(Error::setting("file", "is set beside script").with_hint("leave one of them out"));
            }
            (None, Some(files)) if !files.entries.is_empty() && files.file().is_none() => {
                return Err(Error::setting("file", format!("{:?} is no file", files.path)));
            }
            (Some(text), None) if text.trim().is_empty() => return Err(Error::setting("script", "is empty")),
            _ => {}
        }
        if let Some(index) = settings.args.iter().position(|argument| argument.contains('\0')) {
            return Err(Error::setting(format!("args[{index}]"), "holds a NUL byte"));
        }
        let usable = |name: &str| {
            !name.starts_with(|c: char| c.is_ascii_digit())
                && !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        match settings.env.iter().find(|(name, value)| !usable(name) || value.contains('\0')) {
            Some((name, _)) => Err(Error::setting(format!("env.{name}"), "is no name and value of a variable")),
            None => Ok(()),
        }
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
        let script = match (&settings.script, &settings.file) {
            (Some(text), _) => text.as_bytes(),
            (None, Some(files)) => {
                files.file().ok_or_else(|| Error::failed(format!("{:?} was not read", files.path)))?
            }
            (None, None) => return Err(Error::failed("there is no script")),
        };
        let mut command =
            // With `-e`, so that a script stops at the first command that fails.
            if script.starts_with(b"#!") { Command::new(PLACE) } else { Command::new("/bin/sh").args(["-e", PLACE]) };
        command = command.args(&settings.args).network(settings.network);
        for (name, value) in &settings.env {
            command = command.env(name, value);
        }
        // A link that is there would have the script written to where it leads.
        root.remove(PLACE)?;
        root.write_with(PLACE, script, Attributes::mode(0o700).owner(0, 0))?;
        let ended = root.run(&command);
        // Also where it failed: the tree may be looked at.
        root.remove(PLACE)?;
        let output = ended?;
        context.info(format!("the script printed {} bytes", output.text.len()));
        Ok(())
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(Script);

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::testing::{Harness, MemoryRoot};
    use fam_plugin::{Output, RootFs};

    fn image(status: i32) -> MemoryRoot {
        let mut image = MemoryRoot::debian();
        image.on_run(move |_| Ok(Output { status, text: "said\n".into() }));
        image
    }

    #[test]
    fn runs_what_is_written_or_lies_beside_the_recipe() {
        let file = r##"{ "path": "setup.py", "entries": [
            { "path": "", "type": "file", "executable": false, "text": "#!/usr/bin/python3\n" }] }"##;
        for (settings, line) in [
            (r#"{ "script": "echo hello" }"#.to_owned(), "/bin/sh -e /var/lib/fam-build-script"),
            (
                format!(r#"{{ "file": {file}, "args": ["a b"], "env": {{ "X": "1" }} }}"#),
                "/var/lib/fam-build-script a b",
            ),
        ] {
            let mut image = image(0);
            Harness::new().settings(&settings).system(&Script, &mut image).unwrap();
            assert_eq!((image.commands()[0].line().as_str(), image.commands()[0].network), (line, false));
            assert!(image.metadata(PLACE.as_ref()).is_err(), "the script is taken away");
        }
    }

    #[test]
    fn it_asks_for_the_network_where_the_recipe_says_so() {
        let mut image = image(0);
        let settings = r#"{ "script": "wget x", "network": true }"#;
        Harness::new().settings(settings).system(&Script, &mut image).unwrap();
        assert!(image.commands()[0].network);
    }

    #[test]
    fn a_script_that_fails_fails_the_build_and_is_taken_away() {
        let mut image = image(3);
        let error = Harness::new().settings(r#"{ "script": "exit 3" }"#).system(&Script, &mut image).unwrap_err();
        assert_eq!(error.to_string(), "run /bin/sh -e /var/lib/fam-build-script: exit status 3\n  said");
        assert!(image.metadata(PLACE.as_ref()).is_err());
    }

    #[test]
    fn checks() {
        let directory = r#"{ "path": "d", "entries": [{ "path": "", "type": "directory" }] }"#;
        for (settings, message) in [
            ("{}".to_owned(), "setting script: is missing"),
            (r#"{ "script": " \n" }"#.to_owned(), "setting script: is empty"),
            (r#"{ "script": "true", "file": "x" }"#.to_owned(), "setting file: is set beside script"),
            (format!(r#"{{ "file": {directory} }}"#), "setting file: \"d\" is no file"),
            (
                r#"{ "script": "x", "env": { "A=B": "c" } }"#.to_owned(),
                "setting env.A=B: is no name and value of a variable",
            ),
            (r#"{ "script": "x", "arg": [] }"#.to_owned(), "setting (all): unknown key \"arg\""),
        ] {
            assert_eq!(Harness::new().settings(&settings).check(&Script).unwrap_err().to_string(), message);
        }
    }
}
