//! How tar is encoded: ustar headers, GNU long names and base-256 numbers, PAX records. Formats:
//! pax(1) of POSIX, and the GNU tar manual, "Basic Tar Format".
//!
//! [`TarReader`] parses a stream, and [`TarWriter`] writes one; neither knows what entries mean for
//! a root file system, which is the matter of [`tarball`](crate::tarball).

mod error;
mod pax;
mod reader;
mod writer;

pub use error::Error;
pub use reader::{EntryKind, Header, TarReader};
pub use writer::TarWriter;

/// The unit in which tar is written.
pub const BLOCK: u64 = 512;

/// The keyword of a comment on the whole archive (pax(1p)).
pub(crate) const COMMENT: &[u8] = b"comment";
