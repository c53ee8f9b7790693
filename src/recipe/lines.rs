//! The settings as people read them: one line each, with who decided it.

use super::model::{Listed, Plugin, Recipe, Source};
use super::names::PackageName;
use super::settings::{Origin, Security, SettingLine, Settings, setting_of};
use crate::credentials::MirrorUrl;

impl Settings {
    /// Who decided the setting of this name, which is that of its flag.
    #[must_use]
    pub fn origin(&self, name: &str) -> Origin {
        match self.origins.get(name) {
            Some(origin) => origin.clone(),
            // Several may have named some of them; the one that did so last.
            None if name == "include" => self.included_by.last().map_or(Origin::Default, |(_, origin)| origin.clone()),
            None if name == "plugin" => self
                .recipe
                .plugins
                .last()
                .map_or(Origin::Default, |plugin| Origin::Recipe(plugin.source.recipe.clone())),
            None => Origin::Default,
        }
    }

    /// Who decided the value of a key of the recipe, as `disk.size`.
    #[must_use]
    pub fn origin_of_key(&self, key: &str) -> Origin {
        self.origin(setting_of(key))
    }

    /// The packages that are included, with who named each.
    pub fn included(&self) -> impl Iterator<Item = (&PackageName, &Origin)> {
        self.included_by.iter().map(|(package, origin)| (package, origin))
    }

    /// Settles on a mirror that was found, and notes where.
    pub fn found_mirror(&mut self, mirror: MirrorUrl, origin: Origin) {
        self.mirror = Some(mirror);
        self.origins.insert("mirror".to_owned(), origin);
    }

    /// Settles on a security archive that was found, or on none, and notes where.
    pub fn found_security(&mut self, security: Security, origin: Origin) {
        self.security = security;
        self.origins.insert("security-mirror".to_owned(), origin);
    }

    /// All that this run goes by, in the order in which it matters.
    #[must_use]
    pub fn lines(&self) -> Vec<SettingLine> {
        let recipe = &self.recipe;
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
        let components: Vec<_> = recipe.components.iter().map(ToString::to_string).collect();
        let include: Vec<_> = recipe.include.iter().map(ToString::to_string).collect();
        let mut lines = vec![
            ("recipe", self.recipe_name.clone()),
            ("suite", recipe.suite.to_string()),
            ("architecture", recipe.architecture.to_string()),
            ("components", components.join(" ")),
            ("mirror", self.mirror.as_ref().map_or_else(|| "to be found".to_owned(), ToString::to_string)),
            ("security-mirror", self.security.to_string()),
            ("proxy", or_none(self.http_proxy.as_ref().map(ToString::to_string))),
            ("variant", recipe.variant.to_string()),
            ("include", include.join(" ")),
            ("kernel", recipe.kernel.package.to_string()),
            ("initramfs", recipe.initramfs.to_string()),
            ("size", recipe.disk.size.to_string()),
            ("compress", recipe.disk.compress.to_string()),
            ("fabric", format!("{}, {}", recipe.fabric.kind, recipe.fabric.size)),
            ("plugin", recipe.plugins.iter().map(plugin).collect::<Vec<_>>().join(" ")),
            ("nodes", recipe.nodes.count.to_string()),
            ("memory", recipe.nodes.memory.to_string()),
            ("cpus", recipe.nodes.cpus.to_string()),
            ("output", self.output.display().to_string()),
            ("cache-dir", self.cache_dir.display().to_string()),
        ];
        if self.https_proxy != self.http_proxy {
            lines.push(("https-proxy", or_none(self.https_proxy.as_ref().map(ToString::to_string))));
        }
        lines.extend(self.no_proxy.clone().map(|hosts| ("no-proxy", hosts)));
        for (name, path) in [("seed", &self.seed), ("from-tarball", &self.from_tarball), ("locked", &self.locked)] {
            lines.extend(path.as_ref().map(|path| (name, path.display().to_string())));
        }
        for (name, paths) in [
            ("debconf", &self.answer_files),
            ("keyring", &self.keyrings),
            ("ca-certificates", &self.recipe.ca_certificates),
            ("ca-certificate", &self.ca_certificates),
            ("plugin-dir", &self.plugin_dirs),
        ] {
            lines.extend(paths.iter().map(|path| (name, path.display().to_string())));
        }
        for (name, is_on) in [("thin", self.thin), ("fresh", self.fresh), ("accept-expired", self.accept_expired)] {
            lines.extend(is_on.then(|| (name, "yes".to_owned())));
        }
        lines.extend(self.jobs.map(|jobs| ("jobs", jobs.to_string())));
        lines.extend(self.source_date_epoch.map(|epoch| ("source-date-epoch", epoch.to_string())));
        let line =
            |(name, value): (&str, String)| SettingLine { name: name.to_owned(), value, origin: self.origin(name) };
        let lines = lines.into_iter().map(line);
        lines.chain(self.listed_lines()).collect()
    }

