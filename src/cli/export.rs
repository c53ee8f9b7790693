//! `fam-build export`: the disks of nodes that were built, for other hypervisors.

use fam_progress::Progress;

use super::arguments::ExportRequest;
use super::screen::{Screen, json_line};
use super::{Engine, print, show_failure, text};
use crate::export::Request;
use crate::hints;
use crate::recipe::Environment;
use crate::report::Failure;

pub(super) fn run(engine: &dyn Engine, request: ExportRequest, environment: &Environment) -> Result<(), Failure> {
    let ExportRequest { format, nodes, output, registry, jobs, json } = request;
    let time = environment.source_date_epoch().map_err(|error| hints::usage(&error))?.value;
    let output = environment.output_directory(output).value;
    let result = write(engine, &Request { format, output, nodes, registry, jobs, time }, json);
    show_failure(json, &result);
    result
}

fn write(engine: &dyn Engine, request: &Request, json: bool) -> Result<(), Failure> {
    let progress = Progress::new(Screen::of_process(false, json));
    let report = engine.export(request, &progress)?;
    // Takes its bars off the screen.
    drop(progress);
    if json {
        json_line(&serde_json::json!({ "event": "exported", "report": report }));
        return Ok(());
    }
    print(&text::exported(&report))
}
