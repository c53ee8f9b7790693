//! The time that a program has: in all, and without printing anything.

use std::time::{Duration, Instant};

/// How long a silence is before something is said of it.
const NOTICE: Duration = Duration::from_mins(5);

/// How long a program of a sandbox may take before it is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// In all; see [`super::Sandbox::follow`] for programs that do one thing after another.
    pub whole: Duration,
    /// Without printing a line.
    pub silent: Duration,
}

impl Default for TimeLimits {
    /// Six hours, and an hour of silence. The slowest scripts, which build modules of kernels, are
    /// silent for minutes, and processors may be emulated at a tenth of their speed.
    fn default() -> Self {
        Self { whole: Duration::from_hours(6), silent: Duration::from_hours(1) }
    }
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing yet.
    Nothing,
    /// To say that the program has been silent for this long.
    Notice(Duration),
    /// To end the program, which was silent for too long.
    Silent,
    /// To end the program, which took too long.
    Whole,
}

/// The time of a program that runs.
#[derive(Debug)]
pub(super) struct Clock {
    limits: TimeLimits,
    begin: Instant,
    last_line: Instant,
    noticed: bool,
}

impl Clock {
    pub(super) fn start(limits: TimeLimits, now: Instant) -> Self {
        Self { limits, begin: now, last_line: now, noticed: false }
    }

    /// The program has printed a line.
    pub(super) fn hear(&mut self, now: Instant) {
        self.last_line = now;
        self.noticed = false;
    }

    /// The program has begun another part of its work, which may take as long as the first.
    pub(super) fn start_again(&mut self, now: Instant) {
        *self = Self::start(self.limits, now);
    }

    /// How long nothing will be due.
    pub(super) fn left(&self, now: Instant) -> Duration {
        let (whole, silence) = self.passed(now);
        let notice = if self.noticed { self.limits.silent } else { NOTICE.min(self.limits.silent) };
        self.limits.whole.saturating_sub(whole).min(notice.saturating_sub(silence))
    }

    /// What is due now. A notice is due once a silence.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        let (whole, silence) = self.passed(now);
        if whole >= self.limits.whole {
            Due::Whole
        } else if silence >= self.limits.silent {
            Due::Silent
        } else if silence >= NOTICE && !self.noticed {
            self.noticed = true;
            Due::Notice(silence)
        } else {
            Due::Nothing
        }
    }

    fn passed(&self, now: Instant) -> (Duration, Duration) {
        (now.saturating_duration_since(self.begin), now.saturating_duration_since(self.last_line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_noticed_once_and_ended_at_last() {
        let begin = Instant::now();
        let minute = |minute| begin + Duration::from_mins(minute);
        let mut clock = Clock::start(TimeLimits::default(), begin);
        assert_eq!((clock.left(minute(1)), clock.due(minute(1))), (Duration::from_mins(4), Due::Nothing));
        clock.hear(minute(2));
        assert_eq!((clock.left(minute(5)), clock.due(minute(5))), (Duration::from_mins(2), Due::Nothing));
        assert_eq!(clock.due(minute(7)), Due::Notice(Duration::from_mins(5)));
        assert_eq!((clock.left(minute(8)), clock.due(minute(8))), (Duration::from_mins(54), Due::Nothing));
        assert_eq!((clock.left(minute(62)), clock.due(minute(62))), (Duration::ZERO, Due::Silent));
        clock.hear(minute(62));
        assert_eq!(clock.due(minute(67)), Due::Notice(Duration::from_mins(5)));
    }

    #[test]
    fn what_prints_for_ever_is_ended_unless_it_begins_another_part() {
        let begin = Instant::now();
        let hour = |hour| begin + Duration::from_hours(hour);
        let mut clock = Clock::start(TimeLimits::default(), begin);
        for printed in 1..5 {
            clock.hear(hour(printed));
        }
        clock.hear(hour(5) + Duration::from_mins(59));
        assert_eq!(clock.left(hour(5) + Duration::from_mins(59)), Duration::from_mins(1));
        clock.hear(hour(6));
        assert_eq!(clock.due(hour(6)), Due::Whole);
        clock.start_again(hour(6));
        assert_eq!(clock.due(hour(6)), Due::Nothing);
    }

    #[test]
    fn a_short_limit_comes_before_the_notice() {
        let begin = Instant::now();
        let limits = TimeLimits { silent: Duration::from_secs(2), ..TimeLimits::default() };
        let mut clock = Clock::start(limits, begin);
        assert_eq!(clock.left(begin), limits.silent);
        assert_eq!(clock.due(begin + limits.silent), Due::Silent);
    }
}
