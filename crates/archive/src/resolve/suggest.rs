//! Names that were probably meant.

use strsim::osa_distance;

/// How many names are offered at most.
const OFFERED: usize = 5;

/// The names most like `wanted`, best first: those a few letters away, then those that begin with
/// it.
pub(super) fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted = wanted.to_ascii_lowercase();
    // One letter in three may be wrong, but no more than three.
    let allowed = (wanted.chars().count() / 3).clamp(1, 3);
    let mut found: Vec<_> = names
        .filter_map(|name| {
            let begins = !wanted.is_empty() && name.starts_with(&wanted);
            // Of tens of thousands of names most are too long or too short anyway.
            let may_be_near = wanted.len().abs_diff(name.len()) <= allowed;
            let distance = may_be_near.then(|| osa_distance(&wanted, name)).filter(|&distance| distance <= allowed);
            Some((distance.or(begins.then_some(allowed + 1))?, name.len(), name))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(OFFERED).map(|(_, _, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_the_nearest_first() {
        let names = ["vim", "vim-tiny", "vim-nox", "vips", "emacs", "nginx", "nginx-light", "mingw-w64", "nano"];
        let near = |wanted| near(wanted, names.into_iter());
        assert_eq!(near("vmi"), ["vim"]);
        assert_eq!(near("VIM-TINI"), ["vim-tiny"]);
        assert_eq!(near("ngnix"), ["nginx"]);
        assert_eq!(near("vim-"), ["vim", "vim-nox", "vim-tiny"]);
        assert_eq!(near("nginx"), ["nginx", "nginx-light"]);
        assert!(near("postgresql").is_empty());
        assert_eq!(super::near("", ["a", "bb"].into_iter()), ["a"]);
    }
}
