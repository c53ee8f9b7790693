//! Generates locales and sets the one that logins begin with.

use std::collections::BTreeMap;

use fam_plugin::{Command, Context, Description, Error, Plugin, Result, Root, Stage};
use serde::Deserialize;

/// The built-in `locale`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Locale;

/// What a recipe may set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `LANG` of every login.
    pub lang: String,
    /// Locales to generate beside that one, as `de_DE.UTF-8`.
    pub generate: Vec<String>,
    /// Categories that differ from `lang`, as `LC_TIME`.
    pub categories: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lang: "C.UTF-8".into(), generate: Vec::new(), categories: BTreeMap::new() }
    }
}

const SUPPORTED: &str = "/usr/share/i18n/SUPPORTED";
const TO_GENERATE: &str = "/etc/locale.gen";
const DEFAULT: &str = "/etc/default/locale";

impl Plugin for Locale {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("locale", "generates locales and sets the default one")
            .at(Stage::System)
            .version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        let generate = settings.generate.iter().enumerate().map(|(index, name)| (format!("generate[{index}]"), name));
        let categories = settings.categories.iter().map(|(key, name)| (format!("categories.{key}"), name));
        for (key, name) in [("lang".to_owned(), &settings.lang)].into_iter().chain(generate).chain(categories) {
            if !is_name(name) {
                return Err(Error::setting(key, format!("{name:?} is no locale")).with_hint("as in en_US.UTF-8"));
            }
        }
        let is_category = |key: &str| {
            key == "LANGUAGE"
                || key.strip_prefix("LC_").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_uppercase()))
        };
        match settings.categories.keys().find(|key| !is_category(key)) {
            Some(key) => Err(Error::setting(format!("categories.{key}"), "is no category, as LC_TIME is")),
            None => Ok(()),
        }
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
        let wanted = [&settings.lang].into_iter().chain(&settings.generate).chain(settings.categories.values());
        let mut missing: Vec<&str> = wanted.map(String::as_str).filter(|name| !is_built_in(name)).collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            generate(root, &missing, context)?;
        }
        let mut text = format!("LANG={}\n", settings.lang);
        for (category, name) in &settings.categories {
            text.push_str(&format!("{category}={name}\n"));
        }
        root.create_dir_all("/etc/default")?;
        // A link to /etc/locale.conf where Debian has made it one.
        root.write(DEFAULT, text)
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(Locale);

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.@-".contains(&b))
}

/// Whether every system has it: in the C library itself or, as C.UTF-8 in bullseye, in the
/// essential package libc-bin.
fn is_built_in(name: &str) -> bool {
    ["c", "posix", "c.utf-8", "c.utf8"].contains(&name.to_ascii_lowercase().as_str())
}

/// Adds the locales to /etc/locale.gen and has the new system's own tool make them.
fn generate(root: &mut Root<'_>, names: &[&str], context: &Context) -> Result<()> {
    let supported = match root.read_text(SUPPORTED) {
        Err(error) if error.is_not_found() => {
            return Err(Error::failed(format!(
                "{} cannot be generated: the system lacks the package `locales`, which the recipe has to include",
                names.join(", ")
            )));
        }
        supported => supported?,
    };
    for name in names {
        // locale.gen(5): the name and its character set. One without a set in its name has several
        // in the list.
        let entry = supported.lines().find(|line| line.split_whitespace().next() == Some(name));
        let entry = entry.ok_or_else(|| Error::failed(format!("{SUPPORTED} has no locale {name}")))?;
        root.ensure_line(TO_GENERATE, entry.trim())?;
    }
    context.info(format!("generating {}", names.join(", ")));
    root.run(&Command::new("locale-gen")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::Output;
    use fam_plugin::testing::{Harness, MemoryRoot};

    fn image() -> MemoryRoot {
        let mut image = MemoryRoot::debian();
        image.put_dir("usr/share/i18n", 0o755);
        image.put("usr/share/i18n/SUPPORTED", "de_DE.UTF-8 UTF-8\nde_DE ISO-8859-1\nen_US.UTF-8 UTF-8\n", 0o644);
        image.put("etc/locale.gen", "# en_US.UTF-8 UTF-8\n", 0o644);
        image.on_run(|_| Ok(Output::default()));
        image
    }

    #[test]
    fn sets_what_needs_no_generation() {
        let mut image = MemoryRoot::debian();
        Harness::new().system(&Locale, &mut image).unwrap();
        assert_eq!(image.text(DEFAULT), "LANG=C.UTF-8\n");
        assert!(image.commands().is_empty());
    }

    #[test]
    fn generates_each_locale_once() {
        let mut image = image();
        let settings = r#"{ "lang": "en_US.UTF-8", "generate": ["de_DE", "en_US.UTF-8"],
                            "categories": { "LC_TIME": "de_DE.UTF-8" } }"#;
        Harness::new().settings(settings).system(&Locale, &mut image).unwrap();
        assert_eq!(image.text(DEFAULT), "LANG=en_US.UTF-8\nLC_TIME=de_DE.UTF-8\n");
        assert_eq!(
            image.text(TO_GENERATE),
            "# en_US.UTF-8 UTF-8\nde_DE ISO-8859-1\nde_DE.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n"
        );
        assert_eq!(image.commands().len(), 1);
    }

    #[test]
    fn what_cannot_be_generated() {
        let harness = Harness::new().settings(r#"{ "lang": "xx_XX.UTF-8" }"#);
        let error = harness.system(&Locale, &mut image()).unwrap_err();
        assert_eq!(error.to_string(), "/usr/share/i18n/SUPPORTED has no locale xx_XX.UTF-8");
        let error = harness.system(&Locale, &mut MemoryRoot::debian()).unwrap_err();
        assert!(error.to_string().contains("lacks the package `locales`"), "{error}");
    }

    #[test]
    fn checks() {
        for (settings, message) in [
            (r#"{ "lang": "" }"#, "setting lang: \"\" is no locale"),
            (r#"{ "generate": ["en_US.UTF-8 UTF-8"] }"#, "setting generate[0]: \"en_US.UTF-8 UTF-8\" is no locale"),
            (r#"{ "categories": { "PATH": "C" } }"#, "setting categories.PATH: is no category, as LC_TIME is"),
        ] {
            assert_eq!(Harness::new().settings(settings).check(&Locale).unwrap_err().to_string(), message);
        }
    }
}
