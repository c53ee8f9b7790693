//! The environment variables, as a plain value, so that a test can set any.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::settings;
use super::sourced::{Origin, Sourced};

/// The environment variables of the process. One that is empty counts as one that is not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The directory for artifacts: that of the flag, else that of the environment.
    #[must_use]
    pub fn output_directory(&self, flag: Option<PathBuf>) -> Sourced<PathBuf> {
        Sourced::of_flag("output", flag).or(self.path(&[("TMPDIR", "")])).unwrap_or("/tmp")
    }

    /// The time of files, in seconds since 1970, where one is given: `SOURCE_DATE_EPOCH`.
    ///
    /// # Errors
    /// It is no number.
    pub fn source_date_epoch(&self) -> Result<Sourced<Option<u64>>, settings::Error> {
        self.value(&["SOURCE_DATE_EPOCH"])
    }

    /// The first of `names` that is set, with its value.
    pub(super) fn first(&self, names: &[&'static str]) -> Option<(&'static str, &OsString)> {
        names.iter().find_map(|name| {
            let value = self.0.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty())?;
            Some((*name, value))
        })
    }

    /// The value of the first of `names` that is set.
    pub(super) fn value<T: FromStr<Err: fmt::Display>>(
        &self,
        names: &[&'static str],
    ) -> Result<Sourced<Option<T>>, settings::Error> {
        let Some((name, value)) = self.first(names) else { return Ok(Sourced::built_in(None)) };
        let text = value.to_str().ok_or("it is not UTF-8".to_owned());
        let value = text.and_then(|text| text.trim().parse().map_err(|error: T::Err| error.to_string()));
        let value = value.map_err(|reason| settings::Error::Environment { name, reason })?;
        Ok(Sourced { value: Some(value), origin: Origin::Environment(name.to_owned()) })
    }

    /// The path in the first of these variables that is set, with the relative path beside that
    /// variable appended.
    pub(super) fn path(&self, variables: &[(&'static str, &str)]) -> Sourced<Option<PathBuf>> {
        let path = variables.iter().find_map(|(name, below)| {
            let (name, value) = self.first(&[name])?;
            let path = if below.is_empty() { PathBuf::from(value) } else { PathBuf::from(value).join(below) };
            Some(Sourced { value: Some(path), origin: Origin::Environment(name.to_owned()) })
        });
        path.unwrap_or_else(|| Sourced::built_in(None))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
