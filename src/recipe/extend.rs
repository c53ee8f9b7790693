//! Merges a recipe with those that it extends: the base first, then each recipe that builds on it.
//! Each value keeps the recipe that decided it.

use std::collections::BTreeMap;
use std::path::Path;

use fam_plugin::nearest;
use serde_json::{Map, Value};

use super::include::Include;
use super::items::{Listed, Pin, Plugin, Preseed, Source};
use super::model::{Recipe, RecipePatch};
use super::names::PluginName;
use super::patch::{Addition, IncludeChange, LineOrFile, List, PinChange, PluginChange, PluginPatch, PreseedPatch};
use super::sourced::{Origin, Sourced};

/// A recipe, and those that it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The recipe, merged with those that it extends.
    pub recipe: Recipe,
    /// The recipes that it is made of, the one that was asked for first.
    pub chain: Vec<Source>,
}

/// A recipe changes something that the recipe it extends does not have.
#[derive(Debug)]
pub(super) struct Misfit {
    /// Where in the text of the recipe, in bytes.
    pub offset: usize,
    pub message: String,
    pub suggestion: Option<String>,
}

impl Misfit {
    fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into(), suggestion: None }
    }

    fn near<'a>(mut self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        self.suggestion = nearest(word, candidates).map(str::to_owned);
        self
    }
}

impl Loaded {
    /// Takes the recipe at the end of a chain, which extends none and so must name a suite.
    pub(super) fn base(written: RecipePatch, source: Source) -> Result<Self, Misfit> {
        let Some(suite) = written.suite.clone() else {
            return Err(Misfit::new(0, "missing key `suite` (or `extends`)"));
        };
        Self { recipe: Recipe::of_suite(suite), chain: Vec::new() }.extended(written, source)
    }

    /// Applies to the recipe what `written`, which extends it, says.
    pub(super) fn extended(mut self, mut written: RecipePatch, source: Source) -> Result<Self, Misfit> {
        let recipe = &mut self.recipe;
        match written.plugins.take() {
            Some(List::Whole(list)) => {
                recipe.plugins = list.into_iter().map(|plugin| listed(plugin, &source)).collect();
            }
            Some(List::Change(change)) => change_plugins(&mut recipe.plugins, change, &source)?,
            None => {}
        }
        merge_pins(&mut recipe.pins, written.pins.take(), &source);
        merge_list(&mut recipe.debconf, written.debconf.take(), &source, preseed)?;
        merge_list(&mut recipe.paths, written.paths.take(), &source, Ok)?;
        merge_list(&mut recipe.archives, written.archives.take(), &source, Ok)?;
        let origin = Origin::Recipe(source.recipe.clone());
        // Paths are relative to the recipe that names them, which is no longer known once they are
        // merged.
        let directory = source.directory.as_deref().unwrap_or(Path::new(""));
        if let Some(include) = written.include.take() {
            merge_packages(&mut recipe.include, include, &origin, directory)?;
        }
        if let Some(paths) = &mut written.ca_certificates {
            *paths = paths.iter().map(|path| directory.join(path)).collect();
        }
        recipe.override_with(written, &origin);
        // The recipe that was asked for is merged last, and so comes first.
        self.chain.insert(0, source);
        Ok(self)
    }
}

/// Replaces the list of packages, or changes it.
fn merge_packages(
    packages: &mut Vec<Sourced<Include>>,
    written: List<Include, IncludeChange>,
    origin: &Origin,
    directory: &Path,
) -> Result<(), Misfit> {
    let add = match written {
        List::Whole(list) => {
            packages.clear();
            list
        }
        List::Change(IncludeChange { add, drop }) => {
            for package in drop {
                let (offset, package) = (package.span().start, package.into_inner().seen_from(directory));
                let before = packages.len();
                packages.retain(|other| !other.value.is_meant_by(&package));
                if packages.len() == before {
                    let known: Vec<_> = packages.iter().map(|package| package.to_string()).collect();
                    return Err(Misfit::new(offset, format!("there is no `{package}` to drop from `include`"))
                        .near(&package.to_string(), known.iter().map(String::as_str)));
                }
            }
            add
        }
    };
    add_packages(packages, add.into_iter().map(|item| item.seen_from(directory)), origin);
    Ok(())
}

