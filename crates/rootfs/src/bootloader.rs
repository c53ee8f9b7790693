//! GRUB in the new system, for BIOS and UEFI: what `grub-install` and a first `update-grub` would
//! leave, without a disk.
//!
//! Both tools ask the disk they run from, and there is none yet. So the target's own `grub-mkimage`
//! makes the core images, and the first grub.cfg is ours: it names the kernel by the links
//! `/vmlinuz` and `/initrd.img`, which Debian keeps on the newest one, and the root file system by
//! its UUID: another disk of the machine may well have the same label. `update-grub` in the guest
//! replaces it at the next kernel upgrade; /etc/default/grub holds the same choices for it. What
//! becomes of the files on the disk is for `fam_image`.
//!
//! Where the system has Debian's signed shim and GRUB, the ESP has these in place of a core image,
//! so that the disk boots with Secure Boot. The signed GRUB reads a grub.cfg of the ESP
//! (in [`SIGNED`]), which leads it to the usual one.
//!
//! All of it is there before plugins act ([`install`], [`configure`]), and what they make of it stays. Settings of
//! GRUB that they or packages add ([`has_further_settings`]) take effect at once ([`make_config`]), by the
//! target's own `grub-mkconfig`, to which [stand-ins](stand_ins) answer for the disk.

use fam_isolation::sandbox::{self, Command, Sandbox, StandIn};
use fam_plugin::{Attributes, Root};
use fam_progress::{Hint, Progress};
use fam_tree::{InvalidPath, RootPath};

use super::growth;
use super::staging::{self, Staging};

const INSTALL: &str = include_str!("grub.sh");
const PROBE: &str = include_str!("grub_probe.sh");

/// Where GRUB is there, these are.
const MKIMAGE: &str = "usr/bin/grub-mkimage";
const MODULES: &str = "usr/lib/grub";

const FSTAB: &str = "etc/fstab";
const GRUB_CFG: &str = "boot/grub/grub.cfg";
/// Where the signed GRUB looks for its grub.cfg, which is built into it.
const SIGNED: &str = "boot/efi/EFI/debian";
const DEFAULTS: &str = "etc/default/grub";
/// Files of this directory whose names end in `.cfg` come after [`DEFAULTS`].
const MORE_DEFAULTS: &str = "etc/default/grub.d";

/// What the boot loader has to know.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// UUID of the root file system.
    pub root_uuid: &'a str,
    /// UUID of the EFI system partition's file system, as Linux shows a FAT's volume id.
    pub esp_uuid: &'a str,
    /// What the kernel is told beside the root file system.
    pub command_line: &'a str,
    /// Whether the root file system grows with its partition when it is mounted.
    pub grows: bool,
    /// Lines of /etc/fstab for what there is beside the root file system and the ESP.
    pub more_fstab: &'a str,
}

/// Why the boot loader could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the new system.
    #[error("{0}")]
    Staging(#[from] staging::Error),
    /// A file of the new system, when packages are configured.
    #[error("{0}")]
    File(#[from] fam_plugin::Error),
    /// The sandbox.
    #[error("{0}")]
    Sandbox(#[from] sandbox::Error),
    /// A program of GRUB failed.
    #[error("{action} in the new system: {ended}{}", lines.iter().map(|line| format!("\n  {line}")).collect::<String>())]
    Failed {
        /// What it was run for.
        action: &'static str,
        /// How it ended.
        ended: String,
        /// The last that it printed.
        lines: Vec<String>,
    },
    /// A plugin left an /etc/fstab that the system cannot boot with.
    #[error("/etc/fstab of the new system names no file system for /")]
    NoRoot {
        /// The line that it should have.
        line: String,
    },
    /// A path of this module is malformed, which would be a fault of it.
    #[error("{0}")]
    Path(#[from] InvalidPath),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { action: CONFIGURE, .. } => Some(
                "see what packages and plugins put into /etc/default/grub, /etc/default/grub.d and /etc/grub.d".into(),
            ),
            Self::NoRoot { line } => Some(format!("have the plugin that writes it keep the line `{line}`")),
            Self::Failed { .. } => {
                Some("the recipe needs grub2-common with grub-pc-bin or grub-efi-amd64-bin, of the same version".into())
            }
            Self::Staging(_) | Self::File(_) | Self::Sandbox(_) | Self::Path(_) => None,
        }
    }
}

const INSTALL_GRUB: &str = "install GRUB";
const CONFIGURE: &str = "make grub.cfg";

