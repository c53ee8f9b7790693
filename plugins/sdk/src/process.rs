//! A [`Plugin`] in a process of its own: a dynamic library, which fam-build loads there, or an
//! executable. Both read one call, answer it, and end. No panic leaves a library.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use serde::Deserialize;

use crate::protocol::{Call, Entry, Kind, Request, VERSION};
use crate::remote::{Connection, Remote};
use crate::{Context, ErasedPlugin, Error, Facts, Node, Plugin, Result, Root, Value};

/// Exports a [`Plugin`] that has a `Default` as a dynamic library. The crate needs, in its
/// `Cargo.toml`:
///
/// ```toml
/// [lib]
/// crate-type = ["cdylib", "rlib"]
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        /// By which fam-build finds the plugin.
        #[allow(unsafe_code)]
        #[doc(hidden)]
        // SAFETY: the name belongs to fam-build's plugins, one to a library.
        #[unsafe(no_mangle)]
        pub extern "C" fn fam_plugin_main(descriptor: ::std::ffi::c_int) -> ::std::ffi::c_int {
            // SAFETY: the caller gives the descriptor away.
            let socket = unsafe { <::std::os::fd::OwnedFd as ::std::os::fd::FromRawFd>::from_raw_fd(descriptor) };
            ::std::ffi::c_int::from($crate::serve::<$plugin>(socket))
        }
    };
}

/// Answers the call that comes over `socket`, as [`export!`] has a library do. Gives the status
/// that the process is to end with.
#[doc(hidden)]
pub fn serve<T: Plugin + Default>(socket: OwnedFd) -> u8 {
    match socket.try_clone() {
        Ok(writer) => answer::<T>(Connection::new(socket.into(), writer.into())),
        Err(_) => 1,
    }
}

/// The main function of a [`Plugin`] that is an executable: reads the call from standard input, and
/// answers on standard output. What the plugin itself prints goes to standard error, and so to the
/// log, as that of a library does.
///
/// ```no_run
/// # #[derive(Default)]
/// # struct Motd;
/// # impl fam_plugin::Plugin for Motd {
/// #     type Settings = ();
/// #     fn describe(&self) -> fam_plugin::Description {
/// #         fam_plugin::Description::new("motd", "greets at login").at(fam_plugin::Stage::Node)
/// #     }
/// # }
/// fn main() -> std::process::ExitCode {
///     fam_plugin::main::<Motd>()
/// }
/// ```
#[must_use]
pub fn main<T: Plugin + Default>() -> ExitCode {
    let streams = || -> io::Result<(File, File)> {
        let reader = io::stdin().as_fd().try_clone_to_owned()?;
        let writer = io::stdout().as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
        rustix::stdio::dup2_stdout(io::stderr())?;
        Ok((reader.into(), writer.into()))
    };
    match streams() {
        Ok((reader, writer)) => answer::<T>(Connection::new(reader, writer)).into(),
        Err(_) => ExitCode::FAILURE,
    }
}

/// What every version of the protocol begins with.
#[derive(Deserialize)]
struct Greeting {
    protocol: u32,
}

/// Every call works on a new value of the plugin, so that none can hold anything back.
fn answer<T: Plugin + Default>(mut connection: Connection) -> u8 {
    let Ok(message) = connection.receive::<Value>() else { return 1 };
    let remote = Remote::new(connection);
    let last = match read_call(&message) {
        Ok(call) => match catch_unwind(AssertUnwindSafe(|| obey(&T::default(), &call, &remote))) {
            Ok(Ok(())) => Request::Done {},
            Ok(Err(error)) => failure(error),
            Err(payload) => {
                let text = payload.downcast_ref::<&str>().copied();
                let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                let last = fail(Kind::Panic, String::new(), text.unwrap_or("no message").into(), None);
                // Its drop could panic again, outside of any catch.
                std::mem::forget(payload);
                last
            }
        },
        Err(message) => {
            let hint = "build it again with the SDK of this program: `fam-build plugin new` brings it along";
            fail(Kind::Load, String::new(), message, Some(hint.into()))
        }
    };
    // After the last message this process may be ended before it comes to that by itself.
    let _ = io::stdout().flush();
    u8::from(remote.say(&last).is_err())
}

fn read_call(message: &Value) -> Result<Call, String> {
    let unreadable = |error: serde_json::Error| format!("cannot read what it is asked for: {error}");
    let Greeting { protocol } = Greeting::deserialize(message).map_err(unreadable)?;
    if protocol != VERSION {
        return Err(format!("speaks version {VERSION} of the plugins' protocol, and this program version {protocol}"));
    }
    Call::deserialize(message).map_err(unreadable)
}

fn obey<T: Plugin>(plugin: &T, call: &Call, remote: &Remote) -> Result<()> {
    let context = || -> Result<Context> {
        let facts: &Facts = call.facts.as_ref().ok_or_else(|| Error::failed("fam-build tells no facts"))?;
        Ok(Context::new(Arc::new(facts.clone()), Arc::new(remote.clone())))
    };
    match call.call {
        Entry::Describe => remote.request(&Request::Describe(Plugin::describe(plugin))).map(drop),
        Entry::Check => ErasedPlugin::check(plugin, &call.settings),
        Entry::ApplySystem => {
            // Whether programs may have the network is for fam-build to say.
            let mut remote = remote.clone();
            let mut root = Root::new(&mut remote).with_network(true);
            ErasedPlugin::apply_system(plugin, &call.settings, &mut root, &context()?)
        }
        Entry::ApplyNode => {
            let node: &Node = call.node.as_ref().ok_or_else(|| Error::failed("fam-build tells no node"))?;
            let context = context()?.for_node(node);
            ErasedPlugin::apply_node(plugin, &call.settings, &mut Root::new(&mut remote.clone()), node, &context)
        }
        Entry::SshKeys => {
            let keys = ErasedPlugin::ssh_keys(plugin, &call.settings, &context()?)?;
            remote.request(&Request::SshKeys(keys)).map(drop)
        }
    }
}

