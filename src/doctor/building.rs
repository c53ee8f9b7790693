//! What a build needs of the host: ids and namespaces, room on disk and in memory, a cache, and a
//! mirror that answers.

use std::iter;
use std::path::Path;
use std::time::Duration;

use fam_archive::http::{self, Http};
use fam_archive::signature::MAX_SIGNED_BYTES;
use fam_host::space::{available_memory, free_space};
use fam_isolation::supervisor::{
    Ids, Inactive, Isolation, OutputLock, Protection, check_output, idmap, nearest_writable, programs_ids,
};

use super::{Findings, mebibytes};
use crate::hints;
use crate::pipeline;
use crate::recipe::Settings;
use crate::report::{Finding, Purpose};

/// What the packages of the default recipe take when they are installed: the measure until the
/// indexes are read.
const TYPICAL_INSTALLED_BYTES: u64 = 900 << 20;
/// What the packages of the default recipe take in the cache.
const TYPICAL_CACHE_BYTES: u64 = 350 << 20;
/// Room in memory for the staging tree and the work on it; with less, the tree goes to the disk.
/// As `pipeline::template` reckons it.
const STAGING_MEMORY_BYTES: u64 = TYPICAL_INSTALLED_BYTES / 4 * 5 + (700 << 20);
/// How long the mirror may take to answer. A build waits longer, and tries again.
const MIRROR_TIMEOUT: Duration = Duration::from_secs(15);

/// Examines the host for a build.
pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings = Findings::new(Purpose::Build);
    if settings.from_tarball.is_some() {
        findings.ok("ids", "none are needed for images of a tarball");
    } else {
        isolation(&mut findings);
        memory(&mut findings);
    }
    output(&mut findings, settings);
    if settings.from_tarball.is_none() {
        cache(&mut findings, &settings.cache_dir);
        mirror(&mut findings, settings);
        local_packages(&mut findings, settings);
    }
    findings.all
}

fn isolation(findings: &mut Findings) {
    match Ids::detect() {
        Ok(ids) => findings.ok("ids", ids.describe()),
        Err(error) => {
            let what = match error {
                idmap::Error::NoHelper { .. } | idmap::Error::HelperWithoutPrivilege { .. } => "newuidmap",
                _ => "ids",
            };
            findings.fault(what, error.to_string(), hints::hint(&error));
            // Also tries what a build needs next, so that both faults can be changed at once.
            match Isolation::try_namespaces() {
                Ok(()) => findings.ok("namespaces", "this user may make user, mount, PID, IPC and UTS namespaces"),
                Err(error) => findings.fault("namespaces", error.to_string(), hints::hint(&error)),
            }
            return;
        }
    }
    match Isolation::detect() {
        Ok(isolation) => {
            findings.ok("namespaces", "a trial in new namespaces did all that a build does");
            for Protection { what, state } in iter::once(programs_ids()).chain(isolation.protections()) {
                match state {
                    Ok(detail) => findings.ok(what, detail),
                    Err(Inactive { why, hint }) => findings.warning(what, why, hint),
                }
            }
        }
        Err(error) => findings.fault("namespaces", error.to_string(), hints::hint(&error)),
    }
}

fn memory(findings: &mut Findings) {
    const WHAT: &str = "memory";
    match available_memory() {
        None => findings.warning(WHAT, "/proc/meminfo does not say how much is available", "mount /proc"),
        Some(bytes) if bytes < STAGING_MEMORY_BYTES => findings.warning(
            WHAT,
            format!(
                "{} are available; a build of the default recipe works on the disk with less than {}",
                mebibytes(bytes),
                mebibytes(STAGING_MEMORY_BYTES)
            ),
            format!(
                "end other programs, or leave another {} free in the output directory",
                mebibytes(TYPICAL_INSTALLED_BYTES / 4 * 5)
            ),
        ),
        Some(bytes) => findings.ok(WHAT, format!("{} are available", mebibytes(bytes))),
    }
}

