//! `fam-build doctor`: whether this host can build and run, with a hint for each fault.

use super::screen::json_line;
use super::text::Style;
use super::{Engine, print_as_it_is, text};
use crate::recipe::Settings;
use crate::report::{DoctorReport, Failure, Purpose};

pub(super) fn run(engine: &dyn Engine, settings: &Settings) -> Result<(), Failure> {
    let report = engine.doctor(settings)?;
    if settings.json {
        json_line(&serde_json::json!({ "event": "examined", "report": report }));
    } else {
        print_as_it_is(&text::examined(&report, Style::of_stdout()))?;
    }
    verdict(&report)
}

/// Faults make the program end with 1, as a build on this host would.
fn verdict(report: &DoctorReport) -> Result<(), Failure> {
    let what = match (report.allows(Purpose::Build), report.allows(Purpose::Run)) {
        (true, true) => return Ok(()),
        (false, true) => "this host cannot build what was asked for",
        (true, false) => "this host cannot run what would be built",
        (false, false) => "this host can neither build what was asked for nor run it",
    };
    let hint = Some("change each fault as the hint beneath it says, then run `fam-build doctor` again".to_owned());
    Err(Failure { hint, ..Failure::message(what) })
}
