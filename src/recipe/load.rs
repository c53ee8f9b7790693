//! Where recipes come from: the program itself, or a file.

use std::path::Path;

use super::model::Recipe;
use super::parse::{ParseError, nearest};

/// A recipe that is built into the program.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    /// The name by which `--recipe` takes it.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// All recipes that are built into the program. The first is the default.
pub const SHIPPED: &[Shipped] = &[
    Shipped { name: "fabric", text: include_str!("../../recipes/fabric.toml") },
    Shipped { name: "minimal", text: include_str!("../../recipes/minimal.toml") },
    Shipped { name: "bookworm", text: include_str!("../../recipes/bookworm.toml") },
];

/// The name of the recipe that is built when none is named.
pub const DEFAULT: &str = "fabric";

impl Shipped {
    /// The recipe that the text describes.
    #[must_use]
    pub fn recipe(self) -> Recipe {
        match Recipe::parse(self.name, self.text) {
            Ok(recipe) => recipe,
            Err(error) => unreachable!("a test reads every shipped recipe: {error}"),
        }
    }
}

/// A recipe could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no recipe of that name.
    #[error("no recipe is named `{name}`")]
    Unknown {
        /// The name that was asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("read the recipe: {0}")]
    Read(#[from] std::io::Error),
    /// The file is larger than any recipe.
    #[error("{0} is larger than 1 MiB, which no recipe is")]
    TooLarge(String),
    /// The text is no recipe.
    #[error(transparent)]
    Parse(#[from] ParseError),
}

impl LoadError {
    /// What the user should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { name } => {
                let names: Vec<_> = SHIPPED.iter().map(|shipped| shipped.name).collect();
                Some(match nearest(name, names.iter().copied()) {
                    Some(near) => {
                        format!("did you mean `{near}`? A recipe of your own is given as a path: ./{name}.toml")
                    }
                    None => format!("shipped are {}; a recipe of your own is given as a path", names.join(", ")),
                })
            }
            Self::Read(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Some("check the path given to --recipe".to_owned())
            }
            Self::Read(_) | Self::TooLarge(_) => Some("give --recipe a readable TOML file".to_owned()),
            Self::Parse(_) => Some("see recipes/fabric.toml for every key and what it means".to_owned()),
        }
    }
}

impl Recipe {
    /// The shipped recipe of this name, or the one in this file: what has a `/` or ends in `.toml` is a file.
    ///
    /// # Errors
    /// There is no such recipe or file, or its text is no recipe.
    pub fn load(name: &str) -> Result<Self, LoadError> {
        if let Some(shipped) = SHIPPED.iter().find(|shipped| shipped.name == name) {
            return Ok(shipped.recipe());
        }
        if !name.contains('/') && !name.ends_with(".toml") {
            return Err(LoadError::Unknown { name: name.to_owned() });
        }
        let text = read(Path::new(name))?;
        Ok(Self::parse(name, &text)?)
    }
}

fn read(path: &Path) -> Result<String, LoadError> {
    use std::io::Read;

    const LIMIT: u64 = 1 << 20;
    let mut text = String::new();
    fs_err::File::open(path)?.take(LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LIMIT {
        return Err(LoadError::TooLarge(path.display().to_string()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_recipe_is_read() {
        for shipped in SHIPPED {
            let recipe = Recipe::parse(shipped.name, shipped.text).unwrap();
            assert!(!recipe.description.is_empty(), "{}", shipped.name);
        }
        assert_eq!(SHIPPED[0].name, DEFAULT);
    }

    #[test]
    fn a_file_is_read_and_named_in_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine.toml");
        fs_err::write(&path, "suite = 'sid'\nincl = []").unwrap();
        let error = Recipe::load(path.to_str().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}:2:1: unknown key `incl`, known are {}", path.display(), {
                "description, suite, architecture, components, updates, security, variant, include, initramfs, disk, kernel, \
             fabric, nodes, plugin"
            })
        );
        fs_err::write(&path, "suite = 'sid'").unwrap();
        assert_eq!(Recipe::load(path.to_str().unwrap()).unwrap().suite.as_str(), "sid");
    }

    #[test]
    fn a_recipe_that_is_not_there() {
        let error = Recipe::load("fabrik").unwrap_err();
        assert_eq!(error.to_string(), "no recipe is named `fabrik`");
        assert!(error.hint().unwrap().contains("did you mean `fabric`?"));
        let error = Recipe::load("/nowhere/x.toml").unwrap_err();
        assert!(error.to_string().contains("/nowhere/x.toml"), "{error}");
        let error = Recipe::load("/dev/zero").unwrap_err();
        assert!(matches!(error, LoadError::TooLarge(_)), "{error}");
    }
}
