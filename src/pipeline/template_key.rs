//! By what a template is known that can be used again.

use std::sync::OnceLock;

use fam_archive::digest::sha256;
use fam_rootfs::configure::Answers;

use super::layers::Choice;
use super::packages::Selection;
use super::{Error, disk_ids, volumes};
use crate::plugins::{Build, PluginPlan};
use crate::recipe::Settings;

/// The BLAKE3 digest of this program: another version may make something else of the same parts.
pub(super) fn program() -> std::io::Result<&'static str> {
    static DIGEST: OnceLock<String> = OnceLock::new();
    match DIGEST.get() {
        Some(digest) => Ok(digest),
        None => {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(fs_err::File::open("/proc/self/exe")?)?;
            Ok(DIGEST.get_or_init(|| hasher.finalize().to_string()))
        }
    }
}

/// Names everything that a template is made of: the packages, what the recipe says of the system,
/// the facts that the plugins get, and this program itself.
pub(super) fn key(
    settings: &Settings,
    answers: &Answers,
    selection: &Selection,
    plugin_plan: &PluginPlan,
    choice: &Choice,
    build: &Build,
) -> Result<String, Error> {
    let recipe = &settings.recipe;
    let parts = serde_json::json!({
        "program": program()?,
        "packages": selection.lock().to_toml(),
        "layer": choice.other_layer(),
        "debconf": answers.reveal(),
        "paths": recipe.paths.iter().map(|listed| &listed.what).collect::<Vec<_>>(),
        "initramfs": recipe.initramfs.value,
        "kernel": recipe.kernel.cmdline.value,
        "label": recipe.disk.label.value,
        "fstab": volumes::fstab(&recipe.disk, &disk_ids::of_template(&recipe.disk)),
        "grow": recipe.disk.grow.value,
        "plugins": plugin_plan.system_key(build),
        "time": build.facts().source_date_epoch,
    });
    Ok(format!("fam-build template {}", sha256(parts.to_string().as_bytes())))
}
