//! apt-sources
