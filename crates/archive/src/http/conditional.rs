//! Files that are fetched only where they changed: the server says by headers which state of a file it
//! sent, and is asked with these the next time (RFC 9110, sections 8.8 and 13).

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{Error, Http, RetryState};

/// The longest header that is kept.
const MAX_HEADER_BYTES: usize = 1024;

/// By which a server knows a state of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Validators {
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
}

impl Validators {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| {
            let text = headers.get(name)?.to_str().ok()?;
            (text.len() <= MAX_HEADER_BYTES).then(|| text.to_owned())
        };
        // A weak one is for files that are as good as the same. The time, which apt goes by, is the
        // server's own: it is sent back as it came, whatever the clock says.
        let etag = text(header::ETAG).filter(|etag| etag.starts_with('"'));
        Self { etag, last_modified: text(header::LAST_MODIFIED) }
    }

    /// Whether a server can be asked by them.
    pub(in super::super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The request for a file of another state than this.
    fn headers(&self) -> HeaderMap {
        let fields = [(header::IF_NONE_MATCH, &self.etag), (header::IF_MODIFIED_SINCE, &self.last_modified)];
        let fields =
            fields.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::from_str(text.as_ref()?).ok()?)));
        fields.collect()
    }
}

/// What a server has.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Answer {
    /// The file of the state that was named.
    Unchanged,
    /// A file, and by what this state of it is known.
    File(Vec<u8>, Validators),
}

impl Http {
    /// Fetches a small file whole, unless it is in the state that `known` names; nothing if there is no
    /// such file.
    ///
    /// # Errors
    /// When it cannot be fetched, or is longer than `limit`.
    pub(in super::super) fn get_if_changed(
        &self,
        url: &str,
        limit: u64,
        known: &Validators,
    ) -> Result<Option<Answer>, Error> {
        let headers = known.headers();
        let mut retries = RetryState::new(&self.options);
        loop {
            let answer = self.open_with(url, 0, true, headers.clone()).and_then(|mut reply| {
                let validators = std::mem::take(&mut reply.validators);
                Ok(Answer::File(reply.read_whole(limit)?, validators))
            });
            match answer {
                Ok(answer) => return Ok(Some(answer)),
                // To a request that named no state it is no answer.
                Err(Error::Status { status: 304, .. }) if !headers.is_empty() => return Ok(Some(Answer::Unchanged)),
                Err(error) if error.is_missing() => return Ok(None),
                Err(error) => retries.after(error)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use support::server::{Answer as Sent, Server};

    use super::super::{HttpOptions, ProxyChoice};
    use super::*;

    fn http() -> Http {
        let pause = Duration::from_millis(1);
        Http::new(HttpOptions { proxy: ProxyChoice::Direct, pause, ..HttpOptions::default() }).unwrap()
    }

    #[test]
    fn a_state_is_named_as_the_server_named_it() {
        for (etag, last_modified, expected) in [
            (None, None, [None, None]),
            (Some("\"a\""), None, [Some("\"a\""), None]),
            (None, Some("Thu, 26 Nov 2026 22:00:00 GMT"), [None, Some("Thu, 26 Nov 2026 22:00:00 GMT")]),
            // In the future, or no date at all: it is the server's.
            (Some("\"a\""), Some("tomorrow"), [Some("\"a\""), Some("tomorrow")]),
            (Some("W/\"a\""), Some("now"), [None, Some("now")]),
            (Some("W/\"a\""), None, [None, None]),
        ] {
            let server = Server::new(move |request| {
                let asks =
                    request.headers.contains_key("if-none-match") || request.headers.contains_key("if-modified-since");
                let answer = if asks { Sent::status(304) } else { Sent::ok("text") };
                let answer = etag.into_iter().fold(answer, |answer, etag| answer.header("etag", etag));
                last_modified.into_iter().fold(answer, |answer, time| answer.header("last-modified", time))
            });
            let url = format!("{}/file", server.url);
            let Some(Answer::File(bytes, validators)) = http().get_if_changed(&url, 9, &Validators::default()).unwrap()
            else {
                panic!("{etag:?}")
            };
            assert_eq!(bytes, b"text");
            assert_eq!(validators.is_empty(), expected == [None, None]);
            let again = http().get_if_changed(&url, 9, &validators).unwrap();
            let request = server.requests().pop().unwrap();
            let sent = ["if-none-match", "if-modified-since"].map(|name| request.headers.get(name).map(String::as_str));
            assert_eq!(sent, expected);
            assert_eq!(again == Some(Answer::Unchanged), !validators.is_empty());
        }
    }

    #[test]
    fn nobody_says_unchanged_unasked() {
        let server = Server::new(|_| Sent::status(304));
        let url = format!("{}/file", server.url);
        let error = http().get_if_changed(&url, 9, &Validators::default()).unwrap_err();
        assert!(matches!(error, Error::Status { status: 304, .. }), "{error}");
        assert!(matches!(http().get(&url, 9), Err(Error::Status { status: 304, .. })));
        assert_eq!(server.requests().len(), 2);
    }

    #[test]
    fn a_server_may_have_lost_the_file_or_be_busy() {
        let known = Validators { etag: Some("\"a\"".to_owned()), last_modified: None };
        let server = Server::new(|request| match request.target.as_str() {
            "/gone" => Sent::status(404),
            "/busy" => Sent::status(503),
            _ => Sent::ok("longer than nine"),
        });
        let get = |path: &str| http().get_if_changed(&format!("{}{path}", server.url), 9, &known);
        assert_eq!(get("/gone").unwrap(), None);
        assert!(matches!(get("/busy"), Err(Error::Status { status: 503, .. })));
        assert!(matches!(get("/long"), Err(Error::TooLong { .. })));
    }
}
