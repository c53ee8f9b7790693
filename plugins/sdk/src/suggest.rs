//! Finding the name that was probably meant.

use strsim::osa_distance;

/// The candidate nearest to `given` by edit distance, if it is near enough to be a slip of the
/// keyboard. A swap of neighbours counts as one edit.
#[must_use]
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let within = given.chars().count().div_ceil(3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (osa_distance(given, candidate), candidate))
        .filter(|&(distance, _)| distance <= within)
        .min()
        .map(|(_, candidate)| candidate)
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
