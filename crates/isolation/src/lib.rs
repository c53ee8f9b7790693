//! Processes kept apart from the host, with nothing left of them when they end.
//!
//! A process with threads cannot enter a user or mount namespace, and forking one is unsound. So a
//! program that uses this crate executes itself in hidden [`Role`](supervisor::Role)s: its `main`
//! calls [`enter_role`](supervisor::enter_role) before anything else.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use fam_isolation::sandbox::{Command, Sandbox, Settings};
//! use fam_isolation::supervisor::{Interrupts, Isolation, enter_role, run};
//! use fam_progress::{Failure, Progress};
//!
//! /// What the worker does, as root of its own namespaces: runs a program with `root` as its root.
//! fn work(root: String, progress: Progress) -> Result<bool, Failure> {
//!     let failed = |error: fam_isolation::sandbox::Error| Failure::message(error.to_string());
//!     let mut sandbox = Sandbox::enter(root.as_ref(), &Settings::default()).map_err(failed)?;
//!     let status = sandbox.run(&Command::new("dpkg").arg("--audit"), |line| progress.output("dpkg", line));
//!     Ok(status.map_err(failed)?.success())
//! }
//!
//! fn main() -> ExitCode {
//!     if let Some(code) = enter_role(work, &[]) {
//!         return code;
//!     }
//!     let run_it = || -> Result<bool, Box<dyn std::error::Error>> {
//!         let root = "/srv/root".to_owned();
//!         Ok(run(&root, &Isolation::detect()?, &Progress::silent(), &Interrupts::install()?)?)
//!     };
//!     if run_it().unwrap_or(false) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
//! }
//! ```
//!
//! [`supervisor`] starts a worker in namespaces of its own, and cleans up after it, whatever
//! happens to either. [`sandbox`] runs programs of another system, with its tree as their root.

pub mod sandbox;
pub mod supervisor;
