//! How often and after what pause something is tried again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use jiff::Timestamp;

use super::super::release::parse_date;
use super::{Error, HttpOptions};

const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause that a server can ask for by a Retry-After header.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Counts failures in a row, and pauses between attempts.
#[derive(Debug)]
pub(in super::super) struct RetryState {
    failures: u32,
    attempts: u32,
    pause: Duration,
}

impl RetryState {
    pub(in super::super) fn new(options: &HttpOptions) -> Self {
        Self { failures: 0, attempts: options.attempts, pause: options.pause }
    }

    /// Begins to count anew, after something succeeded.
    pub(in super::super) fn restore(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt; returns the error if another attempt is of no use, or if it
    /// was one too many.
    pub(in super::super) fn after(&mut self, error: Error) -> Result<(), Error> {
        self.failures += 1;
        if !error.is_transient() || self.failures >= self.attempts {
            return Err(error);
        }
        std::thread::sleep(self.next_pause(&error, RandomState::new().build_hasher().finish()));
        Ok(())
    }

    /// Exponential, and spread by half in both directions, so that threads do not come back at
    /// once.
    fn next_pause(&self, error: &Error, random: u64) -> Duration {
        if let Error::Status { retry_after: Some(pause), .. } = error {
            return (*pause).min(LONGEST_RETRY_AFTER);
        }
        // 16 doublings exceed the longest pause, and the shift cannot overflow.
        let doubled = self.pause.saturating_mul(1 << (self.failures - 1).min(16));
        let percent = 50 + u32::try_from(random % 101).unwrap_or(50);
        doubled.min(LONGEST_PAUSE).saturating_mul(percent) / 100
    }
}

/// Reads a Retry-After header: seconds, or a date.
pub(super) fn parse_retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let pause = parse_date(value)?.duration_since(Timestamp::now());
    Some(Duration::try_from(pause).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, retry_after: Option<Duration>) -> Error {
        Error::Status { url: String::new(), status, reason: String::new(), via: None, retry_after }
    }

    #[test]
    fn pauses_double_within_bounds() {
        let mut retries = RetryState { failures: 1, attempts: 5, pause: Duration::from_millis(100) };
        let error = status(503, None);
        assert_eq!(retries.next_pause(&error, 0), Duration::from_millis(50));
        assert_eq!(retries.next_pause(&error, 100), Duration::from_millis(150));
        retries.failures = 3;
        assert_eq!(retries.next_pause(&error, 50), Duration::from_millis(400));
        retries.failures = 4_000_000;
        assert_eq!(retries.next_pause(&error, 50), LONGEST_PAUSE);
        assert_eq!(retries.next_pause(&status(429, Some(Duration::from_secs(7))), 0), Duration::from_secs(7));
        assert_eq!(retries.next_pause(&status(429, Some(Duration::MAX)), 0), LONGEST_RETRY_AFTER);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(parse_retry_after("120"), Some(Duration::from_secs(120)));
        assert_eq!(parse_retry_after("Wed, 02 Sep 2020 07:05:01 GMT"), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon"), None);
    }

    #[test]
    fn gives_up_on_what_will_not_pass_and_after_enough_attempts() {
        let mut retries = RetryState { failures: 0, attempts: 3, pause: Duration::from_micros(1) };
        assert!(retries.after(status(403, None)).is_err());
        retries.restore();
        assert!(retries.after(status(503, None)).is_ok());
        assert!(retries.after(status(503, None)).is_ok());
        assert!(retries.after(status(503, None)).is_err());
    }
}
