//! Recipes that extend others.

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
    let add = "debconf.add = ['a a/b string y', { file = 'f' }]\npaths.add = [{ include = '/ab' }, { exclude = '/b' }]";
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
        ("extends = 'b.toml'\nplugin.set.files.x = 1", twice, "a.toml:2:12: the plugin `files` is listed more than"),
        ("extends = 'b.toml'\ninclude.ad = ['vi']", BASE, "a.toml:2:9: unknown key `ad` (did you mean `add`?)"),
        ("extends = 'b.toml'\ninclude = 'vi'", BASE, "a.toml:2:11: invalid type: string \"vi\", expected a list, or"),
        (
            "extends = 'b.toml'\ndebconf = [\n  'a a/b string x',\n  'a/b password s3cret',\n]",
            BASE,
            "a.toml:4:3: this is no answer for debconf: the third word is no type of a question, which are select,",
        ),
        ("extends = 'b.toml'\ndebconf = [1]", BASE, "a.toml:2:12: invalid type: integer `1`, expected an answer, as"),
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
