//! Logins of the mirror and the proxy, and the file of apt's that holds them in a guest:
//! `apt_auth.conf(5)`.

use std::fmt;
use std::fmt::Write as _;

use fam_plugin::{Error, Result};

/// What the build knows of logins. The program hands it to this plugin when it makes it; nothing
/// that other plugins can ask for has it.
pub trait Logins: Send + Sync {
    /// The login for a mirror.
    fn of_mirror(&self, url: &str) -> Option<Login>;

    /// The login for a proxy.
    fn of_proxy(&self, url: &str) -> Option<Login>;
}

/// A user and a password, which it does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

/// The URL without its login, and the login.
pub(crate) fn split(url: &str) -> (String, Option<Login>) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |slash| start + slash);
    let Some(at) = url[start..end].rfind('@').map(|at| start + at) else { return (url.to_owned(), None) };
    let (user, password) = url[start..at].split_once(':').unwrap_or((&url[start..at], ""));
    let login = Login { user: decoded(user), password: decoded(password) };
    (format!("{}{}", &url[..start], &url[at + 1..]), Some(login))
}

/// Text in which `%` and two hexadecimal digits stand for a byte.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What apt needs a login for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    /// A URL that all begins with that is asked for.
    pub(crate) url: String,
    pub(crate) login: Login,
}

/// The text of the file.
pub(crate) fn auth_conf(needed: &[Needed]) -> Result<String> {
    let mut text = String::new();
    for Needed { url, login: Login { user, password } } in needed {
        if [user, password].iter().any(|word| word.chars().any(|c| c.is_whitespace() || c.is_control())) {
            let message = format!("the login for {url} has a blank in it, which apt's files of logins cannot hold");
            return Err(Error::setting("credentials", message).with_hint("leave it out, or have another password"));
        }
        // With the scheme, as apt takes a machine without one for https alone.
        let _ = write!(text, "machine {url}");
        for (name, word) in [("login", user), ("password", password)] {
            if !word.is_empty() {
                let _ = write!(text, " {name} {word}");
            }
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: &str, password: &str) -> Login {
        Login { user: user.into(), password: password.into() }
    }

    #[test]
    fn splits_urls() {
        for (url, without, expected) in [
            ("http://cache:3142", "http://cache:3142", None),
            ("http://ann:s%40cr%et@cache:3142/", "http://cache:3142/", Some(login("ann", "s@cr%et"))),
            ("http://ann:s@cret@cache", "http://cache", Some(login("ann", "s@cret"))),
            ("http://ann@cache/a@b", "http://cache/a@b", Some(login("ann", ""))),
            ("nothing", "nothing", None),
        ] {
            assert_eq!(split(url), (without.to_owned(), expected));
        }
    }

    #[test]
    fn writes_what_apt_reads_and_refuses_what_it_does_not() {
        let needed = |login| [Needed { url: "http://host/debian/".into(), login }];
        for (login, line) in [
            (login("ann", "s@cret\""), "machine http://host/debian/ login ann password s@cret\"\n"),
            (login("ann", ""), "machine http://host/debian/ login ann\n"),
            (login("", "secret"), "machine http://host/debian/ password secret\n"),
        ] {
            assert_eq!(auth_conf(&needed(login)).unwrap(), line);
        }
        for bad in [login("ann", "a b"), login("a\tb", ""), login("ann", "secret\nmachine evil")] {
            let error = auth_conf(&needed(bad)).unwrap_err();
            assert!(
                error.to_string().contains("http://host/debian/") && !error.to_string().contains("secret"),
                "{error}"
            );
        }
    }
}
