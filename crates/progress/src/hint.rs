//! What a person can do about an error.

use std::error::Error;

/// An error about which a person can do something.
///
/// Who shows an error walks the chain of its causes, and takes the hint of the outermost that has
/// one: no error passes on the hint of its source.
pub trait Hint: Error {
    /// What to do about this very error, whatever caused it.
    fn hint(&self) -> Option<String>;
}