fn failure(error: Error) -> Request {
    match error {
        Error::Settings { key, message, hint } => fail(Kind::Setting, key, message, hint),
        Error::Run { program, message } => fail(Kind::Run, program, message, None),
        error => fail(Kind::Other, String::new(), error.to_string(), None),
    }
}

fn fail(kind: Kind, key: String, message: String, hint: Option<String>) -> Request {
    Request::Fail { kind, key, message, hint }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;
    use crate::{Command, Description, Stage};

    /// Does at the node stage what its settings say.
    #[derive(Default)]
    struct Acts;

    #[derive(Deserialize)]
    struct Settings {
        act: String,
    }

    impl Plugin for Acts {
        type Settings = Settings;

        fn describe(&self) -> Description {
            Description::new("acts", "does what it should").at(Stage::System)
        }

        fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
            match settings.act.as_str() {
                "read" => root.read("/a").map(drop),
                "size" => root.symlink_metadata("/a").map(drop),
                "secret" => root.write("/a", context.secret("acts/label")),
                "large" => root.write("/a", vec![0; 60 << 20]),
                "run" => root.run(&Command::new("true")).map(drop),
                _ => panic!("no {}", settings.act),
            }
        }
    }

    /// What the plugin says in a call, if it is answered so.
    fn says(call: &str, answers: &[&str]) -> Vec<String> {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let plugin = thread::spawn(|| serve::<Acts>(theirs.into()));
        for line in [call].iter().chain(answers) {
            writeln!(ours, "{line}").unwrap();
        }
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let said = io::read_to_string(ours).unwrap();
        assert_eq!(plugin.join().unwrap(), 0);
        said.lines().map(str::to_owned).collect()
    }

    fn system(act: &str) -> String {
        let facts = crate::testing::Harness::new().context().facts;
        serde_json::json!({ "protocol": 1, "call": "apply-system", "settings": { "act": act }, "facts": *facts })
            .to_string()
    }

    #[test]
    fn describes_and_checks() {
        let said = says(r#"{"protocol":1,"call":"describe","settings":{}}"#, &[r#"{"ok":true}"#]);
        assert!(said[0].starts_with(r#"{"op":"describe","name":"acts","summary":"does what it should""#), "{said:?}");
        assert_eq!(said[1], r#"{"op":"done"}"#);
        let said = says(r#"{"protocol":1,"call":"check","settings":{"atc":"x"}}"#, &[]);
        assert!(said[0].contains(r#""kind":"setting""#) && said[0].contains("did you mean"), "{said:?}");
    }

    #[test]
    fn another_version_is_refused() {
        for (call, why) in [
            (r#"{"protocol":2,"do":[]}"#, "speaks version 1 of the plugins' protocol, and this program version 2"),
            (r#"{"protocol":1,"call":"dance","settings":{}}"#, "unknown variant `dance`"),
            ("[]", "cannot read what it is asked for"),
        ] {
            let said = says(call, &[]);
            assert!(said[0].contains(r#""kind":"load""#) && said[0].contains(why), "{said:?}");
        }
    }

    #[test]
    fn what_goes_wrong_is_said() {
        let resolved = r#"{"ok":true,"path":"/a"}"#;
        for (act, answers, why) in [
            ("dance", &[][..], r#"{"op":"fail","kind":"panic","key":"","message":"no dance","hint":null}"#),
            ("read", &[resolved, r#"{"ok":false,"problem":"not-a-file","error":"x"}"#], "read /a: not a regular file"),
            ("read", &[resolved, r#"{"ok":false,"problem":"new","error":"its words"}"#], r#""message":"its words""#),
            ("large", &[resolved], "write /a: larger than the limit of 50323456 bytes"),
            (
                "run",
                &[r#"{"ok":false,"error":"run true: no such program"}"#],
                r#""key":"true","message":"no such program""#,
            ),
            // A host that is broken, or gone.
            ("read", &[resolved, r#"{"ok":true}"#], "read /a: fam-build's answer has nothing of it"),
            ("read", &[resolved, r#"{"ok":tru"#], "talk to fam-build: "),
            ("read", &[resolved], "talk to fam-build: it is gone"),
            (
                "size",
                &[resolved, r#"{"ok":true,"stat":{"type":"file","mode":"0644","uid":-1,"gid":0,"size":0}}"#],
                "talk to fam-build: ",
            ),
            ("secret", &[r#"{"ok":true,"secret":"00"}"#], "fam-build gives no secret: talk to fam-build: "),
            ("run", &[r#"{"ok":true}"#], "fam-build's answer has no status"),
        ] {
            let said = says(&system(act), answers);
            assert!(said.last().unwrap().contains(why), "{act}: {said:?}");
        }
    }
}
