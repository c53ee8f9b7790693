//! The logins of a run: gathered before it begins, from all that names some.

use std::path::Path;

use fam_archive::credentials::Logins;
use fam_archive::lock::Lock;

use super::archives::{host_security, mirror};
use super::further_archives::further_archives;
use crate::recipe::{Security, Settings};

/// Where apt of this host keeps logins.
const APT: &str = "/etc/apt";

/// All logins that a run with these settings knows: those of URLs that options, environment and the
/// host's apt sources name, those of netrc and of apt, and those of an old lock.
#[must_use]
pub fn logins(settings: &Settings, lock: Option<&Lock>) -> Logins {
    let mut logins = Logins::default();
    logins.add_mirror(&mirror(settings).0);
    match &settings.security.value {
        Security::Archive(url) => logins.add_mirror(url),
        Security::Find => host_security(settings).iter().for_each(|url| logins.add_mirror(url)),
        Security::None => {}
    }
    // Where they cannot be read, that is said when they are needed.
    for archive in further_archives(settings).unwrap_or_default() {
        archive.url.iter().for_each(|url| logins.add_mirror(url));
    }
    if let Some(lock) = lock {
        lock.mirrors().for_each(|url| logins.add_locked(url));
    }
    for proxy in settings.http_proxy.iter().chain(&settings.https_proxy.value) {
        logins.add_proxy(proxy);
    }
    if let Some(netrc) = &settings.netrc.value {
        logins.add_netrc(netrc);
    }
    logins.add_apt(Path::new(APT));
    logins
}
