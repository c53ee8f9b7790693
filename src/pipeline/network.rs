//! What a plugin's programs find of the host's network where the recipe gives it to them, and how a
//! run says that what they do is not the same in each build.

use fam_isolation::sandbox::{Network, RESOLV_CONF};
use fam_progress::Progress;

use crate::plugins::PluginPlan;
use crate::recipe::Settings;

/// The servers of names of this host, and the proxies of this run, without their logins: no plugin
/// gets those.
pub(super) fn of_host(settings: &Settings) -> Network {
    let proxies = [
        (["http_proxy", "HTTP_PROXY"], settings.http_proxy.as_ref().map(ToString::to_string)),
        (["https_proxy", "HTTPS_PROXY"], settings.https_proxy.as_ref().map(ToString::to_string)),
        (["no_proxy", "NO_PROXY"], settings.no_proxy.value.clone()),
    ];
    let environment = proxies.into_iter().filter_map(|(names, value)| Some((names, value?)));
    // Programs differ in which of the two they read.
    let environment = environment.flat_map(|(names, value)| names.map(|name| (name.to_owned(), value.clone())));
    Network { resolv_conf: fs_err::read_to_string(RESOLV_CONF).ok(), environment: environment.collect() }
}

/// The plugins of a run that have the network.
pub(super) fn networked(settings: &Settings, plugins: &PluginPlan) -> Vec<String> {
    // Nothing is run on a system that is there already.
    if settings.from_tarball.is_some() { Vec::new() } else { plugins.networked() }
}

/// Warns of plugins that have the network.
pub(super) fn warn(networked: &[String], progress: &Progress) {
    if networked.is_empty() {
        return;
    }
    progress.warning(
        format!("this build is not reproducible: the recipe gives the network to {}", networked.join(", ")),
        Some("what is fetched there is neither checked nor locked by fam-build; a .deb file in `include` is".into()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Environment, Flags};

    #[test]
    fn proxies_come_without_their_logins() {
        let flags = Flags {
            recipe: Some("minimal".into()),
            proxy: Some("http://ann:secret@proxy.example:3128".parse().unwrap()),
            ..Flags::default()
        };
        let settings = Settings::new(flags, &Environment::default()).unwrap();
        let Network { environment, .. } = of_host(&settings);
        let shown: Vec<_> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let of = |name: &str| format!("{name}=http://proxy.example:3128");
        assert_eq!(shown, ["HTTPS_PROXY", "HTTP_PROXY", "http_proxy", "https_proxy"].map(of));
    }
}
