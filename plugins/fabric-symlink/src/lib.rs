//! Gives the shared memory a name in the guest: a symbolic link to the resource file of its PCI
//! device.
//!
//! The image says where the device is by the recipe. A unit corrects that at boot, wherever the
//! device is found: other devices or another machine type move it. A udev rule would do so earlier,
//! but may run while the root file system is still read-only; the bus is complete long before the
//! unit runs, so that nothing needs to wait for events.

use std::path::PathBuf;

use fam_plugin::{Attributes, Context, Description, Error, Plugin, Result, Root, Stage};
use serde::Deserialize;

/// The built-in `fabric-symlink`.
#[derive(Debug, Clone, Copy, Default)]
pub struct FabricSymlink;

/// What a recipe may set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// The link. `/mnt/fabric_emulation` if not set.
    pub link: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self { link: "/mnt/fabric_emulation".into() }
    }
}

const SCRIPT: &str = "/usr/local/sbin/fabric-symlink";
const UNIT: &str = "fabric-symlink.service";

impl Plugin for FabricSymlink {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("fabric-symlink", "links the shared memory into the file system")
            .at(Stage::System)
            .version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        link(settings).map(drop)
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
        let link = link(settings)?;
        if let Some(parent) = settings.link.parent() {
            root.create_dir_all(parent)?;
        }
        // BAR 2 of an ivshmem device is its memory; BAR 0 has registers.
        root.symlink(format!("/sys/bus/pci/devices/{}/resource2", context.facts.fabric.pci_address), link)?;
        root.create_dir_all("/usr/local/sbin")?;
        root.write_with(SCRIPT, include_str!("fabric-symlink.sh").replace("@LINK@", link), Attributes::mode(0o755))?;
        root.create_dir_all("/etc/systemd/system")?;
        root.write(format!("/etc/systemd/system/{UNIT}"), include_str!("fabric-symlink.service"))?;
        keep_memory_shared(root)?;
        root.enable_unit(UNIT, "multi-user.target")
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(FabricSymlink);

/// Where the tools of NVDIMM and CXL are installed: their monitors do not start, as they would fail
/// without a device that reports its health; and the kernel does not take the memory of a CXL
/// device for its own.
fn keep_memory_shared(root: &mut Root<'_>) -> Result<()> {
    for monitor in ["ndctl-monitor.service", "cxl-monitor.service"] {
        if root.exists(format!("/usr/lib/systemd/system/{monitor}")) {
            // As `systemctl mask` does it: so nothing else starts them, either.
            root.symlink("/dev/null", format!("/etc/systemd/system/{monitor}"))?;
        }
    }
    if root.exists("/usr/bin/cxl") {
        root.create_dir_all("/etc/modprobe.d")?;
        root.write("/etc/modprobe.d/fabric-symlink.conf", include_str!("modprobe.conf"))?;
    }
    Ok(())
}

/// The link as text that the script can hold as it is.
fn link(settings: &Settings) -> Result<&str> {
    let plain = |text: &&str| {
        text.starts_with('/')
            && !text.ends_with('/')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
    };
    settings
        .link
        .to_str()
        .filter(plain)
        .ok_or_else(|| Error::setting("link", "is no absolute path of plain letters, digits and ._-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::testing::{Harness, MemoryRoot};
    use fam_plugin::{FileType, RootFs};

    #[test]
    fn links_the_device_and_enables_the_unit() {
        let mut image = MemoryRoot::debian();
        for _ in 0..2 {
            Harness::new().system(&FabricSymlink, &mut image).unwrap();
        }
        for (link, target) in [
            ("/mnt/fabric_emulation", "/sys/bus/pci/devices/0000:00:04.0/resource2"),
            (
                "/etc/systemd/system/multi-user.target.wants/fabric-symlink.service",
                "/etc/systemd/system/fabric-symlink.service",
            ),
        ] {
            assert_eq!(image.metadata(link.as_ref()).unwrap().file_type, FileType::Symlink(target.into()));
        }
        assert_eq!(image.metadata(SCRIPT.as_ref()).unwrap().mode, 0o755);
        assert!(image.text(SCRIPT).contains("\nlink=/mnt/fabric_emulation\n"));
    }

    #[test]
    fn takes_another_link() {
        let mut image = MemoryRoot::debian();
        let harness = Harness::new().settings(r#"{ "link": "/srv/memory/shared" }"#);
        harness.system(&FabricSymlink, &mut image).unwrap();
        assert!(image.metadata("/srv/memory/shared".as_ref()).is_ok());
        for bad in ["", "memory", "/a b", "/$(reboot)", "/a/"] {
            let settings = format!("{{ \"link\": {bad:?} }}");
            assert!(Harness::new().settings(&settings).check(&FabricSymlink).is_err(), "{bad}");
        }
    }
}
