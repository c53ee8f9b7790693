//! Parses TOML text. An error says where it is and, for a misspelt word, which one was probably
//! meant.

use std::fmt;

use fam_plugin::nearest;
use fam_progress::line_and_column;

use super::model::RecipePatch;

/// A recipe that cannot be read. Shown as `file:line:column: what is wrong`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file, or the name of a shipped recipe.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
    /// The known word nearest to the one that is unknown.
    pub suggestion: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.suggestion {
            Some(word) => write!(f, " (did you mean `{word}`?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Makes an error about what is at a byte of the text.
    pub(super) fn at(file: &str, text: &str, offset: usize, message: String, suggestion: Option<String>) -> Self {
        let (line, column) = line_and_column(text, offset);
        Self { file: file.to_owned(), line, column, message, suggestion }
    }
}

impl RecipePatch {
    /// Reads one recipe from TOML text. `file` is only for messages.
    ///
    /// # Errors
    /// The text is no TOML, has an unknown key, or a value is not what its place asks for.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| {
            let (message, suggestion) = explain(error.message());
            Error::at(file, text, offset_of(&error, text), message, suggestion)
        })
    }
}

/// Where the error begins. The parser blames a whole list or table for one word of it; the message
/// begins with that word.
fn offset_of(error: &toml::de::Error, text: &str) -> usize {
    let Some(span) = error.span() else { return 0 };
    let word = error.message().strip_prefix('`').and_then(|rest| rest.split('`').next());
    let whole = text.get(span.clone()).filter(|blamed| blamed.starts_with(['[', '{']));
    let inside = whole.zip(word).and_then(|(whole, word)| {
        [format!("'{word}'"), format!("\"{word}\"")].iter().find_map(|quoted| whole.find(quoted))
    });
    span.start + inside.unwrap_or(0)
}

/// Translates serde's message into the words of recipes. serde lists all words that it knows: the
/// one nearest to the unknown word becomes the suggestion; if none is near, the message lists them
/// all.
fn explain(message: &str) -> (String, Option<String>) {
    let message = message.trim_end().replace('\n', ", ");
    for (theirs, ours) in [("unknown field `", "unknown key"), ("unknown variant `", "unknown value")] {
        let Some(rest) = message.strip_prefix(theirs) else { continue };
        let Some((unknown, expected)) = rest.split_once('`') else { continue };
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        let what = format!("{ours} `{unknown}`");
        return match nearest(unknown, known.iter().copied()) {
            Some(word) => (what, Some(word.to_owned())),
            None if known.is_empty() => (what, None),
            None => (format!("{what}, known are {}", known.join(", ")), None),
        };
    }
    (message.replace("missing field", "missing key"), None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn errors_know_their_place_and_what_was_meant() {
        for (text, message) in [
            ("sute = 'trixie'", "1:1: unknown key `sute` (did you mean `suite`?)"),
            ("suite = 'trixie'\n\n[disk]\n  zize = '8G'", "4:3: unknown key `zize` (did you mean `size`?)"),
            ("suite = 'trixie'\ncolour = 1", "2:1: unknown key `colour`, known are extends, description, suite, "),
            ("suite = 'trixie'\nvariant = 'biuldd'", "2:11: unknown value `biuldd` (did you mean `buildd`?)"),
            ("suite = 'trixie'\narchitecture = 'arm64'", "2:16: unknown value `arm64`"),
            ("suite = 'tri xie'", "1:9: `tri xie` is no suite: "),
            ("suite = 'trixie'\ninclude = ['gcc', 'G++']", "2:19: `G++` is no package name: "),
            ("suite = 'trixie'\n[nodes]\ncount = 300", "3:9: the number of nodes must be 1 to 253, not 300"),
            ("suite = 'trixie'\n[fabric]\nsize = '3G'", "3:8: the shared memory must be a power of two"),
            ("suite = 'trixie'\n[disk]\nsize = 8", "3:8: invalid type: integer `8`, expected a string"),
            ("suite = 'trixie'\n[[plugin]]\nsettings = {}", "2:1: missing key `name`"),
            ("suite = 'trixie'\n[[plugin]]\nname = 'a'\nsettings.x = inf", "4:1: a setting of a plugin cannot be"),
            ("[disk]", "1:1: missing key `suite`"),
            ("suite = 'trixie", "1:"),
            ("suite = 'trixie'\nsuite = 'sid'", "2:1: duplicate key"),
            ("# äöü\n'ä' = 1; suite", "2:"),
        ] {
            let error = Recipe::parse("x.toml", text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("x.toml:{message}")), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let recipe = Recipe::parse("x.toml", "suite = 'sid'").unwrap();
        assert_eq!(recipe.nodes.count.get(), 4);
        assert_eq!(recipe.components.len(), 1);
        assert!(recipe.updates.value && recipe.security.value && recipe.plugins.is_empty());
    }

    #[test]
    fn settings_of_plugins_become_json() {
        let text = "suite = 'sid'\n[[plugin]]\nname = 'a'\nsettings = { n = 1, d = 2020-01-01, l = [{ x = true }] }";
        let recipe = Recipe::parse("x.toml", text).unwrap();
        let settings = serde_json::to_string(&recipe.plugins[0].settings).unwrap();
        assert_eq!(settings, r#"{"d":"2020-01-01","l":[{"x":true}],"n":1}"#);
    }

    #[test]
    fn a_recipe_travels_as_json() {
        for shipped in super::super::SHIPPED {
            let recipe = shipped.recipe();
            let json = serde_json::to_string(&recipe).unwrap();
            assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
        }
    }

    #[test]
    fn near_words() {
        for (word, near) in [
            ("sute", Some("suite")),
            ("siute", Some("suite")),
            ("suite", Some("suite")),
            ("s", None),
            ("variants", Some("variant")),
            ("blue", None),
        ] {
            assert_eq!(nearest(word, ["suite", "variant", "include"]), near, "{word}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(suite|=|'|\\[|\\]|\\{|\\}|\n|[a-zä]|[0-9]| ){0,60}") {
            let _ = Recipe::parse("x", &text);
        }
    }
}
