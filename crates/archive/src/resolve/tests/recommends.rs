//! Recommends, where they are followed.

use super::*;

/// The packages selected beside `base`, those with an asterisk automatic.
fn with(recommends: &Recommends, lines: &str, include: &str) -> String {
    let include: Vec<_> = include.split_whitespace().map(str::to_owned).collect();
    let request = Request { variant: Variant::Essential, include: &include, recommends, ..Request::default() };
    let index = index(lines);
    let selection = resolve(&index, &request).unwrap_or_else(|error| panic!("{error}"));
    let shown =
        |selected: &Selected<'_>| format!("{}{}", selected.package.name(), if selected.automatic { "*" } else { "" });
    let names: Vec<_> = selection.packages().iter().map(shown).filter(|name| name != "base").collect();
    names.join(" ")
}

#[test]
fn are_followed_of_all() {
    for (rule, lines, expected) in [
        (
            "all clauses, and what these recommend",
            "a 1: Recommends: x, y\nx 1: Recommends: z\ny 1:\nz 1:",
            "a x* y* z*",
        ),
        ("the first alternative", "a 1: Recommends: x | y\nx 1:\ny 1:", "a x*"),
        ("unless another is there", "a 1: Depends: y; Recommends: x | y\nx 1:\ny 1:", "a y*"),
        // The field comes first in the stanza, but last for apt.
        ("after what is needed", "a 1: Recommends: y; Depends: x | y\nx 1:\ny 1:", "a x* y*"),
        ("no failure where no package has the name", "a 1: Recommends: absent, y\ny 1:", "a y*"),
        ("nor where a version is asked for", "a 1: Recommends: y (>= 2)\ny 1:", "a"),
        ("an alternative that lacks something", "a 1: Recommends: x | y\nx 1: Depends: absent\ny 1:", "a y*"),
        (
            "an alternative that lacks something deep down",
            "a 1: Recommends: x | y\nx 1: Depends: m\nm 1: Depends: n\nn 1: Depends: absent\ny 1:",
            "a y*",
        ),
        ("nothing that the package conflicts with", "a 1: Recommends: x; Conflicts: x\nx 1:", "a"),
        ("nothing that conflicts with it", "a 1: Recommends: x\nx 1: Conflicts: a", "a"),
        (
            "nothing that conflicts with what only one can give",
            "a 1: Depends: y; Recommends: x\nx 1: Breaks: y\ny 1:",
            "a y*",
        ),
        (
            "a provider",
            "a 1: Recommends: v\nx 1: Priority: optional; Provides: v\ny 1: Priority: standard; Provides: v",
            "a y*",
        ),
        ("no Suggests", "a 1: Recommends: x; Suggests: y\nx 1: Suggests: y\ny 1:", "a x*"),
        ("circles", "a 1: Recommends: b\nb 1: Recommends: a", "a b*"),
    ] {
        assert_eq!(with(&Recommends::All, lines, "a"), expected, "{rule}");
        let without = with(&Recommends::None, lines, "a");
        assert!(without.len() < expected.len() || without == expected, "{rule}: {without}");
    }
}

#[test]
fn are_followed_in_both_stages() {
    let lines = "core 1: Essential: yes; Recommends: x
                 x 1: Recommends: y
                 y 1:";
    assert_eq!(with(&Recommends::All, lines, ""), "core x y");
    // What is there before the second stage, and lacks what it recommends, is left as it is.
    let lines = "core 1: Essential: yes; Recommends: x | y
                 other 1: Essential: yes; Conflicts: x, y
                 x 1:
                 y 1:
                 a 1:";
    assert_eq!(with(&Recommends::All, lines, "a"), "a core other");
}

#[test]
fn are_followed_of_the_named_ones_alone() {
    let named = |names: &str| Recommends::Of(names.split(' ').map(str::to_owned).collect());
    let lines = "a 1: Depends: c; Recommends: x
                 b 1: Recommends: y
                 c 1: Recommends: z
                 x 1: Recommends: y
                 y 1:
                 z 1:";
    for (names, expected) in [
        ("a", "a b c* x*"),
        ("b", "a b c* y*"),
        ("c absent", "a b c* z*"),
        ("a x", "a b c* x* y*"),
        ("absent", "a b c*"),
        ("x", "a b c*"),
    ] {
        assert_eq!(with(&named(names), lines, "a b"), expected, "{names}");
    }
}

#[test]
fn the_sweep_spares_what_is_named_where_anything_recommended_is_missing() {
    // x and what it brought in are given up for z, which only `other` brings in. The version that
    // would be asked for does not count, nor that another package provides the name.
    let lines = |more: &str| {
        format!(
            "a 1: Recommends: x
             b 1: Depends: z{more}
             x 1: Depends: y; Conflicts: z
             y 1: Provides: v
             z 1: Conflicts: x"
        )
    };
    for (more, expected) in [
        ("", "a b z*"),
        ("; Recommends: y (>= 2)", "a b y* z*"),
        ("; Recommends: v (>= 2)", "a b y* z*"),
        ("; Recommends: absent", "a b z*"),
    ] {
        assert_eq!(with(&Recommends::All, &lines(more), "a b"), expected, "{more}");
    }
}
