//! The settings as `plan` shows them: a row each, with who decided it.

use std::fmt::Display;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::extend::add_packages;
use super::flags::Flags;
use super::items::{Listed, Plugin, SectorSize};
use super::model::Recipe;
use super::settings::Settings;
use super::sourced::{Origin, Sourced};

/// A setting of a run, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingRow {
    /// The name of the setting.
    pub name: String,
    /// Its value as people read it.
    pub value: String,
    /// Who decided it.
    pub origin: Origin,
}

/// A setting that a plan shows.
struct Setting {
    /// Its name, which is that of its flag.
    name: &'static str,
    /// Overrides a key of the recipe with the flag of this name, where there are both.
    override_key: fn(&mut Recipe, &mut Flags, &str),
    /// Its rows: one, or one for each item, or none where it says nothing new.
    rows: fn(&Settings) -> Vec<Sourced<String>>,
}

/// A setting that is no key of a recipe, or one that has no flag.
const fn setting(name: &'static str, rows: fn(&Settings) -> Vec<Sourced<String>>) -> Setting {
    Setting { name, override_key: |_, _, _| {}, rows }
}

/// A setting that is a key of a recipe: its name, the key, and the flag that overrides it.
macro_rules! key {
    ($name:literal, $($key:ident).+) => {
        setting($name, |it| vec![it.recipe.$($key).+.map(ToString::to_string)])
    };
    ($name:literal, $($key:ident).+, $flag:ident) => {
        Setting {
            override_key: |recipe, flags, name| {
                recipe.$($key).+.override_with(flags.$flag.take(), &Origin::flag(name));
            },
            ..key!($name, $($key).+)
        }
    };
}

/// All settings, in the order in which they matter. A new key of a recipe has its line here.
const SETTINGS: &[Setting] = &[
    setting("recipe", |it| vec![it.recipe_name.clone()]),
    key!("suite", suite, suite),
    key!("architecture", architecture),
    setting("components", |it| vec![it.recipe.components.map(|all| words(all))]),
    setting("mirror", |it| vec![it.mirror.map(|mirror| text_or(mirror, "to be found"))]),
    setting("security-mirror", |it| vec![it.security.map(ToString::to_string)]),
    Setting {
        rows: |it| it.recipe.snapshot.time().map(|_| it.recipe.snapshot.map(ToString::to_string)).into_iter().collect(),
        ..key!("snapshot", snapshot, snapshot)
    },
    setting("archive", |it| each(&it.archive_files, path)),
    setting("archive", |it| listed(&it.recipe.archives)),
    setting("proxy", |it| vec![it.http_proxy.map(|proxy| text_or(proxy, "none"))]),
    key!("variant", variant, variant),
    Setting { override_key: include, ..setting("include", included) },
    key!("recommends", recommends, recommends),
    setting("pin", |it| listed(&it.recipe.pins)),
    key!("kernel", kernel.package),
    key!("initramfs", initramfs, initramfs),
    key!("size", disk.size, size),
    Setting {
        rows: |it| {
            let size = &it.recipe.disk.sector_size;
            let said = |size: &SectorSize| format!("{size}, boots by UEFI alone");
            (size.value != SectorSize::default()).then(|| size.map(said)).into_iter().collect()
        },
        ..key!("sector-size", disk.sector_size)
    },
    key!("compress", disk.compress, compress),
    Setting {
        rows: |it| {
            it.recipe.disk.swap.size().map(|_| it.recipe.disk.swap.map(ToString::to_string)).into_iter().collect()
        },
        ..key!("swap", disk.swap)
    },
    setting("partition", |it| listed(&it.recipe.disk.partitions)),
    setting("disk", |it| listed(&it.recipe.disk.more)),
    Setting { rows: fabric, ..key!("fabric", fabric.kind, fabric) },
    setting("plugin", plugins),
    key!("nodes", nodes.count, nodes),
    key!("memory", nodes.memory, memory),
    key!("cpus", nodes.cpus, cpus),
    key!("network", nodes.network),
    key!("addresses", nodes.addresses),
    setting("start-options", |it| {
        let options = &it.recipe.nodes.start_options;
        if options.words().is_empty() { Vec::new() } else { vec![options.map(ToString::to_string)] }
    }),
    setting("output", |it| vec![it.output.map(path)]),
    setting("cache-dir", |it| vec![it.cache_dir.map(path)]),
    setting("https-proxy", |it| match &it.https_proxy {
        https if https.value == it.http_proxy.value => Vec::new(),
        https => vec![https.map(|proxy| text_or(proxy, "none"))],
    }),
    setting("no-proxy", |it| each(&it.no_proxy, String::clone)),
    setting("seed", |it| each(&it.seed, path)),
    setting("from-tarball", |it| each(&it.from_tarball, path)),
    setting("locked", |it| each(&it.locked, path)),
    setting("debconf", |it| each(&it.answer_files, path)),
    setting("keyring", |it| each(&it.keyrings, path)),
    setting("ca-certificates", |it| each(&it.recipe.ca_certificates, path)),
    setting("ca-certificate", |it| each(&it.ca_certificates, path)),
    setting("plugin-dir", |it| each(&it.plugin_dirs, path)),
    setting("thin", |it| switched_on(&it.thin)),
    setting("fresh", |it| switched_on(&it.fresh)),
    setting("incremental", |it| switched_on(&it.incremental)),
    setting("accept-expired", |it| switched_on(&it.accept_expired)),
    setting("layers", |it| {
        if it.layers.origin == Origin::Default { Vec::new() } else { vec![it.layers.map(ToString::to_string)] }
    }),
    setting("jobs", |it| each(&it.jobs, ToString::to_string)),
    setting("source-date-epoch", |it| each(&it.source_date_epoch, ToString::to_string)),
    setting("debconf", |it| listed(&it.recipe.debconf)),
    setting("paths", |it| listed(&it.recipe.paths)),
];

