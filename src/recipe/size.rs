//! Amounts of memory and disk as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes, read from `8G`, `512M`, `1GiB` or a plain number of bytes.
///
/// Units are powers of 1024 with or without `iB` or `B`, as QEMU, libvirt and mkfs take them: `1G`,
/// `1GB` and `1GiB` are all 1,073,741,824 bytes. It is shown in the largest unit that keeps it
/// whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

/// The form of a size, for the JSON Schema, which cannot say whether the number is too large.
pub(super) const SIZE_PATTERN: &str = r"^\s*[0-9]+\s*([KMGTkmgt]([Ii]?[Bb])?|[Bb])?\s*$";

const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

impl Size {
    /// One mebibyte, the unit in which images are aligned and libvirt counts memory.
    pub const MIB: Self = Self(1 << 20);
    /// One gibibyte, 2^30 bytes.
    pub const GIB: Self = Self(1 << 30);

    /// A size of so many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The amount in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The amount in mebibytes, rounded down.
    #[must_use]
    pub const fn mebibytes(self) -> u64 {
        self.0 >> 20
    }

    /// Whether it is a whole number of mebibytes.
    #[must_use]
    pub const fn is_whole_mebibytes(self) -> bool {
        self.0.is_multiple_of(Self::MIB.0)
    }
}

/// The text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSize {
    /// There are no digits where the number should be.
    #[error("`{0}` is no size: a whole number with a unit was expected, as in 8G, 512M or 1GiB")]
    Number(String),
    /// The unit is none of those known.
    #[error("`{0}` is no size: the unit `{1}` is none of K, M, G and T (with or without iB)")]
    Unit(String, String),
    /// More than 2^64 bytes.
    #[error("`{0}` is larger than any disk or memory can be")]
    Overflow(String),
}

impl FromStr for Size {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let trimmed = text.trim();
        let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = trimmed.split_at(digits);
        // `1.5G` has a wrong number, not the unit `.5G`.
        if number.is_empty() || unit.starts_with(['.', ',']) {
            return Err(InvalidSize::Number(text.to_owned()));
        }
        let unit = unit.trim_start();
        let number: u64 = number.parse().map_err(|_| InvalidSize::Overflow(text.to_owned()))?;
        let shift = shift_of(unit).ok_or_else(|| InvalidSize::Unit(text.to_owned(), unit.to_owned()))?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(|| InvalidSize::Overflow(text.to_owned()))
    }
}

fn shift_of(unit: &str) -> Option<u32> {
    let mut letters = unit.chars();
    let first = match letters.next() {
        None => return Some(0),
        Some(letter) => letter.to_ascii_uppercase(),
    };
    let rest = letters.as_str().to_ascii_lowercase();
    if first == 'B' {
        return rest.is_empty().then_some(0);
    }
    let (_, shift) = UNITS.into_iter().find(|(letter, _)| *letter == first)?;
    matches!(rest.as_str(), "" | "b" | "ib").then_some(shift)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, shift) in UNITS {
            // 0 is a multiple of every unit; it is shown without one.
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{letter}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl TryFrom<String> for Size {
    type Error = InvalidSize;

    fn try_from(text: String) -> Result<Self, InvalidSize> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("8G", 8 << 30),
            ("512M", 512 << 20),
            ("1GiB", 1 << 30),
            ("1gb", 1 << 30),
            ("2 T", 2 << 40),
            ("64k", 64 << 10),
            ("4096", 4096),
            ("4096B", 4096),
            (" 1G ", 1 << 30),
        ] {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_why() {
        for (text, message) in [
            ("", "`` is no size: a whole number"),
            ("G", "`G` is no size: a whole number"),
            ("-1G", "`-1G` is no size: a whole number"),
            ("1.5G", "`1.5G` is no size: a whole number"),
            ("8X", "the unit `X` is none of K, M, G and T"),
            ("8GiBB", "the unit `GiBB`"),
            ("18446744073709551616", "larger than any disk"),
            ("16777216T", "larger than any disk"),
        ] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes: u64) {
            prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Size>();
        }
    }
}
