//! The program: a process that a build started does its part of the build; any other reads the
//! command line.

use std::path::Path;
use std::process::ExitCode;

use fam_build::cli::{self, Engine, PreparedBuild};
use fam_build::doctor;
use fam_build::export;
use fam_build::pipeline::{self, Preflight};
use fam_build::plugins;
use fam_build::recipe::{Environment, Settings};
use fam_build::report::{
    BuildReport, DoctorReport, ExportReport, Failure, LockReport, PlanReport, PluginReport, PluginsReport,
};
use fam_isolation::supervisor::{Interrupts, enter_role};
use fam_progress::Progress;
use serde_json::Value;

fn main() -> ExitCode {
    if let Some(code) = enter_role(pipeline::work, &plugins::ROLES) {
        return code;
    }
    cli::run(&Pipeline, std::env::args_os(), &Environment::of_process())
}

/// What the verbs are about.
struct Pipeline;

struct Build {
    preflight: Preflight,
    interrupts: Interrupts,
}

impl PreparedBuild for Build {
    fn run(self: Box<Self>, progress: &Progress) -> Result<BuildReport, Failure> {
        Ok(pipeline::build(self.preflight, progress, &self.interrupts)?)
    }
}

impl Engine for Pipeline {
    fn prepare(&self, settings: &Settings) -> Result<Box<dyn PreparedBuild>, Failure> {
        let interrupts = Interrupts::install().map_err(pipeline::Error::from)?;
        Ok(Box::new(Build { preflight: Preflight::check(settings)?, interrupts }))
    }

    fn plan(&self, settings: &Settings, progress: &Progress) -> Result<PlanReport, Failure> {
        Ok(pipeline::plan(settings, progress)?)
    }

    fn check(&self, settings: &Settings) -> Result<(), Failure> {
        Ok(pipeline::check(settings)?)
    }

    fn lock(&self, settings: &Settings, progress: &Progress) -> Result<LockReport, Failure> {
        Ok(pipeline::lock(settings, progress)?)
    }

    fn export(&self, request: &export::Request, progress: &Progress) -> Result<ExportReport, Failure> {
        let interrupts = Interrupts::install().map_err(export::Error::from)?;
        Ok(export::export(request, progress, &interrupts)?)
    }

    fn doctor(&self, settings: &Settings) -> Result<DoctorReport, Failure> {
        Ok(doctor::examine(settings))
    }

    fn plugins(&self, settings: &Settings) -> Result<PluginsReport, Failure> {
        Ok(pipeline::plugins(settings)?)
    }

    fn check_plugin(&self, file: &Path, settings: Option<&Value>) -> Result<PluginReport, Failure> {
        Ok(pipeline::check_plugin(file, settings)?)
    }
}
