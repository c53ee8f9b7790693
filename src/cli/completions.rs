//! `fam-build completions SHELL`: what a shell needs to complete this command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Arguments;
use super::print;
use crate::report::Failure;

pub(super) fn run(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "fam-build", &mut script);
    print(&String::from_utf8_lossy(&script))
}
