//! Password hashes as crypt(5) writes them.

use fam_plugin::{Error, Result};
use sha_crypt::{Sha512Params, sha512_crypt_b64};

/// The alphabet of crypt(3), in its order.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// As long a salt as the method takes.
const SALT_LEN: usize = 16;

/// Hashes `password` by the method "6" of crypt(5): SHA-512, 5,000 rounds, with 16 characters of
/// salt out of `secret`.
pub(crate) fn sha512(password: &str, secret: &[u8; 32]) -> Result<String> {
    // Six bits of each byte: the alphabet has 64 characters, so none is likelier than another.
    let salt: String = secret.iter().take(SALT_LEN).map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect();
    with_salt(password, &salt)
}

fn with_salt(password: &str, salt: &str) -> Result<String> {
    let hash = sha512_crypt_b64(password.as_bytes(), salt.as_bytes(), &Sha512Params::default())
        .map_err(|error| Error::failed(format!("cannot hash a password: {error:?}")))?;
    Ok(format!("$6${salt}${hash}"))
}

/// Whether `text` may stand in the password field of shadow(5): a hash of any method with a prefix,
/// locked or not, or a lock alone.
pub(crate) fn is_hash(text: &str) -> bool {
    let hash = text.strip_prefix('!').unwrap_or(text);
    let safe = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b':' | b';' | b'\\'));
    let method = hash.strip_prefix('$').is_some_and(|rest| rest.split('$').count() >= 3);
    safe && (method || text == "*" || text == "!" || text == "!*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_the_specification_does() {
        // As `openssl passwd -6 -salt SALT PASSWORD` gives; the first is also a case of U.
        // Drepper's specification.
        for (password, salt, expected) in [
            (
                "Hello world!",
                "saltstring",
                "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            ),
            (
                "aresquare",
                "0123456789abcdef",
                "NpEJ4s8IsDarin18c90xz4MtZtFDoswXo43jrog5tGHFJIJavJpo1ILKi07iccD9BOPh48xX/RPmpN8TA.0sP1",
            ),
            (
                "rocks",
                "./ABCDEFGHIJKLMN",
                "xC8z9s6Bh8aJWRELHHrVMDBQ2va7u08wAd5DajmgFiIyjaCUW6e6QtYu4lgnSNvDJSACzhgSBcazv8RZnBv560",
            ),
        ] {
            assert_eq!(with_salt(password, salt).unwrap(), format!("$6${salt}${expected}"));
        }
        assert!(sha512("x", &[0xff; 32]).unwrap().starts_with("$6$zzzzzzzzzzzzzzzz$"));
    }

    #[test]
    fn knows_hashes() {
        for good in ["$6$salt$hash", "$y$j9T$salt$hash", "*", "!", "!$6$salt$hash"] {
            assert!(is_hash(good), "{good}");
        }
        for bad in ["", "rocks", "$6$salt", "$6$salt$ha:sh", "$6$salt$hash\n"] {
            assert!(!is_hash(bad), "{bad:?}");
        }
    }
}