/// Adds those of the packages that are not in the list yet.
pub(super) fn add_packages(
    packages: &mut Vec<Sourced<Include>>,
    add: impl IntoIterator<Item = Include>,
    origin: &Origin,
) {
    for value in add {
        if !packages.iter().any(|other| other.value == value) {
            packages.push(Sourced { value, origin: origin.clone() });
        }
    }
}

/// Replaces a list, or adds to it.
fn merge_list<W, T>(
    list: &mut Vec<Listed<T>>,
    written: Option<List<W, Addition<W>>>,
    source: &Source,
    read: impl Fn(W) -> Result<T, Misfit>,
) -> Result<(), Misfit> {
    let items = match written {
        Some(List::Whole(items)) => {
            list.clear();
            items
        }
        Some(List::Change(Addition { add })) => add,
        None => return Ok(()),
    };
    for item in items {
        list.push(Listed { what: read(item)?, source: source.clone() });
    }
    Ok(())
}

/// Replaces the list of pins, or adds to its beginning, where pins count more.
fn merge_pins(pins: &mut Vec<Listed<Pin>>, written: Option<List<Pin, PinChange>>, source: &Source) {
    let (add, behind) = match written {
        Some(List::Whole(pins)) => (pins, Vec::new()),
        Some(List::Change(PinChange { add })) => (add, std::mem::take(pins)),
        None => return,
    };
    let add = add.into_iter().map(|what| Listed { what, source: source.clone() });
    *pins = add.chain(behind).collect();
}

fn preseed(written: PreseedPatch) -> Result<Preseed, Misfit> {
    let offset = written.0.span().start;
    match written.0.into_inner() {
        LineOrFile::Line(line) => match line.parse() {
            Ok(answer) => Ok(Preseed::Answer(answer)),
            Err(error) => Err(Misfit::new(offset, format!("this is no answer for debconf: {error}"))),
        },
        LineOrFile::File(path) => Ok(Preseed::File(path)),
    }
}

fn listed(plugin: PluginPatch, source: &Source) -> Plugin {
    let PluginPatch { name, path, time_limit, settings } = plugin;
    Plugin { name, path, time_limit, settings: settings.0, source: source.clone(), set_by: BTreeMap::new() }
}

fn change_plugins(plugins: &mut Vec<Plugin>, change: PluginChange, source: &Source) -> Result<(), Misfit> {
    for name in change.drop {
        let (offset, name) = (name.span().start, name.into_inner());
        let before = plugins.len();
        plugins.retain(|plugin| plugin.name != name);
        if plugins.len() == before {
            return Err(no_such_plugin(plugins, &name, offset, "drop"));
        }
    }
    for (name, settings) in change.set {
        let offset = settings.span().start;
        let mut named = plugins.iter_mut().filter(|plugin| plugin.name == name);
        match (named.next(), named.next()) {
            (Some(plugin), None) => {
                for (key, value) in settings.into_inner().0 {
                    plugin.set_by.insert(key.clone(), source.clone());
                    merge_value(&mut plugin.settings, key, value);
                }
            }
            (Some(_), Some(_)) => {
                let message =
                    format!("the plugin `{name}` is listed more than once: drop it, and add it as you want it");
                return Err(Misfit::new(offset, message));
            }
            (None, _) => return Err(no_such_plugin(plugins, &name, offset, "set")),
        }
    }
    plugins.extend(change.add.into_iter().map(|plugin| listed(plugin, source)));
    Ok(())
}

fn no_such_plugin(plugins: &[Plugin], name: &PluginName, offset: usize, change: &str) -> Misfit {
    let known = plugins.iter().map(|plugin| plugin.name.as_str());
    Misfit::new(offset, format!("there is no plugin `{name}` to {change}")).near(name.as_str(), known)
}

/// Sets a key. A table is merged into one that is there; any other value replaces what is there.
fn merge_value(map: &mut Map<String, Value>, key: String, value: Value) {
    match (map.get_mut(&key), value) {
        (Some(Value::Object(below)), Value::Object(above)) => {
            for (key, value) in above {
                merge_value(below, key, value);
            }
        }
        (_, value) => drop(map.insert(key, value)),
    }
}

#[cfg(test)]
mod tests {
    use fam_progress::Failure;

    use super::*;
    use crate::recipe::load;

