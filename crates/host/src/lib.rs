//! What the parts of fam-build need of the host, and how they ask for it with care.
//!
//! [`regular`] opens files that must be regular ones, [`parallel`] works on many items by several
//! threads, [`read_at`] reads without a position, [`pieces`] reads piece by piece, [`pattern`] compares
//! names with patterns as the C library does, [`space`] says how much room there is on a file system
//! and in memory, and [`shortage`] what a person can do where there is none left.

pub mod parallel;
pub mod pattern;
pub mod pieces;
pub mod read_at;
pub mod regular;
pub mod shortage;
pub mod space;
