//! A value together with who decided it.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// Who decided a value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "from", content = "name")]
pub enum Origin {
    /// The program itself: it is a built-in default.
    #[default]
    Default,
    /// The recipe of this name.
    Recipe(String),
    /// A file of the host, such as its apt sources.
    Host(String),
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, hyphens included.
    Flag(String),
}

impl Origin {
    /// The flag of this name, which is given without its hyphens.
    pub(super) fn flag(name: &str) -> Self {
        Self::Flag(format!("--{name}"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Recipe(name) => write!(f, "recipe {name}"),
            Self::Host(file) => write!(f, "host's {file}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value, and who decided it. Where only the value matters, this can be used as if it were the
/// value. It serializes with its origin: a digest or a report of the value alone takes `value`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sourced<T> {
    /// The value itself, without its origin.
    pub value: T,
    /// Who decided it.
    pub origin: Origin,
}

impl<T> Deref for Sourced<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Sourced<T> {
    /// A value that is a built-in default.
    pub(super) fn built_in(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }

    /// The value of the flag of this name. The flag was not given if the value is the default of
    /// its type (`None`, `false` or an empty list).
    pub(super) fn of_flag(name: &str, value: T) -> Self
    where
        T: Default + PartialEq,
    {
        let origin = if value == T::default() { Origin::Default } else { Origin::flag(name) };
        Self { value, origin }
    }

    /// Replaces the value, if there is another.
    pub(super) fn override_with(&mut self, value: Option<T>, origin: &Origin) {
        if let Some(value) = value {
            *self = Self { value, origin: origin.clone() };
        }
    }

    /// Changes the value, and keeps who decided it.
    pub(super) fn map<U>(&self, change: impl FnOnce(&T) -> U) -> Sourced<U> {
        Sourced { value: change(&self.value), origin: self.origin.clone() }
    }
}

impl<T> Sourced<Option<T>> {
    /// This one, or another if it has no value.
    pub(super) fn or(self, other: Self) -> Self {
        if self.value.is_some() { self } else { other }
    }

    /// As [`Sourced::or`], with another that is made only if it is needed.
    pub(super) fn or_else<E>(self, other: impl FnOnce() -> Result<Self, E>) -> Result<Self, E> {
        if self.value.is_some() { Ok(self) } else { other() }
    }

    /// The value, or this one if there is none.
    pub(super) fn unwrap_or(self, value: impl Into<T>) -> Sourced<T> {
        Sourced { value: self.value.unwrap_or_else(|| value.into()), origin: self.origin }
    }
}
