//! Maintainer scripts.
