//! Names that somebody may have meant.

/// How many names are offered at most.
const OFFERED: usize = 5;

/// The names most like `wanted`, best first: those a few letters away, then those that begin with
/// it.
pub(super) fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted = wanted.to_ascii_lowercase();
    let allowed = (wanted.chars().count() / 3).clamp(1, 3);
    let mut found: Vec<_> = names
        .filter_map(|name| {
            let begins = !wanted.is_empty() && name.starts_with(&wanted);
            let distance = distance(&wanted, name, allowed).or(begins.then_some(allowed + 1))?;
            Some((distance, name.len(), name))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(OFFERED).map(|(_, _, name)| name.to_owned()).collect()
}

/// How many letters have to be put in, left out, replaced, or swapped with their neighbour to make
/// one name of the other; `None` if more than `allowed`.
fn distance(left: &str, right: &str, allowed: usize) -> Option<usize> {
    if left.len().abs_diff(right.len()) > allowed {
        return None;
    }
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut before = vec![0; right.len() + 1];
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let mut best = (above[j] + usize::from(l != r)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && left[i - 1] == *r && right[j - 1] == *l {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        if row.iter().all(|&distance| distance > allowed) {
            return None;
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().filter(|&distance| distance <= allowed)
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
