//! Decides who says which name servers a guest asks: the recipe, or DHCP where nodes ask that.

use std::net::IpAddr;

use fam_plugin::{Context, Description, Error, Plugin, Result, Root, Stage};
use serde::Deserialize;

/// The built-in `resolv-conf`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResolvConf;

/// What a recipe may set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Name servers; none leaves them to DHCP, or takes those of the nodes' network where nodes have
    /// static addresses.
    pub nameservers: Vec<IpAddr>,
    /// Domains in which a short name is looked for.
    pub search: Vec<String>,
}

impl Plugin for ResolvConf {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("resolv-conf", "leaves name servers to DHCP, or fixes them")
            .at(Stage::System)
            .version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        // resolv.conf(5): MAXNS.
        if settings.nameservers.len() > 3 {
            return Err(Error::setting("nameservers", "the resolver asks three at most"));
        }
        if settings.nameservers.is_empty() && !settings.search.is_empty() {
            return Err(Error::setting("search", "has no effect without nameservers"));
        }
        let plain = |domain: &String| !domain.is_empty() && domain.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        match settings.search.iter().position(|domain| !plain(domain)) {
            Some(index) => Err(Error::setting(format!("search[{index}]"), "is no domain name")),
            None => Ok(()),
        }
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
        // What stands there is the build host's, or a link of a resolver that may not run: no guest
        // is to have it.
        root.remove("/etc/resolv.conf")?;
        let mut nameservers = settings.nameservers.clone();
        let mut text = String::new();
        if nameservers.is_empty() {
            nameservers.extend(context.facts.fabric.nameservers.iter().copied().map(IpAddr::from));
            if nameservers.len() > 1 {
                // One of them answers, and which does is known at run time alone.
                text.push_str("options timeout:1\n");
            }
        }
        if nameservers.is_empty() {
            return Ok(());
        }
        if !settings.search.is_empty() {
            text.push_str(&format!("search {}\n", settings.search.join(" ")));
        }
        for server in &nameservers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        root.write("/etc/resolv.conf", text)?;
        // DHCP clients overwrite the file unless they are told not to, each in its own way.
        if root.exists("/etc/dhcpcd.conf") {
            root.ensure_line("/etc/dhcpcd.conf", "nohook resolv.conf")?;
        }
        if root.exists("/etc/dhcp/dhclient-enter-hooks.d") {
            root.write("/etc/dhcp/dhclient-enter-hooks.d/fam-build-resolv-conf", "make_resolv_conf() { :; }\n")?;
        }
        Ok(())
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(ResolvConf);

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::RootFs;
    use fam_plugin::testing::{Harness, MemoryRoot};

    #[test]
    fn leaves_it_to_dhcp() {
        let mut image = MemoryRoot::debian();
        image.put("etc/resolv.conf", "nameserver 10.1.2.3\n", 0o644);
        Harness::new().system(&ResolvConf, &mut image).unwrap();
        assert!(image.metadata("/etc/resolv.conf".as_ref()).is_err());
    }

    #[test]
    fn names_those_of_the_network_where_no_dhcp_does() {
        let mut image = MemoryRoot::debian();
        let harness = Harness::new()
            .facts(|facts| facts.fabric.nameservers = [253, 254].map(|n| [192, 168, 42, n].into()).into());
        harness.system(&ResolvConf, &mut image).unwrap();
        assert_eq!(
            image.text("/etc/resolv.conf"),
            "options timeout:1\nnameserver 192.168.42.253\nnameserver 192.168.42.254\n"
        );
        harness.settings(r#"{ "nameservers": ["10.1.1.1"] }"#).system(&ResolvConf, &mut image).unwrap();
        assert_eq!(image.text("/etc/resolv.conf"), "nameserver 10.1.1.1\n");
    }

    #[test]
    fn fixes_servers() {
        let mut image = MemoryRoot::debian();
        image.put("etc/dhcpcd.conf", "hostname\n", 0o644);
        image.symlink("../run/resolv.conf".as_ref(), "/etc/resolv.conf".as_ref()).unwrap();
        let harness = Harness::new().settings(r#"{ "nameservers": ["192.168.42.254", "fd00::1"], "search": ["lan"] }"#);
        for _ in 0..2 {
            harness.system(&ResolvConf, &mut image).unwrap();
        }
        assert_eq!(image.text("/etc/resolv.conf"), "search lan\nnameserver 192.168.42.254\nnameserver fd00::1\n");
        assert_eq!(image.text("/etc/dhcpcd.conf"), "hostname\nnohook resolv.conf\n");
    }

    #[test]
    fn checks() {
        for bad in [
            r#"{ "nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"] }"#,
            r#"{ "search": ["lan"] }"#,
            r#"{ "nameservers": ["1.1.1.1"], "search": ["a b"] }"#,
            r#"{ "nameservers": ["example.org"] }"#,
        ] {
            assert!(Harness::new().settings(bad).check(&ResolvConf).is_err(), "{bad}");
        }
    }
}
