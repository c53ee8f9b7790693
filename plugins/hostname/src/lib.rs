//! Gives each node its host name in /etc/hostname.

use fam_plugin::{Context, Description, Error, Node, Plugin, Result, Root, Stage};

/// The built-in `hostname`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hostname;

impl Plugin for Hostname {
    type Settings = ();

    fn describe(&self) -> Description {
        Description::new("hostname", "gives each node its host name").at(Stage::Node).version(env!("CARGO_PKG_VERSION"))
    }

    fn apply_node(&self, (): &(), root: &mut Root<'_>, node: &Node, _: &Context) -> Result<()> {
        check(&node.name)?;
        root.write("/etc/hostname", format!("{}\n", node.name))
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(Hostname);

/// Checks a host name of one label, as RFC 1123 section 2.1 and Linux (64 bytes, less by RFC 1035)
/// allow it.
fn check(name: &str) -> Result<()> {
    let inner = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if inner && !name.is_empty() && name.len() <= 63 && !name.starts_with('-') && !name.ends_with('-') {
        Ok(())
    } else {
        Err(Error::failed(format!("{name:?} is no usable host name")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::testing::{Harness, MemoryRoot};

    #[test]
    fn names_each_node() {
        for number in [1, 4] {
            let mut image = MemoryRoot::debian();
            Harness::new().node(&Hostname, number, &mut image).unwrap();
            assert_eq!(image.text("/etc/hostname"), format!("fabric{number}\n"));
        }
    }

    #[test]
    fn refuses_what_is_no_host_name() {
        for name in ["", "-a", "a-", "a.b", "a\nb", "a b", &"a".repeat(64)] {
            let harness = Harness::new().facts(|facts| facts.nodes[0].name = name.into());
            assert!(harness.node(&Hostname, 1, &mut MemoryRoot::debian()).is_err(), "{name:?}");
        }
    }
}
