//! What a person can do about an error: its own hint, or that of one of its causes.
//!
//! The chain of causes is one of `dyn Error`, which does not tell who implements [`Hint`]. So the
//! types that do are listed here, and a test compares the list with the code.

use std::error::Error;
use std::iter;

use fam_archive::{
    cache, client, deb, fetch, http, index, keyring, local, lock, packages, policy, release, resolve, signature,
};
use fam_host::{shortage, space};
use fam_isolation::sandbox;
use fam_isolation::supervisor::{self, idmap, launch, output};
use fam_progress::{Failure, Hint};
use fam_rootfs::dpkg::{self, package};
use fam_rootfs::{bootloader, configure, layer, staging, unpack};
use fam_tree::{tar, tarball};

use crate::cli::log;
use crate::export;
use crate::fabric::seed;
use crate::pipeline;
use crate::plugins::{self, scaffold};
use crate::recipe::{self, load};

type Cause<'a> = &'a (dyn Error + 'static);

/// All errors with hints.
const ALL: &[Kind] = &[
    Kind::of::<cache::Error>(),
    Kind::of::<client::Error>(),
    Kind::of::<deb::Error>(),
    Kind::of::<fetch::Error>(),
    Kind::of::<http::Error>(),
    Kind::of::<index::Error>(),
    Kind::of::<keyring::Error>(),
    Kind::of::<local::Error>(),
    Kind::of::<lock::Error>(),
    Kind::of::<packages::Error>(),
    Kind::of::<policy::Error>(),
    Kind::of::<release::Error>(),
    Kind::of::<resolve::Error>(),
    Kind::of::<signature::Error>(),
    Kind::of::<space::Error>(),
    Kind::of::<fam_image::Error>(),
    Kind::of::<fam_image::qcow2::reader::Error>(),
    Kind::of::<sandbox::Error>(),
    Kind::of::<idmap::Error>(),
    Kind::of::<launch::Error>(),
    Kind::of::<output::Error>(),
    Kind::of::<supervisor::Error>(),
    Kind::of::<bootloader::Error>(),
    Kind::of::<configure::Error>(),
    Kind::of::<dpkg::Error>(),
    Kind::of::<layer::Error>(),
    Kind::of::<package::Error>(),
    Kind::of::<staging::Error>(),
    Kind::of::<unpack::Error>(),
    Kind::of::<tar::Error>(),
    Kind::of::<tarball::Error>(),
    Kind::of::<log::Error>(),
    Kind::of::<export::Error>(),
    Kind::of::<seed::Error>(),
    Kind::of::<pipeline::Error>(),
    Kind::of::<plugins::Error>(),
    Kind::of::<scaffold::Error>(),
    Kind::of::<load::Error>(),
    Kind::of::<recipe::Error>(),
];

/// A type that implements [`Hint`].
struct Kind {
    #[cfg(test)]
    name: fn() -> &'static str,
    hint: fn(Cause<'_>) -> Option<String>,
}

impl Kind {
    const fn of<T: Hint + 'static>() -> Self {
        Self {
            #[cfg(test)]
            name: std::any::type_name::<T>,
            hint: |error| find::<T>(error)?.hint(),
        }
    }
}

/// The error itself as a `T`. A source in a box is passed on with the box, which is a type of its
/// own.
fn find<T: Error + 'static>(error: Cause<'_>) -> Option<&T> {
    error.downcast_ref().or_else(|| error.downcast_ref::<Box<T>>().map(AsRef::as_ref))
}

/// The hint of `error` itself.
fn own_hint(error: Cause<'_>) -> Option<String> {
    // What plugins say is plain data for their authors, who need no trait of this program.
    let of_plugin = || find::<fam_plugin::Error>(error)?.hint();
    ALL.iter().find_map(|kind| (kind.hint)(error)).or_else(of_plugin)
}