    /// What recipes list that has a line and an origin for each.
    fn listed_lines(&self) -> impl Iterator<Item = SettingLine> {
        let line = |name: &str, value: String, source: &Source| SettingLine {
            name: name.to_owned(),
            value,
            origin: Origin::Recipe(source.recipe.clone()),
        };
        let Recipe { debconf, paths, .. } = &self.recipe;
        let answers = debconf.iter().map(move |Listed { what, source }| line("debconf", what.to_string(), source));
        answers.chain(paths.iter().map(move |Listed { what, source }| line("paths", what.to_string(), source)))
    }
}

/// A plugin as it is asked for: its name, and in brackets the file and the limit of time that the
/// recipe gives it.
fn plugin(plugin: &Plugin) -> String {
    let path = plugin.path.iter().map(|path| path.display().to_string());
    let more: Vec<_> = path.chain(plugin.time_limit.map(|seconds| format!("{seconds} s"))).collect();
    if more.is_empty() { plugin.name.to_string() } else { format!("{}[{}]", plugin.name, more.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Environment, Flags};

    fn lines(flags: Flags, environment: &[(&str, &str)]) -> String {
        let environment: Environment = environment.iter().copied().collect();
        let settings = Settings::new(flags, &environment).unwrap();
        let line = |line: SettingLine| format!("{}: {} ({})\n", line.name, line.value, line.origin);
        settings.lines().into_iter().map(line).collect()
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
        let text = lines(Flags::default(), &environment);
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
        let text = lines(flags, &environment);
        has(&text, "mirror: http://flag.example/debian (flag --mirror)");
        has(&text, "proxy: http://flag.example:80 (flag --proxy)");
        has(&text, "suite: sid (flag --suite)");
        has(&text, "nodes: 7 (flag --nodes)");
        has(&text, "output: /out (flag --output)");
    }

    #[test]
    fn what_nobody_says_is_a_default() {
        let text = lines(Flags::default(), &[("MIRROR", ""), ("HOME", "/home/me")]);
        has(&text, "mirror: to be found (default)");
        has(&text, "security-mirror: to be found (default)");
        has(&text, "proxy: none (default)");
        has(&text, "output: /tmp (default)");
        has(&text, "cache-dir: /home/me/.cache/fam-build (environment HOME)");
    }

    #[test]
    fn proxies_of_each_scheme() {
        let text = lines(Flags::default(), &[("https_proxy", "http://s"), ("HTTP_PROXY", "http://ignored")]);
        has(&text, "proxy: none (default)");
        has(&text, "https-proxy: http://s (environment https_proxy)");
        let text = lines(Flags::default(), &[("ALL_PROXY", "http://all"), ("NO_PROXY", "localhost")]);
        has(&text, "proxy: http://all (environment ALL_PROXY)");
        has(&text, "no-proxy: localhost (environment NO_PROXY)");
    }

    #[test]
    fn includes_are_added_once() {
        let flags = Flags { include: ["vim", "gdb"].map(|name| name.parse().unwrap()).into(), ..Flags::default() };
        let settings = Settings::new(flags, &Environment::default()).unwrap();
        let count = |name| settings.recipe.include.iter().filter(|package| package.as_str() == name).count();
        assert_eq!((count("vim"), count("gdb")), (1, 1));
        assert_eq!(settings.origin("include"), Origin::Flag("--include".to_owned()));
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
        let text = lines(Flags { recipe, debconf: vec!["mine".into()], ..Flags::default() }, &[]);
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
