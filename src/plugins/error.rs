//! What is wrong with a recipe's plugins, or went wrong in one.

use std::io;
use std::path::PathBuf;

use fam_plugin::{Problem, Provided};
use fam_progress::Hint;

/// Why plugins cannot be planned or applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recipe names a plugin that there is not.
    #[error("there is no plugin {name:?}")]
    Unknown {
        /// The name in the recipe.
        name: String,
        /// The nearest that there is.
        near: Option<String>,
        /// All that are built in.
        known: Vec<String>,
        /// The directories in which a file of that name was looked for.
        searched: Vec<PathBuf>,
    },
    /// Two plugins have one name.
    #[error("there are two plugins {name:?}")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A plugin describes itself in a way that makes no sense.
    #[error("plugin {name:?} {problem}")]
    Description {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The settings in the recipe do not fit.
    #[error("plugin {plugin}: {source}")]
    Settings {
        /// The plugin.
        plugin: String,
        /// What is wrong.
        source: Box<fam_plugin::Error>,
    },
    /// The recipe lists plugins in an order that cannot work.
    #[error("plugin {plugin} must come after {before}, and the recipe lists it before")]
    Order {
        /// The one that comes too early.
        plugin: String,
        /// The one that it needs.
        before: String,
    },
    /// The recipe lists two plugins for one thing.
    #[error("plugins {first} and {second} both provide {what}, of which there can be but one")]
    ProvidedTwice {
        /// What both provide.
        what: Provided,
        /// One plugin.
        first: String,
        /// The other; the same where it is listed twice.
        second: String,
    },
    /// A file beside the recipe cannot be copied, or is not the one that was hashed.
    #[error("plugin {plugin}: files to copy: {problem}")]
    NotCopied {
        /// The plugin.
        plugin: String,
        /// What is wrong with which file.
        problem: Problem,
    },
    /// A plugin failed while it was applied.
    #[error("plugin {plugin}{}: {source}", of_node(.node))]
    Failed {
        /// The plugin.
        plugin: String,
        /// The node, at the node stage.
        node: Option<String>,
        /// What it said.
        source: Box<fam_plugin::Error>,
    },
    /// A file is no usable plugin.
    #[error("plugin {}: {source}", file.display())]
    Load {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: Box<fam_plugin::Error>,
    },
    /// A file holds another plugin than the recipe says.
    #[error("plugin {} calls itself {said:?}, and the recipe asks for {asked:?}", file.display())]
    Misnamed {
        /// The file.
        file: PathBuf,
        /// What it says.
        said: String,
        /// What the recipe says.
        asked: String,
    },
    /// Two files of one directory may be meant.
    #[error("plugin {name:?} may be {} or {}", first.display(), second.display())]
    Ambiguous {
        /// The name in the recipe.
        name: String,
        /// The first of them by name.
        first: PathBuf,
        /// The next one.
        second: PathBuf,
    },
    /// A directory of plugins cannot be read.
    #[error("look for plugins in {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A plugin crashed, hung, or talked nonsense.
    #[error("plugin {plugin}{} {message}", of_node(.node))]
    Crashed {
        /// The plugin.
        plugin: String,
        /// The node, at the node stage.
        node: Option<String>,
        /// What happened.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A plugin panicked.
    #[error("plugin {plugin}{} crashed: {message}", of_node(.node))]
    Panicked {
        /// The plugin.
        plugin: String,
        /// The node, at the node stage.
        node: Option<String>,
        /// The panic's message.
        message: String,
    },
}

fn of_node(node: &Option<String>) -> String {
    node.as_ref().map(|name| format!(" on {name}")).unwrap_or_default()
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { near, known, searched, .. } => {
                let built_in = match near {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("built in are {}", known.join(", ")),
                };
                let searched: Vec<_> = searched.iter().map(|path| path.display().to_string()).collect();
                let files = format!(" (no file of that name is in {})", searched.join(", "));
                Some(if searched.is_empty() { built_in } else { built_in + &files })
            }
            Self::Crashed { hint, .. } => hint.clone(),
            Self::NotCopied { problem: problem @ Problem::Changed(_), .. } => problem.clone().at("copy", "").hint(),
            // As root of a user namespace a worker has no group but the user's own.
            Self::NotCopied { .. } => Some(
                "a build by a normal user reads files that the user, or the user's own group, may read: `chmod o+r` it, or \
                 give it to that group"
                    .into(),
            ),
            Self::Misnamed { said, .. } => Some(format!("write name = {said:?}, or name another file")),
            Self::Ambiguous { .. } => Some("say which, with `path` in its [[plugin]] table".into()),
            Self::Directory { .. } => Some("give --plugin-dir a directory that you can read".into()),
            Self::Order { plugin, before } => Some(format!("move {plugin} below {before} in the recipe")),
            Self::ProvidedTwice { first, second, .. } => {
                Some(format!("leave {} out of the recipe", if first == second { "one of the two" } else { second }))
            }
            Self::Panicked { .. } => Some("this is a fault of the plugin: tell its author".into()),
            _ => None,
        }
    }
}
