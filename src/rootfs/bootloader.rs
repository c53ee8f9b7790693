//! GRUB in the new system, for BIOS and UEFI: what `grub-install` and a first `update-grub` would
//! leave, without a disk.
//!
//! Both tools ask the disk they run from, and there is none yet. So the target's own `grub-mkimage`
//! makes the core images, and the first grub.cfg is ours: it names the kernel by the links
//! `/vmlinuz` and `/initrd.img`, which Debian keeps on the newest one, and the root file system by
//! its label. `update-grub` in the guest replaces it at the next kernel upgrade; /etc/default/grub
//! holds the same choices for it. What becomes of the files on the disk is for `crate::image`.

use super::sandbox::{self, Command, Sandbox};
use super::staging::{Staging, StagingError};
use crate::progress::Progress;
use crate::tree::{InvalidPath, RootPath};

/// The label of the EFI system partition, as `crate::image` writes it.
const ESP_LABEL: &str = "EFI";
const INSTALL: &str = include_str!("grub.sh");

/// What the boot loader has to know.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Label of the root file system.
    pub root_label: &'a str,
    /// Number of the root partition, from 1.
    pub root_partition: u32,
    /// What the kernel is told beside the root file system.
    pub command_line: &'a str,
}

/// Why the boot loader could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the new system.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// A program of GRUB failed.
    #[error("install GRUB in the new system: {ended}{}", lines.iter().map(|line| format!("\n  {line}")).collect::<String>())]
    Failed {
        /// How it ended.
        ended: String,
        /// The last that it printed.
        lines: Vec<String>,
    },
    /// A path of this module is malformed, which would be a fault of it.
    #[error(transparent)]
    Path(#[from] InvalidPath),
}

impl Error {
    /// What the user should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Staging(error) => error.hint(),
            Self::Sandbox(error) => error.hint(),
            Self::Failed { .. } => {
                Some("the recipe needs grub2-common with grub-pc-bin or grub-efi-amd64-bin, of the same version".into())
            }
            Self::Path(_) => None,
        }
    }
}

/// Writes /etc/fstab, and sets GRUB up where the new system has it. Says whether it has.
///
/// # Errors
/// [`Error`].
pub fn install(
    staging: &Staging,
    sandbox: &mut Sandbox,
    settings: &Settings<'_>,
    progress: &Progress,
) -> Result<bool, Error> {
    let has_grub =
        staging.exists(&RootPath::new("usr/bin/grub-mkimage")?)? && staging.exists(&RootPath::new("usr/lib/grub")?)?;
    staging.create_dir_all(&RootPath::new("boot/efi")?)?;
    staging.write(&RootPath::new("etc/fstab")?, fstab(settings).as_bytes(), 0o644)?;
    if !has_grub {
        return Ok(false);
    }
    let mut lines = sandbox::Tail::default();
    let command =
        Command::new("/bin/sh").args(["-ec", INSTALL]).env("ROOT_PARTITION", settings.root_partition.to_string());
    let ended = sandbox.run(&command, |line| {
        lines.push(line);
        progress.output("grub", line);
    });
    let failed = match ended {
        Ok(ended) => (!ended.success()).then(|| ended.to_string()),
        Err(error @ (sandbox::Error::TooSlow { .. } | sandbox::Error::Silent { .. })) => Some(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    if let Some(ended) = failed {
        return Err(Error::Failed { ended, lines: lines.into_lines() });
    }
    staging.write(&RootPath::new("boot/grub/grubenv")?, empty_environment().as_bytes(), 0o644)?;
    staging.write(&RootPath::new("boot/grub/grub.cfg")?, grub_cfg(settings).as_bytes(), 0o644)?;
    staging.write(&RootPath::new("etc/default/grub")?, default_grub(settings).as_bytes(), 0o644)?;
    Ok(true)
}

fn fstab(settings: &Settings<'_>) -> String {
    format!(
        "# file system\tmount point\ttype\toptions\tdump\tpass\n\
         LABEL={root}\t/\text4\terrors=remount-ro\t0\t1\n\
         LABEL={ESP_LABEL}\t/boot/efi\tvfat\tumask=0077,nofail\t0\t0\n",
        root = settings.root_label
    )
}

fn grub_cfg(settings: &Settings<'_>) -> String {
    format!(
        r"# Written when the image was built. update-grub replaces it.
if [ -s $prefix/grubenv ]; then
  load_env
fi
set default=0
set timeout=1
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
menuentry 'Debian GNU/Linux' --class debian --class gnu-linux --class os {{
  linux /vmlinuz root=LABEL={root} ro {command_line}
  initrd /initrd.img
}}
",
        root = settings.root_label,
        command_line = settings.command_line
    )
}

/// What `grub-editenv create` writes. From GRUB 2.14 on that asks for the file system that it
/// writes to, which the sandbox does not have.
fn empty_environment() -> String {
    const BYTES: usize = 1024;
    let head = "# GRUB Environment Block\n# WARNING: Do not edit this file by tools other than grub-editenv!!!\n";
    format!("{head:#<BYTES$}")
}

fn default_grub(settings: &Settings<'_>) -> String {
    format!(
        r#"# Settings of update-grub; see `info -f grub -n 'Simple configuration'`.
GRUB_DEFAULT=0
GRUB_TIMEOUT=1
GRUB_DISTRIBUTOR="Debian"
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="{command_line}"
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_DISABLE_OS_PROBER=true
"#,
        command_line = settings.command_line
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_has_the_size_of_a_block() {
        let environment = empty_environment();
        assert_eq!(environment.len(), 1024);
        assert!(environment.contains("grub-editenv!!!\n####") && environment.ends_with("####"), "{environment}");
    }

    #[test]
    fn all_files_name_the_same_root() {
        let settings = Settings { root_label: "fabric", root_partition: 3, command_line: "console=ttyS0" };
        assert!(fstab(&settings).contains("LABEL=fabric\t/\text4"));
        assert!(grub_cfg(&settings).contains("linux /vmlinuz root=LABEL=fabric ro console=ttyS0\n"));
        assert!(default_grub(&settings).contains("GRUB_CMDLINE_LINUX=\"console=ttyS0\"\n"));
    }
}
