//! The packages in files of this host that a run names, and what the resolver is asked for in all.

use std::path::Path;

use fam_archive::local::{self, LocalDeb};

use super::Error;
use crate::recipe::{Include, Recipe, Settings, WantedPackage};

/// Reads the packages that the recipe and flags name by files or directories. A run that takes its
/// packages from a lock needs none of them: of the files that are there, those may be the packages
/// of the lock.
///
/// # Errors
/// [`Error::Local`]
pub fn packages(settings: &Settings) -> Result<Vec<LocalDeb>, Error> {
    let recipe = &settings.recipe;
    if settings.from_tarball.is_some() {
        return Ok(Vec::new());
    }
    if settings.locked.is_some() {
        return Ok(local::read_what_is_there(paths(recipe)));
    }
    let debs = local::read_all(paths(recipe), &recipe.architecture.to_string())?;
    for deb in &debs {
        let mut named = recipe.include.iter().filter_map(|item| named(&item.value));
        if let Some(package) = named.find(|package| package.name.as_str() == deb.name && package.which.is_some()) {
            return Err(Error::IncludedTwice { package: package.to_string(), path: deb.path.clone() });
        }
    }
    Ok(debs)
}

fn paths(recipe: &Recipe) -> impl Iterator<Item = &Path> {
    recipe.include.iter().filter_map(|item| match &item.value {
        Include::File(path) => Some(path.as_path()),
        Include::Package(_) => None,
    })
}

fn named(item: &Include) -> Option<&WantedPackage> {
    match item {
        Include::Package(package) => Some(package),
        Include::File(_) => None,
    }
}

/// What the resolver is asked for: the items of the recipe, with the packages of files in place of
/// their paths, then `more`. Where one of them says which version, the name alone is not asked for.
pub(super) fn requested(recipe: &Recipe, local: &[LocalDeb], more: &[&str]) -> Vec<String> {
    let mut exact: Vec<&str> = local.iter().map(|deb| deb.name.as_str()).collect();
    let mut requests = Vec::new();
    for item in recipe.include.iter().filter_map(|item| named(&item.value)) {
        // The architecture is that of the recipe, which is the resolver's own.
        let exactly = WantedPackage { architecture: None, ..item.clone() };
        if exactly.which.is_some() {
            exact.push(item.name.as_str());
        }
        requests.push(exactly.to_string());
    }
    requests.extend(more.iter().map(ToString::to_string));
    requests.retain(|request| !exact.contains(&request.as_str()));
    requests.extend(local.iter().map(LocalDeb::request));
    requests
}

#[cfg(test)]
mod tests {
    use fam_progress::Hint;
    use support::handmade::deb::{deb, stanza};

    use super::*;
    use crate::recipe::{Environment, Flags};

    fn settings(include: &[&str], directory: &Path, change: impl FnOnce(&mut Flags)) -> Settings {
        let recipe = directory.join("r.toml");
        fs_err::write(&recipe, format!("suite = 'sid'\ninclude = {include:?}")).unwrap();
        let mut flags = Flags { recipe: Some(recipe.to_str().unwrap().to_owned()), ..Flags::default() };
        change(&mut flags);
        Settings::new(flags, &Environment::default()).unwrap()
    }

    #[test]
    fn a_name_gives_way_to_what_says_more() {
        let directory = tempfile::tempdir().unwrap();
        fs_err::write(directory.path().join("xx.deb"), deb(&stanza("xx", "3", ""), &[], &[])).unwrap();
        let requests = |include: &[&str], more: &[&str]| {
            let settings = settings(include, directory.path(), |_| {});
            requested(&settings.recipe, &packages(&settings).unwrap(), more)
        };
        assert_eq!(requests(&["aa", "./xx.deb", "bb:amd64"], &["kk"]), ["aa", "bb", "kk", "xx=3"]);
        assert_eq!(requests(&["xx", "./xx.deb", "aa"], &["xx"]), ["aa", "xx=3"]);
        assert_eq!(requests(&["aa", "aa=1", "bb/sid"], &["aa", "bb"]), ["aa=1", "bb/sid"]);
    }

    #[test]
    fn one_package_is_not_asked_for_twice() {
        let directory = tempfile::tempdir().unwrap();
        fs_err::write(directory.path().join("xx.deb"), deb(&stanza("xx", "3", ""), &[], &[])).unwrap();
        for other in ["xx=1", "xx/sid"] {
            let error = packages(&settings(&[other, "./xx.deb"], directory.path(), |_| {})).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(other) && text.contains("/xx.deb") && error.hint().is_some(), "{text}");
        }
        let missing = settings(&["./yy.deb"], directory.path(), |_| {});
        assert!(packages(&missing).unwrap_err().to_string().contains("/yy.deb"));
        let locked = settings(&["./yy.deb", "./xx.deb"], directory.path(), |flags| flags.locked = Some("l".into()));
        assert_eq!(packages(&locked).unwrap().len(), 1);
    }
}
