//! `fam-build lock`: chooses the exact packages and writes them to `fabric.lock`, without building.

use fam_progress::Progress;

use super::screen::{Screen, json_line};
use super::{Engine, print};
use crate::recipe::Settings;
use crate::report::Failure;

pub(super) fn run(engine: &dyn Engine, settings: &Settings) -> Result<(), Failure> {
    let progress = Progress::new(Screen::of_process(settings.verbose, settings.json));
    let report = engine.lock(settings, &progress)?;
    // Takes its bars off the screen.
    drop(progress);
    if settings.json {
        json_line(&serde_json::json!({ "event": "locked", "report": report }));
        return Ok(());
    }
    print(&format!("{} packages are locked in {}\n", report.packages, report.path))
}
