//! Whether a server sends fast enough to be waited for: one that never stalls may still take years.

use std::time::{Duration, Instant};

/// The least that a server has to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeastSpeed {
    /// The bytes that have to come in each span of time.
    pub bytes: u64,
    /// The length of a span; the next begins when one ends.
    pub within: Duration,
}

impl Default for LeastSpeed {
    /// 512 bytes a second over a minute: less than a modem's line.
    fn default() -> Self {
        Self { bytes: 60 * 512, within: Duration::from_mins(1) }
    }
}

/// The bytes of one answer as they come.
#[derive(Debug)]
pub(super) struct Pace {
    least: LeastSpeed,
    begin: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(least: LeastSpeed, now: Instant) -> Self {
        Self { least, begin: now, bytes: 0 }
    }

    /// Counts bytes that came. If they come too slowly, returns how many came in the time.
    pub(super) fn count(&mut self, bytes: u64, now: Instant) -> Option<u64> {
        self.bytes += bytes;
        if now.duration_since(self.begin) < self.least.within {
            return None;
        }
        let counted = std::mem::take(&mut self.bytes);
        self.begin = now;
        (counted < self.least.bytes).then_some(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minute_is_judged_by_itself() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut pace = Pace::new(LeastSpeed { bytes: 100, within: Duration::from_mins(1) }, begin);
        for (bytes, seconds, expected) in [
            (1, 59, None),
            (99, 60, None),
            // What came before does not count any more.
            (99, 119, None),
            (0, 120, Some(99)),
            (1_000_000, 121, None),
            (5, 500, None),
            (1, 561, Some(1)),
        ] {
            assert_eq!(pace.count(bytes, after(seconds)), expected, "after {seconds} s");
        }
    }
}
