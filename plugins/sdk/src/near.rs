//! Finding the name that was probably meant.

/// The candidate nearest to `given` by edit distance, if it is near enough to be a slip of the
/// keyboard.
#[must_use]
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let within = given.chars().count().div_ceil(3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(given, candidate), candidate))
        .filter(|&(distance, _)| distance <= within)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Damerau-Levenshtein distance (optimal string alignment): a swap of neighbours counts as one
/// edit.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let names = ["hostname", "hosts", "users", "sudo", "resolv-conf"];
        for (given, expected) in [
            ("hostnmae", Some("hostname")),
            ("user", Some("users")),
            ("resolv_conf", Some("resolv-conf")),
            ("sodu", Some("sudo")),
            ("kubernetes", None),
        ] {
            assert_eq!(nearest(given, names), expected, "{given}");
        }
    }
}