/// Overrides what a recipe says with the flags that have a key in it.
pub(super) fn override_with_flags(recipe: &mut Recipe, flags: &mut Flags) {
    for setting in SETTINGS {
        (setting.override_key)(recipe, flags, setting.name);
    }
}

impl Settings {
    /// All settings of this run, the most important first.
    #[must_use]
    pub fn rows(&self) -> Vec<SettingRow> {
        let rows = SETTINGS.iter().flat_map(|setting| (setting.rows)(self).into_iter().map(|row| (setting.name, row)));
        rows.map(|(name, Sourced { value, origin })| SettingRow { name: name.to_owned(), value, origin }).collect()
    }
}

fn words(all: &[impl Display]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn text_or(value: &Option<impl Display>, none: &str) -> String {
    value.as_ref().map_or_else(|| none.to_owned(), ToString::to_string)
}

fn path<P: AsRef<Path>>(path: &P) -> String {
    path.as_ref().display().to_string()
}

/// A row for each item, or for the value if there is one.
fn each<'a, C, T: 'a>(items: &'a Sourced<C>, show: impl Fn(&T) -> String) -> Vec<Sourced<String>>
where
    &'a C: IntoIterator<Item = &'a T>,
{
    items.value.into_iter().map(|item| items.map(|_| show(item))).collect()
}

fn switched_on(switch: &Sourced<bool>) -> Vec<Sourced<String>> {
    switch.then(|| switch.map(|_| "yes".to_owned())).into_iter().collect()
}

/// A row for each item that recipes list.
fn listed<T: Display>(items: &[Listed<T>]) -> Vec<Sourced<String>> {
    let rows = items.iter().map(|Listed { what, source }| Sourced {
        value: what.to_string(),
        origin: Origin::Recipe(source.recipe.clone()),
    });
    rows.collect()
}

fn include(recipe: &mut Recipe, flags: &mut Flags, name: &str) {
    // The worker may have another current directory. Where there is none, the path stays as it is.
    let directory = std::env::current_dir().unwrap_or_default();
    let items = std::mem::take(&mut flags.include).into_iter().map(|item| item.seen_from(&directory));
    add_packages(&mut recipe.include, items, &Origin::flag(name));
}

/// All packages in one row. Several recipes may have named some; the row has the last of them.
fn included(settings: &Settings) -> Vec<Sourced<String>> {
    let packages = &settings.recipe.include;
    let value = packages.iter().map(|package| package.to_string()).collect::<Vec<_>>().join(" ");
    vec![Sourced { value, origin: packages.last().map_or(Origin::Default, |package| package.origin.clone()) }]
}

fn fabric(settings: &Settings) -> Vec<Sourced<String>> {
    let fabric = &settings.recipe.fabric;
    vec![fabric.kind.map(|kind| format!("{kind}, {}", fabric.size.value))]
}

/// All plugins in one row, which has the recipe of the last of them.
fn plugins(settings: &Settings) -> Vec<Sourced<String>> {
    let plugins = &settings.recipe.plugins;
    let value = plugins.iter().map(plugin).collect::<Vec<_>>().join(" ");
    let origin = plugins.last().map_or(Origin::Default, |plugin| Origin::Recipe(plugin.source.recipe.clone()));
    vec![Sourced { value, origin }]
}

/// A plugin as it is asked for: its name, and in brackets the file and the limit of time that the
/// recipe gives it.
fn plugin(plugin: &Plugin) -> String {
    let path = plugin.path.iter().map(path);
    let more: Vec<_> = path.chain(plugin.time_limit.map(|seconds| format!("{seconds} s"))).collect();
    if more.is_empty() { plugin.name.to_string() } else { format!("{}[{}]", plugin.name, more.join(", ")) }
}

#[cfg(test)]
mod tests {
    use clap::Args;
    use fam_progress::Hint as _;

    use super::*;
    use crate::recipe::{Environment, Security};

    fn rows(flags: Flags, environment: &[(&str, &str)]) -> String {
        let environment: Environment = environment.iter().copied().collect();
        let settings = Settings::new(flags, &environment).unwrap();
        let line = |row: SettingRow| format!("{}: {} ({})\n", row.name, row.value, row.origin);
        settings.rows().into_iter().map(line).collect()
    }

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|other| other == line), "{line}\nis not in\n{text}");
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_recipe() {
        let environment = [
            ("MIRROR", "http://environment.example/debian/"),
            ("PROXY", "proxy.example:3128"),
            ("http_proxy", "http://other.example"),
            ("TMPDIR", "/scratch"),
            ("SOURCE_DATE_EPOCH", "12345"),
            ("XDG_CACHE_HOME", "/cache"),
        ];
        let text = rows(Flags::default(), &environment);
        has(&text, "mirror: http://environment.example/debian (environment MIRROR)");
        has(&text, "proxy: http://proxy.example:3128 (environment PROXY)");
        has(&text, "output: /scratch (environment TMPDIR)");
        has(&text, "cache-dir: /cache/fam-build (environment XDG_CACHE_HOME)");
        has(&text, "source-date-epoch: 12345 (environment SOURCE_DATE_EPOCH)");
        has(&text, "suite: trixie (recipe fabric)");
        let flags = Flags {
            mirror: Some("http://flag.example/debian".parse().unwrap()),
            proxy: Some("http://me:secret@flag.example:80".parse().unwrap()),
            suite: Some("sid".parse().unwrap()),
            nodes: Some("7".parse().unwrap()),
            output: Some("/out".into()),
            ..Flags::default()
        };
        let text = rows(flags, &environment);
        has(&text, "mirror: http://flag.example/debian (flag --mirror)");
        has(&text, "proxy: http://flag.example:80 (flag --proxy)");
        has(&text, "suite: sid (flag --suite)");
        has(&text, "nodes: 7 (flag --nodes)");
        has(&text, "output: /out (flag --output)");
    }

    #[test]
    fn every_flag_has_a_row() {
        let command = Flags::augment_args(clap::Command::new("test"));
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            let is_shown = SETTINGS.iter().any(|setting| setting.name == flag);
            assert!(is_shown != ["verbose", "json"].contains(&flag), "--{flag}");
        }
    }

    #[test]
    fn what_nobody_says_is_a_default() {
        let text = rows(Flags::default(), &[("MIRROR", ""), ("HOME", "/home/me")]);
        has(&text, "mirror: to be found (default)");
        has(&text, "security-mirror: to be found (default)");
        has(&text, "proxy: none (default)");
        has(&text, "output: /tmp (default)");
        has(&text, "cache-dir: /home/me/.cache/fam-build (environment HOME)");
    }

    #[test]
    fn proxies_of_each_scheme() {
        let text = rows(Flags::default(), &[("https_proxy", "http://s"), ("HTTP_PROXY", "http://ignored")]);
        has(&text, "proxy: none (default)");
        has(&text, "https-proxy: http://s (environment https_proxy)");
        let text = rows(Flags::default(), &[("ALL_PROXY", "http://all"), ("NO_PROXY", "localhost")]);
        has(&text, "proxy: http://all (environment ALL_PROXY)");
        has(&text, "no-proxy: localhost (environment NO_PROXY)");
    }

    #[test]
    fn includes_are_added_once() {
        let flags = Flags { include: ["vim", "gdb"].map(|name| name.parse().unwrap()).into(), ..Flags::default() };
        let settings = Settings::new(flags, &Environment::default()).unwrap();
        let count = |name| settings.recipe.include.iter().filter(|package| package.to_string() == name).count();
        assert_eq!((count("vim"), count("gdb")), (1, 1));
        let row = settings.rows().into_iter().find(|row| row.name == "include").unwrap();
        assert_eq!(row.origin, Origin::Flag("--include".to_owned()));
    }

    #[test]
    fn answers_are_listed_without_their_values() {
        let directory = tempfile::tempdir().unwrap();
        let (base, top) = (directory.path().join("base.toml"), directory.path().join("top.toml"));
        let text = "suite = 'sid'\ndebconf = ['ldap ldap/password password s3cret']\npaths = [{ exclude = '/a*' }]";
        fs_err::write(&base, text).unwrap();
        let text = "extends = './base.toml'\ndebconf.add = [{ file = 'more' }]\npaths.add = [{ include = '/ab' }]";
        fs_err::write(&top, text).unwrap();
        let recipe = Some(top.display().to_string());
        let text = rows(Flags { recipe, debconf: vec!["mine".into()], ..Flags::default() }, &[]);
        has(&text, "debconf: mine (flag --debconf)");
        has(&text, &format!("debconf: ldap ldap/password password (recipe {})", base.display()));
        has(&text, &format!("debconf: file more (recipe {})", top.display()));
        has(&text, &format!("paths: exclude /a* (recipe {})", base.display()));
        has(&text, &format!("paths: include /ab (recipe {})", top.display()));
        assert!(!text.contains("s3cret"));
    }

    #[test]
    fn a_malformed_variable_is_named() {
        for (name, value, message) in [
            ("MIRROR", "mirror.example", "environment variable MIRROR: `mirror.example` is no address of a mirror"),
            ("SOURCE_DATE_EPOCH", "today", "environment variable SOURCE_DATE_EPOCH: invalid digit"),
        ] {
            let error = Settings::new(Flags::default(), &[(name, value)].into_iter().collect()).unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
            assert!(error.hint().unwrap().contains(name));
        }
    }

    #[test]
    fn settings_travel_as_json() {
        let flags = Flags { verbose: true, security_mirror: Some(Security::None), ..Flags::default() };
        let settings = Settings::new(flags, &Environment::default()).unwrap();
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
    }

    #[test]
    fn verbose_by_environment() {
        for (value, verbose) in [("yes", true), ("1", true), ("0", false), ("no", false), ("", false)] {
            let settings = Settings::new(Flags::default(), &[("VERBOSE", value)].into_iter().collect()).unwrap();
            assert_eq!(settings.verbose, verbose, "{value}");
        }
    }
}