/// What to do about `error`: raise a limit that is among the causes, or replace a broken disk; else
/// what the outermost error says that has a hint; else make room.
#[must_use]
pub fn hint(error: Cause<'_>) -> Option<String> {
    let mut causes = iter::successors(Some(error), |&error| error.source());
    let first = shortage::hint(error).map(str::to_owned);
    first.or_else(|| causes.find_map(own_hint)).or_else(|| shortage::last_hint(error).map(str::to_owned))
}

/// A run that failed by `error`, with what to do about it.
#[must_use]
pub fn failure(error: Cause<'_>) -> Failure {
    Failure::new(error, hint(error))
}

/// A request that was wrong by `error`, with what to do about it.
#[must_use]
pub fn usage(error: Cause<'_>) -> Failure {
    Failure::usage(error, hint(error))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;
    use std::path::Path;

    use super::*;

    /// Calls `visit` with the text of each file of the program, and what it is as a module.
    fn visit_sources(visit: &mut dyn FnMut(&str, &str)) {
        fn walk(path: &Path, module: &str, visit: &mut dyn FnMut(&str, &str)) {
            if path.is_dir() {
                for entry in fs_err::read_dir(path).unwrap() {
                    let path = entry.unwrap().path();
                    let name = path.file_stem().unwrap().to_str().unwrap();
                    let own = matches!(name, "mod" | "lib");
                    walk(&path, &if own { module.to_owned() } else { format!("{module}::{name}") }, visit);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                visit(&fs_err::read_to_string(path).unwrap(), module);
            }
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        walk(&root.join("src"), "fam_build", visit);
        for entry in fs_err::read_dir(root.join("crates")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            walk(&path.join("src"), &format!("fam_{name}"), visit);
        }
    }

    #[test]
    fn every_error_with_a_hint_is_listed() {
        let mut found = BTreeSet::new();
        visit_sources(&mut |text, module| {
            let implementations = text.lines().filter(|line| line.trim_start().starts_with("impl"));
            let types = implementations.filter_map(|line| line.split_once("Hint for ")?.1.split([' ', '{']).next());
            found.extend(types.map(|name| format!("{module}::{name}")));
        });
        let listed: BTreeSet<_> = ALL.iter().map(|kind| (kind.name)().to_owned()).collect();
        assert_eq!(listed, found);
        assert_eq!(listed.len(), ALL.len());
    }

    #[test]
    fn no_error_hides_one_of_ours() {
        visit_sources(&mut |text, module| {
            for line in text.split("    #[error(transparent)]\n").skip(1).filter_map(|rest| rest.lines().next()) {
                assert!(line.contains("io::Error)"), "{module}: {line}");
            }
        });
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer<T: Error + 'static>(#[source] T);

    #[test]
    fn the_outermost_error_with_a_hint_gives_it() {
        let settings = || fam_plugin::Error::setting("a", "is wrong").with_hint("write b");
        let seed_error = |number| seed::Error::Io(io::Error::from_raw_os_error(number));
        let io = |number| io::Error::from_raw_os_error(number);
        let cases: [(&(dyn Error + 'static), Option<&str>); 8] = [
            (&Outer(seed::Error::Malformed("x".into())), Some("remove x")),
            (&Outer(Box::new(seed::Error::Malformed("x".into()))), Some("remove x")),
            (&Outer(settings()), Some("write b")),
            (&plugins::Error::Failed { plugin: "p".into(), node: None, source: Box::new(settings()) }, Some("write b")),
            (&Outer(seed_error(libc::EACCES)), Some("check the permissions")),
            (&Outer(seed_error(libc::EMFILE)), Some("ulimit -n")),
            (&Outer(io(libc::EROFS)), Some("that you may write to")),
            (&Outer(io(libc::ENOENT)), None),
        ];
        for (error, expected) in cases {
            let hint = hint(error);
            assert_eq!(hint.is_some(), expected.is_some(), "{error:?}: {hint:?}");
            assert!(hint.unwrap_or_default().contains(expected.unwrap_or_default()), "{error:?}");
        }
    }
}
