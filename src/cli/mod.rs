//! The command line: arguments in, text and exit code out. The only code of the program that
//! prints.
//!
//! A verb turns its arguments into [`Settings`], has the [`Engine`] do the work, and shows what
//! comes back. Meanwhile [`screen::Screen`] shows the events of the work, and
//! [`log::LogFile`] keeps them.

pub mod arguments;
mod build;
mod completions;
mod doctor;
mod export;
mod lock;
pub mod log;
mod nodes;
mod plan;
mod plugin;
mod recipe;
pub mod screen;
mod text;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue};
use fam_archive::credentials::{redact, without_login};
use fam_progress::Progress;
use serde_json::Value;

use crate::export::Request;
use crate::hints;
use crate::recipe::{Environment, Flags, Settings};
use crate::report::{
    BuildReport, DoctorReport, ExportReport, Failure, LockReport, PlanReport, PluginReport, PluginsReport,
};
use arguments::{Arguments, Verb};

/// A build that passed its checks and holds the lock of its output directory until it is dropped.
pub trait PreparedBuild {
    /// Builds everything that was asked for.
    ///
    /// # Errors
    /// Whatever made the build fail.
    fn run(self: Box<Self>, progress: &Progress) -> Result<BuildReport, Failure>;
}

/// Does the work of the verbs. A trait, so that tests of the command line need no builds.
pub trait Engine {
    /// Checks everything that can be checked before the first byte is fetched, and takes the output
    /// directory, so that no two builds write to it.
    ///
    /// # Errors
    /// Whatever would keep the build from succeeding.
    fn prepare(&self, settings: &Settings) -> Result<Box<dyn PreparedBuild>, Failure>;

    /// Finds out what a build would do, fetching indexes only.
    ///
    /// # Errors
    /// Whatever would make the build fail, as far as the indexes tell.
    fn plan(&self, settings: &Settings, progress: &Progress) -> Result<PlanReport, Failure>;

    /// Checks a recipe as a build would before anything else: its plugins are there, their settings
    /// are valid, and so are the files that it names.
    ///
    /// # Errors
    /// The first thing that is wrong.
    fn check(&self, settings: &Settings) -> Result<(), Failure>;

    /// Writes the exact packages of a build to its lock.
    ///
    /// # Errors
    /// The packages cannot be chosen, or the lock cannot be written.
    fn lock(&self, settings: &Settings, progress: &Progress) -> Result<LockReport, Failure>;

    /// Writes nodes that were built for another hypervisor.
    ///
    /// # Errors
    /// There are no such nodes, an image cannot be read, or an artifact cannot be written.
    fn export(&self, request: &Request, progress: &Progress) -> Result<ExportReport, Failure>;

    /// Examines whether this host can build, and run, what is asked for.
    ///
    /// # Errors
    /// The examination itself failed. What it finds is part of the report, and no error.
    fn doctor(&self, settings: &Settings) -> Result<DoctorReport, Failure>;

    /// All plugins that a build would find.
    ///
    /// # Errors
    /// A directory of plugins cannot be read.
    fn plugins(&self, settings: &Settings) -> Result<PluginsReport, Failure>;

    /// Loads a plugin from its file, and has it check settings.
    ///
    /// # Errors
    /// The file is no plugin, or the settings do not fit.
    fn check_plugin(&self, file: &Path, settings: Option<&Value>) -> Result<PluginReport, Failure>;
}

/// Runs the program with these arguments, the first of which is its name.
pub fn run(engine: &dyn Engine, arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => return fail(&wrong_arguments(error)),
        // The texts of --help and --version, which clap returns as errors.
        Err(help) => return ExitCode::from(u8::from(help.print().is_err())),
    };
    let result = match arguments.verb.unwrap_or(Verb::Build(arguments.options)) {
        Verb::Build(options) => with_settings(*options, environment, |settings| build::run(engine, settings)),
        Verb::Plan(options) => with_settings(*options, environment, |settings| plan::run(engine, settings)),
        Verb::Lock(options) => with_settings(*options, environment, |settings| lock::run(engine, settings)),
        Verb::Recipe { verb } => recipe::run(engine, verb, environment),
        Verb::Doctor(options) => with_settings(*options, environment, |settings| doctor::run(engine, settings)),
        // The launch script calls it `start`.
        Verb::Up(request) => nodes::run("start", request, environment),
        Verb::Stop(request) => nodes::run("stop", request, environment),
        Verb::Status(request) => nodes::run("status", request, environment),
        Verb::Ssh(request) => nodes::run("ssh", request, environment),
        Verb::Console(request) => nodes::run("console", request, environment),
        Verb::Log(request) => nodes::run("log", request, environment),
        Verb::Export(request) => export::run(engine, request, environment),
        Verb::Plugin { verb } => plugin::run(engine, verb, environment),
        Verb::Completions { shell } => completions::run(shell),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    // Nothing can be done about an error while showing an error.
    let _ = text::failure(failure, text::Style::of_stderr(), &mut io::stderr().lock());
    ExitCode::from(failure.exit_code())
}

/// The parser's own error in the form of all others: it begins with the same word, and ends with a
/// hint.
fn wrong_arguments(mut error: clap::Error) -> Failure {
    // clap quotes the value as it was typed, and a URL may hold a login.
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
        let shown = without_login(value);
        error.insert(ContextKind::InvalidValue, ContextValue::String(shown));
    }
    let text = error.render().to_string();
    let text = text.trim_end();
    // Instead of this line of clap there is the hint below.
    let what = text.strip_suffix("For more information, try '--help'.").unwrap_or(text).trim_end();
    // Indented as a whole, so that its columns stay.
    let what = what.strip_prefix("error: ").unwrap_or(what).replace('\n', "\n  ").replace("\n  \n", "\n\n");
    let hint = Some("`fam-build --help` explains every option".to_owned());
    Failure { what, causes: Vec::new(), hint, is_usage: true }
}

fn with_settings(
    options: impl Into<Flags>,
    environment: &Environment,
    verb: impl FnOnce(&Settings) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let settings = Settings::new(options.into(), environment).map_err(|error| hints::usage(&error))?;
    let result = verb(&settings);
    show_failure(settings.json, &result);
    result
}

/// Prints a failure as a JSON line, if JSON was asked for.
fn show_failure(json: bool, result: &Result<(), Failure>) {
    if let (true, Err(failure)) = (json, result) {
        screen::json_line(&serde_json::json!({ "event": "failed", "failure": failure }));
    }
}

/// Writes `text` to standard output, with nothing in it that acts on a terminal.
fn print(text: &str) -> Result<(), Failure> {
    print_as_it_is(&text::visible(text))
}

/// Writes `text` to standard output. A reader that went away, as `head` does, is no failure.
fn print_as_it_is(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(redact(text).as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(&error, None)),
        _ => Ok(()),
    }
}

/// Whether standard error is a terminal that can show bars and colours.
fn stderr_is_rich_terminal() -> bool {
    is_rich_terminal(&io::stderr())
}

fn is_rich_terminal(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests;
