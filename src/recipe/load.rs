//! Where recipes come from: the program itself, or a file.

use std::path::{Path, PathBuf};

use fam_plugin::nearest;
use fam_progress::Hint;

use super::extend::{Loaded, Misfit};
use super::items::Source;
use super::model::{Recipe, RecipePatch};
use super::parse;

/// A recipe that is built into the program.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    /// The name by which `--recipe` takes it.
    pub name: &'static str,
    /// Its text, in TOML.
    pub text: &'static str,
}

/// All recipes that are built into the program. The first is the default.
pub const SHIPPED: &[Shipped] = &[
    Shipped { name: "fabric", text: include_str!("../../recipes/fabric.toml") },
    Shipped { name: "minimal", text: include_str!("../../recipes/minimal.toml") },
    Shipped { name: "cloud", text: include_str!("../../recipes/cloud.toml") },
    Shipped { name: "bookworm", text: include_str!("../../recipes/bookworm.toml") },
    Shipped { name: "sid", text: include_str!("../../recipes/sid.toml") },
];

/// The name of the recipe that is built when none is named.
pub const DEFAULT: &str = "fabric";

impl Shipped {
    /// The recipe that the text describes.
    #[must_use]
    pub fn recipe(self) -> Recipe {
        match Loaded::load(self.name) {
            Ok(loaded) => loaded.recipe,
            Err(error) => unreachable!("a test reads every shipped recipe: {error}"),
        }
    }
}

/// A recipe cannot be found or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    #[error("{0}")]
    Parse(#[from] parse::Error),
    /// The recipe that another one extends cannot be loaded.
    #[error("{place}: the recipe that this one extends")]
    Extended {
        /// File, line and column of `extends`.
        place: String,
        /// What is wrong with the recipe that it extends.
        source: Box<Error>,
    },
    /// Recipes extend each other.
    #[error("{place}: recipes extend each other in a circle: {circle}")]
    Circle {
        /// File, line and column of the `extends` that closes it.
        place: String,
        /// The recipes of the circle.
        circle: String,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
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
                Some("check the path; it is taken from the current directory".to_owned())
            }
            Self::Read(_) | Self::TooLarge(_) => Some("a recipe is a readable TOML file".to_owned()),
            Self::Parse(_) => {
                Some("`fam-build recipe show` prints every key; `fam-build recipe schema` explains them".to_owned())
            }
            Self::Extended { source, .. } if matches!(**source, Self::Read(_)) => {
                Some("a path in `extends` is taken from the directory of the recipe that has it".to_owned())
            }
            Self::Extended { .. } => None,
            Self::Circle { .. } => Some("a recipe can only extend one that does not lead back to it".to_owned()),
        }
    }
}

/// The text of one recipe, and how it is called.
struct Text {
    source: Source,
    text: String,
    /// What tells it from all others, to find circles: the name of a shipped recipe, or the
    /// canonical path of a file, since a file can have several paths.
    identity: Identity,
}

#[derive(PartialEq, Eq)]
enum Identity {
    Shipped(&'static str),
    File(PathBuf),
}

impl Text {
    /// The shipped recipe of this name, or the one in this file, whose path begins in `directory`.
    fn find(name: &str, directory: Option<&Path>) -> Result<Self, Error> {
        if let Some(shipped) = SHIPPED.iter().find(|shipped| shipped.name == name) {
            let (source, text) = (Source::shipped(name), shipped.text.to_owned());
            return Ok(Self { source, text, identity: Identity::Shipped(shipped.name) });
        }
        if !name.contains('/') && !name.ends_with(".toml") {
            return Err(Error::Unknown { name: name.to_owned() });
        }
        let path =
            // Its components alone, since messages show the path: joined, it may have `./` in it.
            directory.map_or_else(|| PathBuf::from(name), |directory| directory.join(name).components().collect());
        let text = read(&path)?;
        Ok(Self { source: Source::file(&path)?, text, identity: Identity::File(fs_err::canonicalize(&path)?) })
    }

    fn place(&self, offset: usize) -> String {
        let parse::Error { file, line, column, .. } = self.error(offset, String::new(), None);
        format!("{file}:{line}:{column}")
    }

    fn error(&self, offset: usize, message: String, suggestion: Option<String>) -> parse::Error {
        parse::Error::at(&self.source.recipe, &self.text, offset, message, suggestion)
    }
}

impl Loaded {
    /// The shipped recipe of this name, or the one in this file (what has a `/` or ends in `.toml`
    /// is a file), with those that it extends under it.
    ///
    /// # Errors
    /// There is no such recipe or file, its text is no recipe, or the same of one that it extends.
    pub fn load(name: &str) -> Result<Self, Error> {
        Self::of(Text::find(name, None)?)
    }

