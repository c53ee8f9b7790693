//! Relations between packages: the fields Depends, Pre-Depends, Conflicts, Breaks, Provides and
//! their like.
//!
//! A field is clauses, which commas part; a clause is alternatives, which bars part; an alternative
//! is a name, perhaps with an architecture qualifier and a demand on the version (Debian Policy
//! 7.1). The restrictions of source packages (`[amd64]`, `<!nocheck>`) have no place in a package
//! index and are refused, as apt refuses them.

use std::cmp::Ordering;
use std::fmt;

use super::version;

/// How a version must stand to the one in the relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<<`
    Earlier,
    /// `<=`, and the obsolete `<`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`, and the obsolete `>`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Comparison {
    /// Whether a version that stands to the demanded one in `order` is accepted.
    #[must_use]
    pub fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Earlier => order.is_lt(),
            Self::EarlierOrEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::LaterOrEqual => order.is_ge(),
            Self::Later => order.is_gt(),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

/// A demand on a version: `(>= 1.2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Constraint<'a> {
    /// How the version must stand to `version`.
    pub comparison: Comparison,
    /// The version in the relation.
    pub version: &'a str,
}

impl Constraint<'_> {
    /// Whether `version` is accepted.
    #[must_use]
    pub fn accepts(&self, version: &str) -> bool {
        self.comparison.accepts(version::compare(version, self.version))
    }
}

impl fmt::Display for Constraint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.comparison, self.version)
    }
}

/// One alternative: `perl:any (>= 5.36)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alternative<'a> {
    /// The name as written, with its architecture qualifier.
    pub qualified_name: &'a str,
    /// The demand on the version.
    pub constraint: Option<Constraint<'a>>,
}

impl<'a> Alternative<'a> {
    /// The name without its architecture qualifier.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.qualified_name.rsplit_once(':').map_or(self.qualified_name, |(name, _)| name)
    }

    /// The architecture qualifier: `any`, `native` or the name of an architecture.
    #[must_use]
    pub fn qualifier(&self) -> Option<&'a str> {
        self.qualified_name.rsplit_once(':').map(|(_, qualifier)| qualifier)
    }
}

impl fmt::Display for Alternative<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.qualified_name)?;
        self.constraint.map_or(Ok(()), |constraint| write!(f, " ({constraint})"))
    }
}

/// One clause: it holds when any of its alternatives does. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause<'a> {
    /// The alternatives in the order of preference.
    pub alternatives: Vec<Alternative<'a>>,
}

impl fmt::Display for Clause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, alternative) in self.alternatives.iter().enumerate() {
            write!(f, "{}{alternative}", if position == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

/// A relation that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("relation `{text}`: {problem}")]
pub struct Error {
    text: String,
    problem: &'static str,
}

/// Reads a relation field whole.
///
/// # Errors
/// At the first alternative that cannot be read.
pub fn parse(field: &str) -> Result<Vec<Clause<'_>>, Error> {
    let mut clauses: Vec<Clause<'_>> = Vec::new();
    let mut continued = false;
    for item in alternatives(field) {
        let (alternative, or_follows) = item?;
        match clauses.last_mut() {
            Some(clause) if continued => clause.alternatives.push(alternative),
            _ => clauses.push(Clause { alternatives: vec![alternative] }),
        }
        continued = or_follows;
    }
    Ok(clauses)
}

/// Walks over the alternatives of a field without allocating, each with whether a bar follows it.
/// Ends after an error.
pub fn alternatives(field: &str) -> impl Iterator<Item = Result<(Alternative<'_>, bool), Error>> {
    let mut rest = field.trim_ascii();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match take_alternative(rest) {
            Ok((alternative, separator, tail)) => {
                rest = tail;
                Some(Ok((alternative, separator == Some(b'|'))))
            }
            Err(problem) => {
                let end = rest.find([',', '|']).unwrap_or(rest.len());
                let text = rest[..end].trim_ascii().chars().take(200).collect();
                rest = "";
                Some(Err(Error { text, problem }))
            }
        }
    })
}