    /// Writes these recipes into one directory, and loads the first.
    fn load(files: &[(&str, &str)]) -> Result<Loaded, load::Error> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        Loaded::load(directory.path().join(files[0].0).to_str().unwrap())
    }

    /// The same with an error as people see it, the directory left out.
    fn error(files: &[(&str, &str)]) -> String {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs_err::write(directory.path().join(name), text).unwrap();
        }
        let error = Loaded::load(directory.path().join(files[0].0).to_str().unwrap()).unwrap_err();
        let Failure { what, causes, .. } = Failure::new(&error, None);
        let text = [vec![what], causes].concat().join(": ");
        text.replace(&format!("{}/", directory.path().display()), "")
    }

    fn plugins(loaded: &Loaded) -> Vec<&str> {
        loaded.recipe.plugins.iter().map(|plugin| plugin.name.as_str()).collect()
    }

    fn packages(loaded: &Loaded) -> Vec<String> {
        loaded.recipe.include.iter().map(|package| package.to_string()).collect()
    }

    fn is_from(origin: &Origin, file: &str) -> bool {
        matches!(origin, Origin::Recipe(recipe) if recipe.ends_with(file))
    }

    const BASE: &str = "suite = 'trixie'\ninclude = ['vim', 'gdb']\ndisk = { size = '4G', label = 'base' }\n\
                        plugin = [{ name = 'users', settings = { a = { x = 1, y = 2 }, b = [1, 2] } }, { name = 'demo' }]";

    #[test]
    fn tables_merge_and_lists_replace() {
        let loaded = load(&[
            ("a.toml", "extends = './b.toml'\nsuite = 'sid'\ninclude = ['gcc']\ndisk.size = '6G'\nplugin = []"),
            ("b.toml", BASE),
        ])
        .unwrap();
        assert_eq!(loaded.recipe.suite.as_str(), "sid");
        assert_eq!(packages(&loaded), ["gcc"]);
        assert_eq!((loaded.recipe.disk.size.to_string().as_str(), loaded.recipe.disk.label.as_str()), ("6G", "base"));
        assert!(loaded.recipe.plugins.is_empty());
        let Recipe { suite, disk, nodes, .. } = &loaded.recipe;
        assert!(is_from(&suite.origin, "a.toml") && is_from(&disk.label.origin, "b.toml"));
        assert_eq!(nodes.count.origin, Origin::Default);
    }

    #[test]
    fn lists_are_added_to_and_dropped_from() {
        let change = "extends = './b.toml'\ninclude.add = ['gcc', 'vim']\ninclude.drop = ['gdb']\n\
                      [plugin]\ndrop = ['demo']\n[plugin.set.users]\na.y = 3\na.z = 4\nb = [5]\n\
                      [[plugin.add]]\nname = 'files'\nsettings.f = 1";
        let loaded = load(&[("a.toml", change), ("b.toml", BASE)]).unwrap();
        assert_eq!(packages(&loaded), ["vim", "gcc"]);
        assert_eq!(plugins(&loaded), ["users", "files"]);
        let users = &loaded.recipe.plugins[0];
        assert_eq!(serde_json::to_string(&users.settings).unwrap(), r#"{"a":{"x":1,"y":3,"z":4},"b":[5]}"#);
        assert!(users.source.recipe.ends_with("b.toml") && users.source_of("b").recipe.ends_with("a.toml"));
        assert!(loaded.recipe.plugins[1].source.recipe.ends_with("a.toml"));
        let include = &loaded.recipe.include;
        assert!(is_from(&include[0].origin, "b.toml") && is_from(&include[1].origin, "a.toml"));
    }

    #[test]
    fn files_are_named_from_the_recipe_that_has_them() {
        let loaded = load(&[
            ("top.toml", "extends = 'sub/middle.toml'"),
            ("sub/middle.toml", "extends = '../base.toml'\n[[plugin.add]]\nname = 'files'"),
            ("base.toml", BASE),
        ])
        .unwrap();
        let directory = loaded.recipe.plugins[2].source.directory.clone().unwrap();
        assert!(directory.is_absolute() && directory.ends_with("sub"), "{}", directory.display());
        assert_eq!(loaded.chain.len(), 3);
    }

    #[test]
    fn certificates_are_named_from_the_recipe_that_has_them() {
        let base = ("sub/base.toml", "suite = 'trixie'\nca-certificates = ['ca.pem', '/etc/ca.pem']");
        let loaded = load(&[("top.toml", "extends = 'sub/base.toml'"), base]).unwrap();
        let [relative, absolute] = &loaded.recipe.ca_certificates[..] else { panic!("{:?}", loaded.recipe) };
        assert!(relative.is_absolute() && relative.ends_with("sub/ca.pem"), "{}", relative.display());
        assert_eq!(absolute, Path::new("/etc/ca.pem"));
        let loaded = load(&[("top.toml", "extends = 'sub/base.toml'\nca-certificates = []"), base]).unwrap();
        let ca_certificates = &loaded.recipe.ca_certificates;
        assert!(ca_certificates.is_empty() && is_from(&ca_certificates.origin, "top.toml"));
    }

    #[test]
    fn local_packages_are_named_from_the_recipe_that_has_them() {
        let base = ("sub/base.toml", "suite = 'trixie'\ninclude = ['vim=1', './x.deb', '../debs', '/srv/y.deb']");
        let with = |change: &str| load(&[("top.toml", &format!("extends = 'sub/base.toml'\n{change}")), base]).unwrap();
        let [version, file, directory, absolute] = &packages(&with(""))[..] else { panic!() };
        assert_eq!((version.as_str(), absolute.as_str()), ("vim=1", "/srv/y.deb"));
        assert!(file.starts_with('/') && file.ends_with("/sub/x.deb") && directory.ends_with("/sub/../debs"), "{file}");
        let dropped = with("include.drop = ['vim', './sub/x.deb']\ninclude.add = ['./x.deb', 'vim/sid']");
        let names = packages(&dropped);
        assert!(names.len() == 4 && !names.contains(file) && !names.contains(version), "{names:?}");
        assert!(names[2].ends_with("/x.deb") && names[3] == "vim/sid", "{names:?}");
    }

    #[test]
    fn answers_and_rules_are_replaced_or_added_to() {
        let base = "suite = 'sid'\ndebconf = ['a a/b string x']\npaths = [{ exclude = '/a*' }]";
        let add =
            "debconf.add = ['a a/b string y', { file = 'f' }]\npaths.add = [{ include = '/ab' }, { exclude = '/b' }]";
        let replace = "debconf = ['c c/d note ']\npaths = []";
        for (text, answers, rules) in [
            ("", &["a a/b string x"][..], &["exclude /a*"][..]),
            (add, &["a a/b string x", "a a/b string y", "file f"], &["exclude /a*", "include /ab", "exclude /b"]),
            (replace, &["c c/d note "], &[]),
        ] {
            let text = format!("extends = './b.toml'\n{text}");
            let loaded = load(&[("a.toml", &text), ("b.toml", base)]).unwrap();
            let shown = |listed: &Listed<Preseed>| match &listed.what {
                Preseed::Answer(answer) => answer.reveal(),
                Preseed::File(path) => format!("file {path}"),
            };
            assert_eq!(loaded.recipe.debconf.iter().map(shown).collect::<Vec<_>>(), answers);
            assert_eq!(loaded.recipe.paths.iter().map(|it| it.what.to_string()).collect::<Vec<_>>(), rules);
        }
    }

    #[test]
    fn pins_are_replaced_or_put_before() {
        let base = "suite = 'sid'\n[[pin]]\npackages = '*'\npin = 'release a=unstable'\npriority = 900";
        let add = "[[pin.add]]\npackages = ['vim', 'perl*']\npin = 'version 9*'\npriority = -1\nexplanation = 'why'";
        for (text, pins) in [
            ("", &["900 for *: release a=unstable"][..]),
            (add, &["-1 for vim perl*: version 9*", "900 for *: release a=unstable"]),
            ("pin = []", &[]),
        ] {
            let loaded = load(&[("a.toml", &format!("extends = './b.toml'\n{text}")), ("b.toml", base)]).unwrap();
            assert_eq!(loaded.recipe.pins.iter().map(|pin| pin.what.to_string()).collect::<Vec<_>>(), pins);
        }
    }

    #[test]
    fn a_shipped_recipe_is_extended_by_its_name() {
        let loaded = load(&[("fabric.toml", "extends = 'fabric'\nplugin.drop = ['demo']")]).unwrap();
        assert_eq!(loaded.chain[1].recipe, "fabric");
        assert!(!plugins(&loaded).contains(&"demo") && plugins(&loaded).contains(&"identity"));
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place() {
        let twice = "suite = 'sid'\nplugin = [{ name = 'files' }, { name = 'files' }]";
        for (text, base, message) in [
            ("extends = 'fabrik'", "", "a.toml:1:11: the recipe that this one extends: no recipe is named `fabrik`"),
            ("\nextends = 'no.toml'", "", "a.toml:2:11: the recipe that this one extends: read the recipe: "),
            ("extends = 'a.toml'", "", "a.toml:1:11: recipes extend each other in a circle: a.toml -> a.toml"),
            (
                "extends = './b.toml'",
                "extends = 'a.toml'",
                "b.toml:1:11: recipes extend each other in a circle: a.toml -> b.toml -> a.toml",
            ),
            ("extends = 'b.toml'", "suit = 'sid'", "b.toml:1:1: unknown key `suit` (did you mean `suite`?)"),
            ("extends = 'b.toml'\ninclude.drop = ['vi']", BASE, "a.toml:2:17: there is no `vi` to drop from `include`"),
            (
                "extends = 'b.toml'\ninclude.drop = ['gbd']",
                BASE,
                "a.toml:2:17: there is no `gbd` to drop from `include` (did you mean `gdb`?)",
            ),
            (
                "extends = 'b.toml'\nplugin.drop = ['users', 'dmo']",
                BASE,
                "a.toml:2:25: there is no plugin `dmo` to drop (did you mean `demo`?)",
            ),
            (
                "extends = 'b.toml'\n[plugin.set]\nuser = { x = 1 }",
                BASE,
                "a.toml:3:8: there is no plugin `user` to set (did you mean `users`?)",
            ),
            (
                "extends = 'b.toml'\nplugin.set.files.x = 1",
                twice,
                "a.toml:2:12: the plugin `files` is listed more than",
            ),
            ("extends = 'b.toml'\ninclude.ad = ['vi']", BASE, "a.toml:2:9: unknown key `ad` (did you mean `add`?)"),
            (
                "extends = 'b.toml'\ninclude = 'vi'",
                BASE,
                "a.toml:2:11: invalid type: string \"vi\", expected a list, or",
            ),
            (
                "extends = 'b.toml'\ndebconf = [\n  'a a/b string x',\n  'a/b password s3cret',\n]",
                BASE,
                "a.toml:4:3: this is no answer for debconf: the third word is no type of a question, which are select,",
            ),
            (
                "extends = 'b.toml'\ndebconf = [1]",
                BASE,
                "a.toml:2:12: invalid type: integer `1`, expected an answer, as",
            ),
            (
                "extends = 'b.toml'\ndebconf = [{ fil = 'x' }]",
                BASE,
                "a.toml:2:14: unknown key `fil` (did you mean `file`?)",
            ),
            (
                "extends = 'b.toml'\n[[pin]]\npackages = 'vim'\npin = 'relese a=x'\npriority = 1",
                BASE,
                "a.toml:4:7: `relese a=x`: version, release or origin was expected, as in release n=trixie",
            ),
            (
                "extends = 'b.toml'\n[[pin]]\npackages = ['vim', 'VIM']\npin = 'release a=x'\npriority = 1",
                BASE,
                "a.toml:3:20: `VIM`: a package name has a-z, 0-9, +, - and . in it; blanks are between names",
            ),
            (
                "extends = 'b.toml'\n[[pin]]\npackages = 'vim'\npin = 'release a=x'\npriority = 40000",
                BASE,
                "a.toml:5:12: `40000`: a number from -32768 to 32767 was expected, but not 0; or the word never",
            ),
            ("extends = 'b.toml'\n[[pin]]\npackages = 'vim'", BASE, "a.toml:2:1: missing key `pin`"),
            (
                "extends = 'b.toml'\npin = [{ packages = '*', pin = 'version 1', priority = 1 }]",
                BASE,
                "a.toml:2:32: `version 1`: a version can be pinned of packages by name only, not of all (*)",
            ),
            (
                "extends = 'b.toml'\npaths = [{ exclud = '/x' }]",
                BASE,
                "a.toml:2:12: unknown value `exclud` (did you mean `exclude`?)",
            ),
            (
                "extends = 'b.toml'\npaths.add = [{ exclude = 'x' }]",
                BASE,
                "a.toml:2:26: `x` is no pattern of paths: what begins with / or *",
            ),
            ("extends = 1", BASE, "a.toml:1:11: invalid type: integer `1`, expected a string"),
            ("include.drop = ['vim']\nsuite = 'sid'", "", "a.toml:1:17: there is no `vim` to drop from `include`"),
            ("[disk]\nsize = '8G'", "", "a.toml:1:1: missing key `suite` (or `extends`)"),
        ] {
            let error = error(&[("a.toml", text), ("b.toml", base)]);
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
