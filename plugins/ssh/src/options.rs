//! Options of `sshd_config(5)` as a recipe writes them.

use std::collections::BTreeMap;

use fam_plugin::{Error, Result};
use serde::Deserialize;

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OptionValue {
    /// `yes` or `no`.
    Switch(bool),
    /// A number.
    Number(i64),
    /// Anything else.
    Text(String),
    /// For an option that may stand on several lines.
    Several(Vec<String>),
}

impl OptionValue {
    fn lines(&self) -> Vec<String> {
        match self {
            Self::Switch(is_on) => vec![if *is_on { "yes" } else { "no" }.to_owned()],
            Self::Number(number) => vec![number.to_string()],
            Self::Text(text) => vec![text.clone()],
            Self::Several(lines) => lines.clone(),
        }
    }
}

/// Checks the form alone. Whether sshd knows an option, it says itself.
pub(super) fn check(options: &BTreeMap<String, OptionValue>) -> Result<()> {
    for (keyword, value) in options {
        let key = format!("options.{keyword}");
        if keyword.is_empty() || !keyword.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Error::setting(key, "is no keyword of sshd_config(5)").with_hint("as in PermitRootLogin"));
        }
        if ["match", "include"].contains(&keyword.to_ascii_lowercase().as_str()) {
            return Err(Error::setting(key, "stands for more than itself")
                .with_hint("write a file of /etc/ssh/sshd_config.d with the plugin `files`"));
        }
        if value.lines().iter().any(|line| line.trim().is_empty() || line.contains(['\n', '\r', '\0'])) {
            return Err(Error::setting(key, "is empty, or more than one line"));
        }
    }
    Ok(())
}

/// The configuration.
pub(super) fn text(options: &BTreeMap<String, OptionValue>) -> String {
    let mut text = String::new();
    for (keyword, value) in options {
        for line in value.lines() {
            text.push_str(&format!("{keyword} {line}\n"));
        }
    }
    text
}
