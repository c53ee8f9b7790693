//! Owners and modes that an administrator, or a script in his place, wants for files whatever their
//! packages say (dpkg-statoverride(1)).

use std::collections::BTreeMap;

use fam_tree::RootPath;

use super::{Error, path};
use crate::staging::{Attributes, Staging};

const FILE: &str = "var/lib/dpkg/statoverride";

/// The overrides of a system.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Overrides(BTreeMap<RootPath, Override>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Override {
    uid: u32,
    gid: u32,
    mode: u16,
}

impl Overrides {
    /// Reads those that the scripts so far have made.
    ///
    /// # Errors
    /// [`Error`], also where a user or a group is not there, as with dpkg.
    pub fn read(staging: &Staging) -> Result<Self, Error> {
        let read = |name| if staging.exists(&path(name))? { staging.read(&path(name)) } else { Ok(Vec::new()) };
        let text = read(FILE)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        Self::parse(&text, &read("etc/passwd")?, &read("etc/group")?)
    }

    /// Reads a line for each: user, group, mode, path.
    fn parse(text: &[u8], passwd: &[u8], group: &[u8]) -> Result<Self, Error> {
        const MALFORMED: Error = Error::Malformed { file: FILE };
        let mut all = BTreeMap::new();
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            // The path is all that is left of the line, blanks included.
            let mut words = line.splitn(4, |&byte| byte == b' ');
            let mut word = || words.next().ok_or(MALFORMED);
            let (user, owning_group, mode, path) = (word()?, word()?, word()?, word()?);
            let mode = str::from_utf8(mode).ok().and_then(|mode| u16::from_str_radix(mode, 8).ok());
            let mode = mode.filter(|mode| *mode <= 0o7777).ok_or(MALFORMED)?;
            let path = RootPath::new(path).map_err(|_| MALFORMED)?;
            all.insert(path, Override { uid: number(user, passwd)?, gid: number(owning_group, group)?, mode });
        }
        Ok(Self(all))
    }

    /// Puts what is wanted for `path`, a name as packages have it, into `attributes`. Tells whether
    /// anything is.
    pub fn apply(&self, path: &RootPath, attributes: &mut Attributes) -> bool {
        let Some(Override { uid, gid, mode }) = self.0.get(path).copied() else { return false };
        *attributes = Attributes { uid, gid, mode, ..*attributes };
        true
    }
}

/// The number of a user or group: after `#`, or as a file of accounts (passwd(5), group(5)) has it
/// for the name.
fn number(name: &[u8], accounts: &[u8]) -> Result<u32, Error> {
    let parse = |digits: &[u8]| str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    let found = match name.strip_prefix(b"#") {
        Some(digits) => parse(digits),
        None => accounts.split(|&byte| byte == b'\n').find_map(|line| {
            let mut fields = line.split(|&byte| byte == b':');
            (fields.next() == Some(name)).then(|| fields.nth(1).and_then(parse)).flatten()
        }),
    };
    found.ok_or_else(|| Error::Owner { file: FILE, name: String::from_utf8_lossy(name).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_tree::Timestamp;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\nmessagebus:x:100:101::/:/bin/false\n";
    const GROUP: &[u8] = b"root:x:0:\nssl-cert:x:110:postgres\n";

    #[test]
    fn owners_are_those_of_the_new_system() {
        let text = b"root ssl-cert 710 /etc/ssl/private\nmessagebus #77 4755 /a b\n";
        let overrides = Overrides::parse(text, PASSWD, GROUP).unwrap();
        let mtime = Timestamp { seconds: 9, nanoseconds: 0 };
        let mut attributes = Attributes { mode: 0o755, uid: 5, gid: 5, mtime };
        assert!(overrides.apply(&"etc/ssl/private".parse().unwrap(), &mut attributes));
        assert_eq!(attributes, Attributes { mode: 0o710, uid: 0, gid: 110, mtime });
        assert!(overrides.apply(&"a b".parse().unwrap(), &mut attributes));
        assert_eq!(attributes, Attributes { mode: 0o4755, uid: 100, gid: 77, mtime });
        assert!(!overrides.apply(&"etc/ssl".parse().unwrap(), &mut attributes));
        assert_eq!(attributes.uid, 100);
    }

    #[test]
    fn what_dpkg_would_not_take_is_refused() {
        for (text, message) in [
            ("root root 755", "malformed"),
            ("root root 9 /a", "malformed"),
            ("root root 17777 /a", "malformed"),
            ("root root 755 /../a", "malformed"),
            ("root nobody 755 /a", "names nobody, which it does not have"),
            ("#x root 755 /a", "names #x, which it does not have"),
        ] {
            let error = Overrides::parse(text.as_bytes(), PASSWD, GROUP).unwrap_err().to_string();
            assert!(
                error.starts_with("/var/lib/dpkg/statoverride of the new system") && error.contains(message),
                "{error}"
            );
        }
    }
}
