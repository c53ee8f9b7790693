//! `fam-build plan`: what a build would do.

use fam_progress::Progress;

use super::screen::{Screen, json_line};
use super::{Engine, print, text};
use crate::recipe::Settings;
use crate::report::Failure;

pub(super) fn run(engine: &dyn Engine, settings: &Settings) -> Result<(), Failure> {
    let progress = Progress::new(Screen::of_process(settings.verbose, settings.json));
    let report = engine.plan(settings, &progress)?;
    // Takes its bars off the screen.
    drop(progress);
    if settings.json {
        json_line(&serde_json::json!({ "event": "planned", "report": report }));
        return Ok(());
    }
    print(&text::planned(&report, settings.verbose))
}
