//! The size of a disk's sectors.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;

/// The logical sectors of a disk: what its partition table and its FATs count in, and the least
/// that is read or written at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub enum SectorSize {
    /// 512 bytes, as nearly all disks show.
    #[default]
    Bytes512,
    /// 4096 bytes ("4K native"). BIOS boots from no such disk.
    Bytes4096,
}

/// A number of bytes that no sector has here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sector has 512 or 4096 bytes, not {0}")]
pub struct InvalidSectorSize(String);

impl SectorSize {
    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Bytes512 => 512,
            Self::Bytes4096 => 4096,
        }
    }

    /// Whether BIOS boots from such a disk.
    #[must_use]
    pub const fn boots_by_bios(self) -> bool {
        matches!(self, Self::Bytes512)
    }

    /// The smallest FAT32 that is made on such a disk. With fewer than 65,525 clusters a file system
    /// counts as a FAT16, and no cluster is smaller than a sector.
    #[must_use]
    pub const fn least_fat_bytes(self) -> u64 {
        match self {
            Self::Bytes512 => 64 * MIB,
            Self::Bytes4096 => 260 * MIB,
        }
    }
}

impl FromStr for SectorSize {
    type Err = InvalidSectorSize;

    fn from_str(text: &str) -> Result<Self, InvalidSectorSize> {
        match text {
            "512" => Ok(Self::Bytes512),
            "4096" => Ok(Self::Bytes4096),
            _ => Err(InvalidSectorSize(text.to_owned())),
        }
    }
}

impl TryFrom<i64> for SectorSize {
    type Error = InvalidSectorSize;

    fn try_from(bytes: i64) -> Result<Self, InvalidSectorSize> {
        bytes.to_string().parse()
    }
}

impl From<SectorSize> for i64 {
    fn from(size: SectorSize) -> Self {
        size.bytes() as Self
    }
}

impl fmt::Display for SectorSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

#[cfg(feature = "schemars")]
impl schemars::JsonSchema for SectorSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SectorSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "enum": [512, 4096] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_two_sizes() {
        for (number, size) in [(512, SectorSize::Bytes512), (4096, SectorSize::Bytes4096)] {
            assert_eq!(SectorSize::try_from(number), Ok(size));
            assert_eq!((i64::from(size), size.to_string()), (number, number.to_string()));
        }
        for number in [0, -512, 513, 1024, 2048, 8192, i64::MAX] {
            let error = SectorSize::try_from(number).unwrap_err().to_string();
            assert_eq!(error, format!("a sector has 512 or 4096 bytes, not {number}"));
        }
    }
}
