//! The main function of a test program. The tests are a list, so that some of them can be made at
//! run time, and so that the program can first look whether it was started in one of fam-build's
//! own roles. The command line is that of Rust's test harness, as `cargo test` and `cargo nextest`
//! expect it.

use std::fmt::Write as _;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A name for [`Test::needs`]: the test becomes another user, mounts something, or makes devices.
pub const ROOT: &str = "root";

/// A name for [`Test::needs`]: the test compiles static programs.
pub const RUST_FOR_MUSL: &str = "x86_64-unknown-linux-musl of rustup";

/// One test: a function that panics if it fails.
#[allow(missing_debug_implementations, reason = "a function has nothing to show")]
pub struct Test {
    name: String,
    needs: Vec<&'static str>,
    run: Box<dyn FnOnce() + Send>,
}

impl Test {
    /// A test of the module with this path. The name of the program, which comes first in it, is
    /// left out.
    pub fn new(module: &str, name: &str, run: impl FnOnce() + Send + 'static) -> Self {
        let module = module.split_once("::").map_or("", |(_, module)| module);
        Self { name: format!("{module}::{name}"), needs: Vec::new(), run: Box::new(run) }
    }

    /// Names what the host must have: programs, or [`ROOT`]. Where one is missing, the test does
    /// not run.
    #[must_use]
    pub fn needs(mut self, needs: &[&'static str]) -> Self {
        self.needs.extend(needs);
        self
    }

    fn missing(&self) -> Vec<&'static str> {
        self.needs.iter().copied().filter(|need| !is_there(need)).collect()
    }
}

/// Lists the tests of a file in a function `tests`, with what all of them need.
///
/// A function that is missing from the list is an error of the compiler's: it is never used.
#[macro_export]
macro_rules! tests {
    (needs $needs:expr; $($test:ident),* $(,)?) => {
        /// The tests of this file.
        pub fn tests() -> Vec<$crate::harness::Test> {
            vec![$($crate::harness::Test::new(module_path!(), stringify!($test), $test).needs(&$needs)),*]
        }
    };
    ($($test:ident),* $(,)?) => {
        $crate::tests!(needs []; $($test),*);
    };
}

/// Runs what the command line asks for. A test whose needs are not met is marked as ignored, and
/// `FAM_BUILD_NOT_RUN`, if it is set, names a file that gets a line `test, tab, reason` for each.
#[must_use]
pub fn run(tests: Vec<Test>) -> ExitCode {
    let mut reasons = String::new();
    let trials = tests.into_iter().map(|test| {
        let missing = test.missing();
        if !missing.is_empty() {
            writeln!(reasons, "{}\tneeds {}", test.name, missing.join(", ")).unwrap();
        }
        let run = move || {
            (test.run)();
            Ok(())
        };
        Trial::test(test.name, run).with_ignored_flag(!missing.is_empty())
    });
    let trials = trials.collect();
    if let Some(file) = std::env::var_os("FAM_BUILD_NOT_RUN") {
        let mut file =
            fs_err::OpenOptions::new().create(true).append(true).open(file.as_ref() as &std::path::Path).unwrap();
        std::io::Write::write_all(&mut file, reasons.as_bytes()).unwrap();
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Each case as root, and once more as [`crate::user`]: tests of the module with this path, all
/// with these needs. `run` gets the name of the test, too.
pub fn as_root_and_as_user<C: Copy + Send + 'static>(
    module: &str,
    cases: &[(&'static str, C)],
    needs: &[&'static str],
    run: fn(&str, C),
) -> Vec<Test> {
    let test = |who: &str, name: &str, case: C| {
        let mut test = Test::new(&format!("{module}::{who}"), name, || {}).needs(needs);
        let (name, user) = (test.name.clone(), who == "as_user");
        test.run = Box::new(move || if user && is_root() { again_as_user(&name) } else { run(&name, case) });
        test
    };
    let as_root = cases.iter().map(|(name, case)| test("as_root", name, *case).needs(&[ROOT]));
    let as_user = cases.iter().map(|(name, case)| test("as_user", name, *case).needs(&["newuidmap", "setpriv"]));
    as_root.chain(as_user).collect()
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs the test of this name again, in a copy of this program, as [`crate::user`].
pub fn again_as_user(test: &str) {
    let program = std::env::current_exe().unwrap();
    let program = crate::public_copy(&program, program.file_name().unwrap().to_str().unwrap());
    let mut command = crate::as_user("/usr/bin/env");
    command.arg(format!("FAM_BUILD_SCRATCH={}", crate::scratch().display())).arg(program);
    println!("{}", crate::succeed(command.args(["--exact", test, "--nocapture"]).current_dir("/")));
}

fn is_there(need: &str) -> bool {
    match need {
        ROOT => return is_root(),
        RUST_FOR_MUSL => return compiles_for_musl(),
        _ => {}
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // What only root uses is often out of a user's PATH.
    let usual = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(usual).any(|directory| directory.join(need).exists())
}

fn compiles_for_musl() -> bool {
    let mut rustc = std::process::Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", "x86_64-unknown-linux-musl"]);
    let Ok(output) = rustc.output() else { return false };
    let directory = String::from_utf8_lossy(&output.stdout);
    output.status.success() && std::path::Path::new(directory.trim()).exists()
}