/// Puts GRUB's own files in their places, where the new system has it. They depend on no setting but the
/// number of the root partition, from 1.
///
/// # Errors
/// [`Error`].
pub fn install(
    staging: &Staging,
    enter: impl FnOnce() -> Result<Sandbox, sandbox::Error>,
    root_partition: u32,
    progress: &Progress,
) -> Result<(), Error> {
    // A system without GRUB has the ESP, too.
    staging.create_dir_all(&RootPath::new("boot/efi")?)?;
    if !(staging.exists(&RootPath::new(MKIMAGE)?)? && staging.exists(&RootPath::new(MODULES)?)?) {
        return Ok(());
    }
    let mut sandbox = enter()?;
    let command = Command::new("/bin/sh").args(["-ec", INSTALL]).env("ROOT_PARTITION", root_partition.to_string());
    run(&mut sandbox, INSTALL_GRUB, &command, progress)?;
    sandbox.leave()?;
    Ok(staging.write(&RootPath::new("boot/grub/grubenv")?, empty_environment().as_bytes(), 0o644)?)
}

/// Writes /etc/fstab, and what GRUB has to know where the new system [has](install) it.
///
/// # Errors
/// [`Error`].
pub fn configure(root: &mut Root<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    // A system without GRUB is booted in another way, and yet mounts its disks by this table.
    let mut files = vec![(FSTAB.to_owned(), fstab(settings))];
    if has_grub(root) {
        files.push((GRUB_CFG.into(), grub_cfg(settings)));
        files.push((DEFAULTS.into(), default_grub(settings)));
        if is_directory(root, SIGNED) {
            files.push((format!("{SIGNED}/grub.cfg"), signed_cfg(settings)));
        }
    }
    for (path, text) in files {
        root.write_with(path, text, Attributes::mode(0o644).owner(0, 0))?;
    }
    Ok(())
}

/// What programs of the new system find in place of grub-probe and grub-mkrelpath, which would look
/// for the disk that they run from, and for what of it is mounted: the UUID and the label of the root file
/// system are these.
#[must_use]
pub fn stand_ins(root_uuid: &str, root_label: &str) -> [StandIn; 2] {
    let stand_in = |path: &str, content| StandIn { path: path.into(), content, even_if_missing: false };
    // All of the tree is one file system, so the path in it is the path that was asked for: the
    // last argument, which `last` holds when the loop is through.
    let path_of_file_system = "#!/bin/sh\nfor last do :; done\nprintf '%s\\n' \"$last\"\n";
    [
        stand_in("/usr/sbin/grub-probe", PROBE.replace("@UUID@", root_uuid).replace("@LABEL@", root_label)),
        stand_in("/usr/bin/grub-mkrelpath", path_of_file_system.into()),
    ]
}

/// Checks the /etc/fstab that plugins may have changed.
///
/// # Errors
/// [`Error::NoRoot`]; [`Error::File`] where it cannot be read.
pub fn check_fstab(root: &Root<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    if mounts_root(&text(root, FSTAB)?) {
        return Ok(());
    }
    Err(Error::NoRoot { line: root_line(settings).replace('\t', " ") })
}

/// Whether packages or plugins have settings of GRUB that its grub.cfg does not know of. One that a plugin
/// made itself is as it is to be.
///
/// # Errors
/// [`Error::File`].
pub fn has_further_settings(root: &Root<'_>, settings: &Settings<'_>) -> Result<bool, Error> {
    let is_ours = text(root, GRUB_CFG)? == grub_cfg(settings);
    let has_settings = text(root, DEFAULTS)? != default_grub(settings) || has_more_defaults(root)?;
    Ok(has_grub(root) && is_ours && has_settings)
}

/// Makes grub.cfg anew, in a sandbox with [`stand_ins`].
///
/// # Errors
/// [`Error`].
pub fn make_config(enter: impl FnOnce() -> Result<Sandbox, sandbox::Error>, progress: &Progress) -> Result<(), Error> {
    let mut sandbox = enter()?;
    let command = Command::new("/usr/sbin/grub-mkconfig").args(["-o", "/boot/grub/grub.cfg"]);
    run(&mut sandbox, CONFIGURE, &command, progress)?;
    Ok(sandbox.leave()?)
}

fn has_grub(root: &Root<'_>) -> bool {
    root.exists(MKIMAGE) && root.exists(MODULES)
}

