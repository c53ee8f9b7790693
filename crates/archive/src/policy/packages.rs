//! Which packages a pin is for: the field Package of `apt_preferences(5)`.

use std::fmt;
use std::str::FromStr;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::InvalidPin;
use super::expression::Expression;

/// Names, patterns and regular expressions, with blanks between them: `vim`, `perl*`, `/^gcc/`,
/// `src:linux`, `vim:amd64`; or `*` alone for the general form. It is written as one text, and read
/// from a list of such texts as well.
#[derive(Debug, Clone)]
pub struct Packages {
    text: String,
    words: Vec<Word>,
}

#[derive(Debug, Clone)]
pub(super) struct Word {
    pub(super) is_source: bool,
    pub(super) name: Name,
    /// What follows a colon.
    architecture: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Name {
    /// The name itself, letter by letter.
    Plain(String),
    /// All names that an expression matches.
    Matching(Expression),
}

impl Name {
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Plain(plain) => plain == name,
            Self::Matching(expression) => expression.matches(name),
        }
    }
}

impl Word {
    /// Whether packages in an index for `architecture`, its own and those of `all`, are meant.
    /// Other than the manual page has it, apt takes `:native` for the name of an architecture.
    pub(super) fn is_for(&self, architecture: &str) -> bool {
        self.architecture.as_deref().is_none_or(|own| own == "any" || own == architecture)
    }
}

impl Packages {
    /// The general form.
    pub(super) fn general() -> Self {
        let all = Word { is_source: false, name: Name::Matching(Expression::any()), architecture: None };
        Self { text: "*".to_owned(), words: vec![all] }
    }

    /// Whether this is the general form: all packages of the archives that the pin matches.
    #[must_use]
    pub fn is_general(&self) -> bool {
        self.text == "*"
    }

    pub(super) fn words(&self) -> &[Word] {
        &self.words
    }
}

impl FromStr for Packages {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        let words: Vec<_> = text.split_whitespace().collect();
        if words.is_empty() {
            return Err(InvalidPin::new(text, "the name of a package was expected, as vim, or * for all"));
        }
        let read = words.iter().map(|word| self::word(word).map_err(|problem| InvalidPin::new(word, problem)));
        Ok(Self { words: read.collect::<Result<_, _>>()?, text: words.join(" ") })
    }
}

fn word(text: &str) -> Result<Word, String> {
    let (is_source, rest) = match text.strip_prefix("src:") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    // apt takes what follows the last colon for an architecture, in a regular expression, too.
    let (name, architecture) = match rest.rsplit_once(':') {
        Some((name, architecture)) => (name, Some(architecture)),
        None => (rest, None),
    };
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if text.contains(char::is_control) {
        return Err("control characters are in no name".to_owned());
    }
    if architecture.is_some_and(|architecture| architecture.is_empty() || !is_word(architecture)) {
        return Err("an architecture was expected after the colon, as in vim:amd64 or vim:any".to_owned());
    }
    let name = if name.starts_with('/') {
        if name.len() < 2 || !name.ends_with('/') {
            return Err("a regular expression ends with a slash".to_owned());
        }
        Name::Matching(Expression::new(name)?)
    } else if name.contains(['*', '[', '?']) {
        Name::Matching(Expression::new(name)?)
    } else {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_letter) {
            return Err("a package name has a-z, 0-9, +, - and . in it; blanks are between names".to_owned());
        }
        Name::Plain(name.to_owned())
    };
    Ok(Word { is_source, name, architecture: architecture.map(str::to_owned) })
}

impl fmt::Display for Packages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Packages {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Packages {}

impl Serialize for Packages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Packages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrList;

        impl<'de> Visitor<'de> for TextOrList {
            type Value = Packages;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names of packages, as \"vim perl*\" or [\"vim\", \"perl*\"]")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Packages, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Packages, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element::<String>()? {
                    words.push(word);
                }
                words.join(" ").parse().map_err(serde::de::Error::custom)
            }
        }

        deserializer.deserialize_any(TextOrList)
    }
}