/// An alternative, the separator after it, and what follows. A comma at the very end of a field is
/// let through, as apt and dpkg do.
fn take_alternative(text: &str) -> Result<(Alternative<'_>, Option<u8>, &str), &'static str> {
    let ends_name = |byte: u8| {
        matches!(byte, b'(' | b')' | b',' | b'|' | b'[' | b']' | b'<' | b'>' | b'=') || byte.is_ascii_whitespace()
    };
    let end = text.bytes().position(ends_name).unwrap_or(text.len());
    let (qualified_name, rest) = text.split_at(end);
    if qualified_name.is_empty() {
        return Err("a name is missing");
    }
    let mut rest = rest.trim_ascii_start();
    let mut constraint = None;
    if let Some(inner) = rest.strip_prefix('(') {
        let (inner, tail) = inner.split_once(')').ok_or("a parenthesis is not closed")?;
        constraint = Some(parse_constraint(inner)?);
        rest = tail.trim_ascii_start();
    }
    let separator = rest.bytes().next();
    let tail = match separator {
        None => "",
        Some(b',' | b'|') => rest[1..].trim_ascii_start(),
        Some(b'[' | b'<') => return Err("restrictions have no place in a binary package"),
        Some(_) => return Err("a comma, a bar or the end was expected"),
    };
    if separator == Some(b'|') && tail.is_empty() {
        return Err("nothing follows a bar");
    }
    Ok((Alternative { qualified_name, constraint }, separator, tail))
}

fn parse_constraint(text: &str) -> Result<Constraint<'_>, &'static str> {
    let text = text.trim_ascii();
    let end = text.bytes().position(|byte| !b"<>=".contains(&byte)).unwrap_or(text.len());
    let (sign, version) = text.split_at(end);
    let comparison = match sign {
        "<<" => Comparison::Earlier,
        "<=" | "<" => Comparison::EarlierOrEqual,
        // A version alone means the same to apt and to dpkg, which warns of it.
        "=" | "" => Comparison::Equal,
        ">=" | ">" => Comparison::LaterOrEqual,
        ">>" => Comparison::Later,
        _ => return Err("the comparison is none of << <= = >= >>"),
    };
    let version = version.trim_ascii();
    if version.is_empty() { Err("a version is missing") } else { Ok(Constraint { comparison, version }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_a_field() {
        let clauses = parse("libc6 (>= 2.36), perl:any | perl-base:any (>>5.3), debconf(<2)|x ,\n y").unwrap();
        let shown: Vec<_> = clauses.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["libc6 (>= 2.36)", "perl:any | perl-base:any (>> 5.3)", "debconf (<= 2) | x", "y"]);
        let perl = clauses[1].alternatives[0];
        assert_eq!((perl.name(), perl.qualifier()), ("perl", Some("any")));
        assert_eq!(parse("a (2.1)").unwrap()[0].to_string(), "a (= 2.1)");
        assert!(parse("").unwrap().is_empty());
        assert_eq!(parse("a, ").unwrap().len(), 1);
    }

    #[test]
    fn says_what_is_malformed() {
        for (field, message) in [
            ("a (>= 1", "relation `a (>= 1`: a parenthesis is not closed"),
            ("a ()", "relation `a ()`: a version is missing"),
            ("a (>= )", "relation `a (>= )`: a version is missing"),
            ("a, , b", "relation ``: a name is missing"),
            ("a | ", "relation `a`: nothing follows a bar"),
            ("a [amd64]", "relation `a [amd64]`: restrictions have no place in a binary package"),
            ("a b", "relation `a b`: a comma, a bar or the end was expected"),
            ("a (== 1)", "relation `a (== 1)`: the comparison is none of << <= = >= >>"),
        ] {
            assert_eq!(parse(field).unwrap_err().to_string(), message, "{field}");
        }
    }

    #[test]
    fn compares_versions() {
        for (sign, accepted) in
            [("<<", "0.9"), ("<=", "0.9 1.0"), ("=", "1.0"), (">=", "1.0 1.1"), (">>", "1.1"), ("<", "0.9 1.0")]
        {
            let field = format!("a ({sign} 1.0)");
            let constraint = parse(&field).unwrap()[0].alternatives[0].constraint.unwrap();
            let found: Vec<_> =
                ["0.9", "1.0", "1.1"].into_iter().filter(|version| constraint.accepts(version)).collect();
            assert_eq!(found.join(" "), accepted, "{sign}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(field in "[a(>=<|, \n:é)\\[0-9]{0,40}|.*") {
            let _ = parse(&field);
        }

        #[test]
        fn reads_what_it_shows(field in "[a-z][a-z0-9+.-]{1,5}(:any)?( \\((<<|<=|=|>=|>>) [0-9][0-9a-z.~+-]{0,5}\\))?(( \\| |, )[a-z]{2,4}){0,3}") {
            let clauses = parse(&field).unwrap();
            let shown = clauses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(&shown, &field);
        }
    }
}
