//! Logins of mirrors and proxies: where they come from, which URL each is for, and that they show
//! nowhere else.
//!
//! A login leaves the URL that names it as soon as that is read: [`MirrorUrl`] and [`ProxyUrl`]
//! show, compare and serialize as URLs without one, so whatever is made of them (lock, plan, log,
//! facts of plugins) cannot hold any. [`Logins`] keeps all logins of a run, with those of netrc and
//! of apt's auth.conf. Only [`Login::reveal`] gives out user and password; the HTTP client and the
//! built-in plugin apt-sources call it. [`redact`] is a second line of defence for text of unknown
//! origin.

mod logins;
pub mod netrc;
mod redact;
mod url;

pub use logins::{Concern, Logins, to_worker};
pub use redact::redact;
pub use url::{InvalidUrl, MirrorUrl, ProxyUrl, host, without_login};

use std::fmt;

/// A user and a password. It cannot be serialized, and shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
}

impl Login {
    /// The login of `user`.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }

    /// User and password in clear, for a request's header and for the guest's own file of logins.
    #[must_use]
    pub fn reveal(&self) -> (&str, &str) {
        (&self.user, &self.password)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}