fn is_directory(root: &Root<'_>, path: &str) -> bool {
    root.metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn has_more_defaults(root: &Root<'_>) -> Result<bool, Error> {
    let is_file_of_settings = |name: &std::ffi::OsString| name.as_encoded_bytes().ends_with(b".cfg");
    Ok(is_directory(root, MORE_DEFAULTS) && root.list(MORE_DEFAULTS)?.iter().any(is_file_of_settings))
}

/// The text of a file; empty where there is none.
fn text(root: &Root<'_>, path: &str) -> Result<String, Error> {
    match root.read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.is_not_found() => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}

fn run(sandbox: &mut Sandbox, action: &'static str, command: &Command, progress: &Progress) -> Result<(), Error> {
    let mut lines = sandbox::Tail::default();
    let ended = sandbox.run(command, |line| {
        lines.push(line);
        progress.output("grub", line);
    });
    let failed = match ended {
        Ok(ended) => (!ended.success()).then(|| ended.to_string()),
        // A program that had to be ended failed like one that ended by itself, and its lines may
        // say why. Any other error is the sandbox's.
        Err(error @ (sandbox::Error::TooSlow { .. } | sandbox::Error::Silent { .. })) => Some(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    match failed {
        Some(ended) => Err(Error::Failed { action, ended, lines: lines.into_lines() }),
        None => Ok(()),
    }
}

/// Whether a table of file systems has one for the root directory (fstab(5)).
fn mounts_root(fstab: &str) -> bool {
    let mut lines = fstab.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.any(|line| line.split_whitespace().nth(1) == Some("/"))
}

fn root_line(settings: &Settings<'_>) -> String {
    let more = if settings.grows { format!(",{}", growth::FSTAB_OPTION) } else { String::new() };
    format!("UUID={}\t/\text4\terrors=remount-ro{more}\t0\t1", settings.root_uuid)
}

fn fstab(settings: &Settings<'_>) -> String {
    format!(
        "# file system\tmount point\ttype\toptions\tdump\tpass\n\
         {root}\n\
         UUID={esp}\t/boot/efi\tvfat\tumask=0077,nofail\t0\t0\n\
         {more}",
        root = root_line(settings),
        esp = settings.esp_uuid,
        more = settings.more_fstab,
    )
}

fn grub_cfg(settings: &Settings<'_>) -> String {
    format!(
        // There is no `search`: the prefix in the core image has set GRUB's root to the partition
        // that this file was read from, and /vmlinuz is looked for there.
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
  linux /vmlinuz root=UUID={root} ro {command_line}
  initrd /initrd.img
}}
",
        root = settings.root_uuid,
        command_line = settings.command_line
    )
}

/// What `grub-install` writes, for a root whose place it cannot tell.
fn signed_cfg(settings: &Settings<'_>) -> String {
    format!("search.fs_uuid {} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n", settings.root_uuid)
}

/// What `grub-editenv create` writes. From GRUB 2.14 on that asks for the file system that it
/// writes to, which the sandbox does not have.
fn empty_environment() -> String {
    // GRUB writes the block to the sectors that it lies in, since it cannot make a file longer. So
    // it has its full size from the start, filled with `#`.
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
    fn a_table_has_a_root_or_not() {
        for (fstab, expected) in [
            ("LABEL=x / ext4 defaults 0 1\n", true),
            ("# comment\n/dev/vda3\t/\text4\n", true),
            ("  overlay / overlay\n", true),
            ("#LABEL=x / ext4 defaults 0 1\n", false),
            ("LABEL=x /boot ext4 defaults 0 1\n", false),
            ("/ ext4\n", false),
            ("", false),
        ] {
            assert_eq!(mounts_root(fstab), expected, "{fstab:?}");
        }
    }

    #[test]
    fn all_files_name_the_same_root() {
        let settings = Settings {
            root_uuid: "0-1-2",
            esp_uuid: "AB-CD",
            command_line: "console=ttyS0",
            grows: true,
            more_fstab: "UUID=3\tnone\tswap\tsw\t0\t0\n",
        };
        assert!(fstab(&settings).contains("UUID=0-1-2\t/\text4"));
        assert!(fstab(&settings).contains("UUID=AB-CD\t/boot/efi"));
        assert!(fstab(&settings).contains("\terrors=remount-ro,x-systemd.growfs\t0\t1\n"));
        assert!(fstab(&settings).ends_with("\nUUID=3\tnone\tswap\tsw\t0\t0\n"));
        assert!(fstab(&Settings { grows: false, ..settings }).contains("\terrors=remount-ro\t0\t1\n"));
        assert!(mounts_root(&fstab(&settings)));
        assert!(stand_ins("0-1-2", "fabric")[0].content.contains("device) echo UUID=0-1-2 ;;"));
        assert!(signed_cfg(&settings).starts_with("search.fs_uuid 0-1-2 root\n"));
        assert!(grub_cfg(&settings).contains("linux /vmlinuz root=UUID=0-1-2 ro console=ttyS0\n"));
        assert!(default_grub(&settings).contains("GRUB_CMDLINE_LINUX=\"console=ttyS0\"\n"));
    }
}
