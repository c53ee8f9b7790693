//! `fam-build build`, which is also what `fam-build` does without a verb.

use fam_progress::Progress;

use super::log::LogFile;
use super::screen::{Screen, Tee, json_line};
use super::{Engine, print, text};
use crate::hints;
use crate::recipe::Settings;
use crate::report::Failure;

pub(super) fn run(engine: &dyn Engine, settings: &Settings) -> Result<(), Failure> {
    let build = engine.prepare(settings)?;
    // After `prepare`, which took the lock of the output directory: only its holder may begin a
    // log.
    let log = LogFile::create(&settings.output).map_err(|error| hints::failure(&error))?;
    let path = log.path().display().to_string();
    let progress = Progress::new(Tee::new(Screen::of_process(settings.verbose, settings.json), log));
    // The log shows by itself what was asked for.
    for row in settings.rows() {
        progress.detail(format!("setting {}: {} ({})", row.name, row.value, row.origin));
    }
    match build.run(&progress) {
        Ok(report) => {
            progress.detail(format!("done in {:.1} s", report.seconds));
            if settings.json {
                json_line(&serde_json::json!({ "event": "built", "report": report }));
                return Ok(());
            }
            print(&text::built(&report))
        }
        Err(mut failure) => {
            // The log gets it in full; the screen shows it last, after everything else.
            progress.detail(format!("failed: {failure}"));
            failure.hint = Some(match failure.hint {
                Some(hint) => format!("{hint}; everything is in {path}"),
                None => format!("everything is in {path}"),
            });
            Err(failure)
        }
    }
}
