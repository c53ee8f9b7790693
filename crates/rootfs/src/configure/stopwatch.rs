//! How long the scripts of a package take, for the log.

use std::time::{Duration, Instant};

use fam_progress::Progress;

/// What takes less is not worth a line.
const LONG: Duration = Duration::from_millis(300);

/// Times one piece of work after another, and says which took long.
#[derive(Debug)]
pub(super) struct Stopwatch<'a> {
    progress: &'a Progress,
    current: Option<(String, Instant)>,
}

impl<'a> Stopwatch<'a> {
    pub(super) fn new(progress: &'a Progress) -> Self {
        Self { progress, current: None }
    }

    /// The work before is over, if there was any, and `work` begins.
    pub(super) fn begin(&mut self, work: String) {
        self.end();
        self.current = Some((work, Instant::now()));
    }

    /// The work is over.
    pub(super) fn end(&mut self) {
        if let Some((work, begin)) = self.current.take()
            && let Some(said) = if_long(&work, begin.elapsed())
        {
            self.progress.detail(said);
        }
    }
}

fn if_long(work: &str, took: Duration) -> Option<String> {
    (took >= LONG).then(|| format!("{work} took {:.1} s", took.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_took_long() {
        let said = |millis| if_long("configuring a", Duration::from_millis(millis));
        assert_eq!(said(299), None);
        assert_eq!(said(300).as_deref(), Some("configuring a took 0.3 s"));
        assert_eq!(said(61_700).as_deref(), Some("configuring a took 61.7 s"));
    }
}