fn output(findings: &mut Findings, settings: &Settings) {
    const WHAT: &str = "output directory";
    let place = settings.output.display();
    let there = match check_output(&settings.output) {
        Ok(there) => there,
        Err(error) => return findings.fault(WHAT, error.to_string(), hints::hint(&error)),
    };
    if OutputLock::is_held(&settings.output) {
        findings.warning(
            WHAT,
            format!("another fam-build is working in {place}"),
            "wait for it, or take another: --output DIR",
        );
        return;
    }
    let free = match free_space(&there) {
        Ok(free) => free,
        Err(error) => return findings.fault(WHAT, error.to_string(), hints::hint(&error)),
    };
    if let Some(tarball) = &settings.from_tarball.value {
        return match pipeline::require_room_for_images(&there, tarball, settings) {
            Ok(()) => findings.ok(WHAT, format!("{place} may be written, and has {} free", mebibytes(free))),
            Err(error) => findings.fault(WHAT, error.to_string(), hints::hint(&error)),
        };
    }
    let needed = pipeline::bytes_written(settings, TYPICAL_INSTALLED_BYTES);
    let elsewhere = "choose a directory on a disk with more room: --output DIR";
    if free < pipeline::LEAST_BYTES {
        findings.fault(
            WHAT,
            format!("{place} has {} free, less than any build takes", mebibytes(free)),
            Some(elsewhere.into()),
        );
    } else if free < needed {
        let nodes = settings.recipe.nodes.count.value;
        let detail = format!(
            "{place} has {} free; with the packages of the default recipe, {nodes} nodes take {}",
            mebibytes(free),
            mebibytes(needed)
        );
        findings.warning(WHAT, detail, elsewhere);
    } else if is_in_memory(&there) {
        findings.warning(WHAT, format!("{place} is in memory, which the images will fill"), elsewhere);
    } else {
        findings.ok(WHAT, format!("{place} may be written, and has {} free", mebibytes(free)));
    }
}

fn is_in_memory(path: &Path) -> bool {
    /// As linux/magic.h defines it.
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|status| status.f_type == TMPFS_MAGIC)
}

fn cache(findings: &mut Findings, directory: &Path) {
    const WHAT: &str = "cache";
    const ELSEWHERE: &str = "name a directory that you may write, on a disk with room: --cache-dir DIR";
    let place = directory.display();
    let free = nearest_writable(directory).map_err(|error| error.to_string());
    let free = free.and_then(|there| free_space(&there).map_err(|error| error.to_string()));
    match free {
        Err(error) => findings.fault(WHAT, error, Some(ELSEWHERE.to_owned())),
        Ok(free) if free < TYPICAL_CACHE_BYTES => findings.warning(
            WHAT,
            format!(
                "{place} has {} free; the packages of the default recipe take {}",
                mebibytes(free),
                mebibytes(TYPICAL_CACHE_BYTES)
            ),
            ELSEWHERE,
        ),
        Ok(free) => findings.ok(WHAT, format!("{place} may be written, and has {} free", mebibytes(free))),
    }
}

fn mirror(findings: &mut Findings, settings: &Settings) {
    const WHAT: &str = "mirror";
    let (mirror, origin) = pipeline::mirror(settings);
    let suite = &settings.recipe.suite.value;
    let mut options = pipeline::http_options(settings, &pipeline::logins(settings, None));
    (options.connect_timeout, options.stall_timeout, options.attempts) = (MIRROR_TIMEOUT, MIRROR_TIMEOUT, 1);
    let place = format!("{mirror} ({origin})");
    // No server is asked for what is in a directory.
    let answers = if mirror.is_file() { "is here" } else { "answers" };
    match Http::new(options).and_then(|http| has_release(&http, &format!("{mirror}/dists/{suite}"))) {
        Ok(true) => findings.ok(WHAT, format!("{place} {answers}, and has {suite}")),
        Ok(false) => findings.fault(
            WHAT,
            format!("{place} {answers}, but has no suite {suite}"),
            Some("name a mirror, the directory that has dists in it: --mirror http://HOST/debian".into()),
        ),
        Err(error) => findings.fault(WHAT, format!("{place}: {error}"), hints::hint(&error)),
    }
}

fn local_packages(findings: &mut Findings, settings: &Settings) {
    const WHAT: &str = "local packages";
    match pipeline::local_packages(settings) {
        Ok(packages) if packages.is_empty() => {}
        Ok(packages) => {
            let names: Vec<_> =
                packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
            findings.ok(WHAT, names.join(", "));
        }
        Err(error) => findings.fault(WHAT, error.to_string(), hints::hint(&error)),
    }
}

/// Whether a suite has a Release file. It is fetched, since [`Http::exists`] says no where a mirror
/// asks for a login.
fn has_release(http: &Http, suite_url: &str) -> Result<bool, http::Error> {
    for name in ["InRelease", "Release"] {
        if http.get(&format!("{suite_url}/{name}"), MAX_SIGNED_BYTES)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
