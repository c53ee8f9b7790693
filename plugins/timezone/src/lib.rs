//! Sets the time zone.

use fam_plugin::{Context, Description, Error, Plugin, Result, Root, Stage};
use serde::Deserialize;

/// The built-in `timezone`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timezone;

/// What a recipe may set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// Its name in the database of time zones, as `Europe/Berlin`.
    pub zone: String,
}

const DATABASE: &str = "/usr/share/zoneinfo";

impl Plugin for Timezone {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("timezone", "sets the time zone").at(Stage::System).version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
        };
        if settings.zone.split('/').all(part) {
            return Ok(());
        }
        Err(Error::setting("zone", format!("{:?} is no name of a time zone", settings.zone))
            .with_hint("as in Europe/Berlin or Etc/UTC"))
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, _: &Context) -> Result<()> {
        let zone = &settings.zone;
        let file = format!("{DATABASE}/{zone}");
        match root.metadata(&file) {
            Ok(metadata) if metadata.is_file() => {}
            _ if !root.exists(DATABASE) => {
                return Err(Error::failed(format!(
                    "the zone {zone} needs the package `tzdata`, which the recipe has to include"
                )));
            }
            _ => {
                return Err(Error::failed(format!(
                    "{DATABASE} has no time zone {zone} (some old names are in the package `tzdata-legacy`)"
                )));
            }
        }
        // localtime(5) and, for older programs, Debian's own file.
        root.symlink(&file, "/etc/localtime")?;
        root.write("/etc/timezone", format!("{zone}\n"))
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(Timezone);

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::testing::{Harness, MemoryRoot};
    use fam_plugin::{FileType, RootFs};

    fn apply(zone: &str, image: &mut MemoryRoot) -> Result<()> {
        Harness::new().settings(&format!("{{ \"zone\": {zone:?} }}")).system(&Timezone, image)
    }

    #[test]
    fn replaces_the_link() {
        let mut image = MemoryRoot::debian();
        image.put_dir("usr/share/zoneinfo", 0o755);
        image.put_dir("usr/share/zoneinfo/Europe", 0o755);
        image.put("usr/share/zoneinfo/Europe/Berlin", "TZif", 0o644);
        image.symlink("/usr/share/zoneinfo/Etc/UTC".as_ref(), "/etc/localtime".as_ref()).unwrap();
        apply("Europe/Berlin", &mut image).unwrap();
        let link = image.metadata("/etc/localtime".as_ref()).unwrap().file_type;
        assert_eq!(link, FileType::Symlink("/usr/share/zoneinfo/Europe/Berlin".into()));
        assert_eq!(image.text("/etc/timezone"), "Europe/Berlin\n");
        let error = apply("Europe", &mut image).unwrap_err();
        assert!(error.to_string().starts_with("/usr/share/zoneinfo has no time zone Europe"), "{error}");
    }

    #[test]
    fn what_is_no_zone() {
        for zone in ["", "/etc/passwd", "../passwd", "Europe//Berlin", "Europe/Berlin\n"] {
            let error = apply(zone, &mut MemoryRoot::debian()).unwrap_err();
            assert_eq!(error.to_string(), format!("setting zone: {zone:?} is no name of a time zone"));
        }
        let error = apply("Europe/Berlin", &mut MemoryRoot::debian()).unwrap_err();
        assert!(error.to_string().contains("needs the package `tzdata`"), "{error}");
        assert_eq!(Harness::new().check(&Timezone).unwrap_err().to_string(), "setting zone: is missing");
    }
}
