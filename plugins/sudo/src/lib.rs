//! sudo
