//! Settings of sshd, keys that may log in, and where host keys come from.

use std::collections::BTreeMap;

use fam_plugin::{Command, Context, Description, Error, Plugin, RecipeFiles, Result, Root, Stage};
use serde::Deserialize;

mod options;

pub use options::OptionValue;

/// The built-in `ssh`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ssh;

/// What a recipe may set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Options of `sshd_config(5)`, by keyword.
    pub options: BTreeMap<String, OptionValue>,
    /// Files of public keys, and whom they open.
    pub authorized_keys: Vec<AuthorizedKeys>,
    /// Where host keys come from.
    pub host_keys: HostKeys,
}

/// Public keys of one user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuthorizedKeys {
    /// Who may log in by them.
    pub user: String,
    /// A file of them beside the recipe, as `id_ed25519.pub`.
    pub file: RecipeFiles,
}

/// Where host keys come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeys {
    /// Whatever other plugins and packages do: `identity` gives each node its own, derived from the
    /// seed.
    #[default]
    Keep,
    /// Each machine makes its own when it first starts, and no image holds any.
    FirstBoot,
}

const SSHD: &str = "/usr/sbin/sshd";
/// Before all others in its directory: sshd keeps to the first value that it reads.
const CONFIGURATION: &str = "/etc/ssh/sshd_config.d/00-fam-build.conf";
const UNIT: &str = "fam-build-ssh-host-keys.service";

impl Plugin for Ssh {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("ssh", "sets options of sshd, keys that may log in, and where host keys come from")
            .at(Stage::System)
            .after("users")
            .reads("authorized-keys.file")
            .version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        options::check(&settings.options)?;
        for (index, keys) in settings.authorized_keys.iter().enumerate() {
            // Empty where settings are checked without their recipe, and the file was not read.
            if !keys.file.entries.is_empty() {
                lines(&keys.file)
                    .map_err(|message| Error::setting(format!("authorized-keys[{index}].file"), message))?;
            }
        }
        Ok(())
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
        if !root.exists(SSHD) {
            return Err(Error::failed("the system has no sshd: the recipe has to include `openssh-server`"));
        }
        if !settings.options.is_empty() {
            root.create_dir_all("/etc/ssh/sshd_config.d")?;
            root.write(CONFIGURATION, options::text(&settings.options))?;
            sound(root)?;
        }
        for keys in &settings.authorized_keys {
            let user = &keys.user;
            let account =
                root.account(user)?.ok_or_else(|| Error::failed(format!("the system has no user {user:?}")))?;
            let lines = lines(&keys.file).map_err(Error::failed)?;
            root.authorize(&account, &lines)?;
            context.info(format!("{} keys of {} open {user}", lines.len(), keys.file.path));
        }
        match settings.host_keys {
            HostKeys::Keep => Ok(()),
            HostKeys::FirstBoot => make_at_first_boot(root),
        }
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(Ssh);

/// Has sshd itself read its configuration: one that it refuses would be found out only when no node
/// can be reached.
fn sound(root: &mut Root<'_>) -> Result<()> {
    match root.run(&Command::new(SSHD).arg("-t")) {
        // It also wants host keys and a directory of its own, which belong to a running system.
        Err(Error::Run { message, .. }) if !message.contains(CONFIGURATION) => Ok(()),
        ended => ended.map(drop),
    }
}

/// The keys in a file, one a line.
fn lines(file: &RecipeFiles) -> std::result::Result<Vec<&str>, String> {
    let path = &file.path;
    let bytes = file.file().ok_or_else(|| format!("{path:?} is no file"))?;
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{path:?} is no text"))?;
    if text.contains("PRIVATE KEY") {
        return Err(format!("{path:?} is a private key: name the public one, which ends in .pub"));
    }
    let keys: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    // sshd(8), AUTHORIZED_KEYS FILE FORMAT: options may come first, so only the shape is checked.
    let is_key = |line: &&str| line.split_whitespace().any(|word| word.starts_with("AAAA") && word.len() > 40);
    match keys.iter().find(|line| !is_key(line)) {
        Some(line) => Err(format!("{path:?} has a line that is no public key: {line:?}")),
        None if keys.is_empty() => Err(format!("{path:?} holds no key")),
        None => Ok(keys),
    }
}

fn make_at_first_boot(root: &mut Root<'_>) -> Result<()> {
    for name in root.list("/etc/ssh")? {
        if name.to_string_lossy().starts_with("ssh_host_") {
            root.remove(std::path::Path::new("/etc/ssh").join(name))?;
        }
    }
    // Debian's own sshd-keygen.service acts only where there is no machine-id yet, and is not in
    // bookworm.
    root.write(
        format!("/etc/systemd/system/{UNIT}"),
        "[Unit]\n\
         Description=Make the ssh host keys of this machine\n\
         ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key\n\
         Before=ssh.service ssh.socket\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/usr/bin/ssh-keygen -A\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
    )?;
    root.enable_unit(UNIT, "multi-user.target")
}

#[cfg(test)]
mod tests;