    fn of(first: Text) -> Result<Self, Error> {
        let mut chain: Vec<(Text, RecipePatch)> = Vec::new();
        let mut next = Some(first);
        while let Some(text) = next {
            let written = RecipePatch::parse(&text.source.recipe, &text.text)?;
            next = match &written.extends {
                None => None,
                Some(extends) => {
                    let place = text.place(extends.span().start);
                    // Relative to the path as the user gave it, which errors then show.
                    let beside = Path::new(&text.source.recipe).parent().filter(|_| text.source.directory.is_some());
                    let extended = Text::find(extends.get_ref(), beside)
                        .map_err(|source| Error::Extended { place: place.clone(), source: Box::new(source) })?;
                    let mut above = chain.iter().map(|(text, _)| text).chain([&text]);
                    if above.any(|text| text.identity == extended.identity) {
                        return Err(Error::Circle { place, circle: circle(&chain, &text, &extended) });
                    }
                    Some(extended)
                }
            };
            chain.push((text, written));
        }
        // The base is last in the chain, and what builds on it is merged into it.
        let mut loaded: Option<Self> = None;
        for (text, written) in chain.into_iter().rev() {
            let extended = match loaded {
                None => Self::base(written, text.source.clone()),
                Some(loaded) => loaded.extended(written, text.source.clone()),
            };
            loaded = Some(
                extended.map_err(|Misfit { offset, message, suggestion }| text.error(offset, message, suggestion))?,
            );
        }
        match loaded {
            Some(loaded) => Ok(loaded),
            None => unreachable!("a chain has the recipe that was asked for"),
        }
    }
}

/// Shows a circle: the names of its recipes, from the one that comes twice to itself.
fn circle(chain: &[(Text, RecipePatch)], last: &Text, again: &Text) -> String {
    let mut names: Vec<&str> = chain
        .iter()
        .map(|(text, _)| text)
        .chain([last])
        .skip_while(|text| text.identity != again.identity)
        .map(|text| text.source.recipe.as_str())
        .collect();
    names.push(&again.source.recipe);
    names.join(" -> ")
}

impl Recipe {
    /// Reads a recipe from TOML text, which may extend others. `file` is only for messages.
    ///
    /// # Errors
    /// The text is no recipe, or one that it extends cannot be loaded.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let source = Source::shipped(file);
        let identity = Identity::File(PathBuf::from(file));
        Loaded::of(Text { source, text: text.to_owned(), identity }).map(|loaded| loaded.recipe)
    }
}

fn read(path: &Path) -> Result<String, Error> {
    use std::io::Read;

    const LIMIT: u64 = 1 << 20;
    let mut text = String::new();
    // One byte more shows that the file is too large.
    fs_err::File::open(path)?.take(LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LIMIT {
        return Err(Error::TooLarge(path.display().to_string()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_recipe_is_read() {
        for shipped in SHIPPED {
            let recipe = Loaded::load(shipped.name).unwrap().recipe;
            assert!(!recipe.description.is_empty(), "{}", shipped.name);
        }
        assert_eq!(SHIPPED[0].name, DEFAULT);
    }

    #[test]
    fn a_file_is_read_and_named_in_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine.toml");
        fs_err::write(&path, "suite = 'sid'\nincl = []").unwrap();
        let error = Loaded::load(path.to_str().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}:2:1: unknown key `incl`, known are {}", path.display(), {
                "extends, description, suite, architecture, components, updates, security, snapshot, archive, ca-certificates, variant, include, \
             recommends, pin, debconf, paths, initramfs, disk, kernel, fabric, nodes, plugin"
            })
        );
        fs_err::write(&path, "suite = 'sid'").unwrap();
        assert_eq!(Loaded::load(path.to_str().unwrap()).unwrap().recipe.suite.as_str(), "sid");
    }

    #[test]
    fn a_recipe_that_is_not_there() {
        let error = Loaded::load("fabrik").unwrap_err();
        assert_eq!(error.to_string(), "no recipe is named `fabrik`");
        assert!(error.hint().unwrap().contains("did you mean `fabric`?"));
        let error = Loaded::load("/nowhere/x.toml").unwrap_err();
        assert!(error.to_string().contains("/nowhere/x.toml"), "{error}");
        let error = Loaded::load("/dev/zero").unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{error}");
    }
}
