//! The signed Release file of a suite: asked for, or taken as it was, and verified either way.
//!
//! The one that was accepted last is kept with the headers by which the server knows it, and a server
//! that says that it is still the same need not send it. What is kept is verified as if it had come just
//! now: keys, dates and what has been seen since may be others.

use serde::{Deserialize, Serialize};

use super::{Client, Error, SignedBy};
use crate::cache::{self, Shelf};
use crate::http::{Answer, Validators, shown};
use crate::release::{self, Release};
use crate::signature::{self, MAX_SIGNED_BYTES, Verified, verify_detached, verify_inline};
use crate::sources::Source;

/// A Release file with its signature.
enum Signed {
    /// `InRelease`
    Inline(Vec<u8>),
    /// `Release` and `Release.gpg`
    Detached(Vec<u8>, Vec<u8>),
}

/// How a signed file is kept: this, a line, and then its bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    validators: Validators,
}

impl Client {
    /// The Release file of a source, and who signed it.
    pub(super) fn release(&self, source: &Source) -> Result<(Release, SignedBy), Error> {
        let url = source.url("InRelease");
        let (known, kept) = self.kept_signed(&url).unwrap_or_default();
        let mut answer = self.http.get_if_changed(&url, MAX_SIGNED_BYTES, &known)?;
        if answer == Some(Answer::Unchanged) {
            match self.accept(source, &Signed::Inline(kept)) {
                Ok(accepted) => {
                    self.progress.detail(format!("{}: unchanged since it was fetched", shown(&url)));
                    return Ok(accepted);
                }
                // A cache on the way may have said so, and be behind: so the file itself is asked for, and
                // counts.
                Err(error) => self.progress.detail(format!("{}: unchanged, but {error}; fetched anew", shown(&url))),
            }
            answer = self.http.get_if_changed(&url, MAX_SIGNED_BYTES, &Validators::default())?;
        }
        // InRelease first: a Release file and its signature may come from two states of the mirror.
        let (signed, validators) = match answer {
            Some(Answer::File(inline, validators)) => (Signed::Inline(inline), validators),
            Some(Answer::Unchanged) | None => (self.detached(source)?, Validators::default()),
        };
        let accepted = self.accept(source, &signed)?;
        if let Signed::Inline(inline) = signed
            && !validators.is_empty()
        {
            self.keep_signed(&url, validators, &inline);
        }
        Ok(accepted)
    }

    fn kept_signed(&self, url: &str) -> Option<(Validators, Vec<u8>)> {
        let mut bytes = self.cache.kept(Shelf::Signed, url)?;
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        let inline = bytes.split_off(end + 1);
        let Kept { validators } = serde_json::from_slice(&bytes).ok()?;
        Some((validators, inline))
    }

    /// Keeps what was accepted. Without it the next run fetches it again, so this fails no run.
    fn keep_signed(&self, url: &str, validators: Validators, inline: &[u8]) {
        let head = serde_json::to_vec(&Kept { validators }).expect("strings are JSON");
        if let Err(error) = self.cache.keep(Shelf::Signed, url, &[&head[..], b"\n", inline].concat()) {
            self.progress.detail(format!("{} is not kept: {error}", shown(url)));
        }
    }

    fn detached(&self, source: &Source) -> Result<Signed, Error> {
        let (mirror, suite) = (shown(source.mirror()), source.suite.clone());
        let Some(text) = self.http.get(&source.url("Release"), MAX_SIGNED_BYTES)? else {
            return Err(Error::NoSuite { mirror, suite });
        };
        let Some(signature) = self.http.get(&source.url("Release.gpg"), MAX_SIGNED_BYTES)? else {
            return Err(Error::Unsigned { mirror, suite });
        };
        Ok(Signed::Detached(text, signature))
    }

    /// Checks a signed file, and that it is the one that this client may take now.
    fn accept(&self, source: &Source, signed: &Signed) -> Result<(Release, SignedBy), Error> {
        let verified = self.verified(source, signed)?;
        let release_error = |error| source.release_error(error);
        let release = Release::parse(&verified.text, verified.signed_at).map_err(release_error)?;
        release.check_suite(&source.suite).map_err(release_error)?;
        self.warn_of_oddities(source, &release);
        release.check_not_future(self.options.now).map_err(release_error)?;
        let now = source.snapshot.unwrap_or(self.options.now);
        let seen = match self.cache.newest_seen(source.mirror(), &source.suite) {
            Err(error @ cache::Error::Record { .. }) if self.options.accept_expired => {
                self.progress.warning(format!("{error}; begun anew, as was asked for"), None);
                None
            }
            seen => seen?,
        };
        let older =
            seen.filter(|&seen| release.date < seen).map(|seen| release::Error::Older { date: release.date, seen });
        for objection in [release.check_not_expired(now).err(), older].into_iter().flatten() {
            let error = source.release_error(objection);
            if !self.options.accept_expired {
                return Err(error);
            }
            self.progress.warning(format!("{error}; accepted, as was asked for"), None);
        }
        self.cache.remember(source.mirror(), &source.suite, release.date)?;
        let signed_by = SignedBy { fingerprint: verified.fingerprint, user_id: verified.user_id };
        self.progress.detail(format!(
            "suite {} of {}: dated {}, signed at {} by {signed_by}",
            source.suite,
            shown(source.mirror()),
            release.date,
            verified.signed_at
        ));
        Ok((release, signed_by))
    }

    fn warn_of_oddities(&self, source: &Source, release: &Release) {
        let mut oddities = release.oddities.clone();
        if !release.has_name() && !source.is_flat() {
            oddities.push("it has neither Suite nor Codename, so nothing says that it is for this suite".to_owned());
        }
        for oddity in oddities {
            let (mirror, suite) = (shown(source.mirror()), &source.suite);
            let message = format!("the Release file of suite {suite} of {mirror}: {oddity}");
            self.progress.warning(message, Some("it is signed, and was taken; tell those who run the archive".into()));
        }
    }

    fn verified(&self, source: &Source, signed: &Signed) -> Result<Verified, Error> {
        let (mirror, suite) = (shown(source.mirror()), source.suite.clone());
        let (keyring, now) = (source.keyring.as_deref().unwrap_or(&self.keyring), self.options.now);
        let verified = match signed {
            Signed::Inline(inline) => verify_inline(inline, keyring, now),
            Signed::Detached(text, signature) => verify_detached(text, signature, keyring, now),
        };
        let source = match verified {
            Ok(verified) => return Ok(verified),
            // A snapshot is not signed anew, and the key was in order when it signed.
            Err(signature::Error::KeyExpired { verified, .. }) if source.snapshot.is_some() => return Ok(*verified),
            Err(source) => source,
        };
        let reason = source.to_string();
        match source {
            signature::Error::KeyExpired { verified, .. } if self.options.accept_expired => {
                self.progress.warning(format!("suite {suite} of {mirror}: {reason}; accepted, as was asked for"), None);
                Ok(*verified)
            }
            source => Err(Error::Signature { mirror, suite, source }),
        }
    }
}
