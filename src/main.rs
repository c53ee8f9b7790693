//! The program: a process of a build that this very program started does its part; any other reads the command line.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use fam_build::cli::{self, Engine};
use fam_build::pipeline;
use fam_build::progress::Progress;
use fam_build::recipe::{Environment, Settings};
use fam_build::report::{BuildReport, Failure, LockReport, PlanReport};
use fam_build::supervisor::{Interrupts, OutputLock, Isolation, enter_role};

fn main() -> ExitCode {
    if let Some(code) = enter_role(pipeline::work) {
        return code;
    }
    cli::run(&Pipeline, std::env::args_os(), &Environment::of_process())
}

/// The real engine behind the verbs.
struct Pipeline;

impl Engine for Pipeline {
    fn build(&self, settings: &Settings, progress: &Progress) -> Result<BuildReport, Failure> {
        let interrupts = Interrupts::install().map_err(|error| Failure::new(&error, None))?;
        Ok(pipeline::build(settings, progress, &interrupts)?)
    }

    fn plan(&self, settings: &Settings, progress: &Progress) -> Result<PlanReport, Failure> {
        Ok(pipeline::plan(settings, progress)?)
    }

    fn lock(&self, settings: &Settings, progress: &Progress) -> Result<LockReport, Failure> {
        Ok(pipeline::lock(settings, progress)?)
    }
}
