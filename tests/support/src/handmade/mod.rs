//! Packages and tarballs that are written byte by byte, so that they can also be wrong.

pub mod deb;
pub mod tar;
