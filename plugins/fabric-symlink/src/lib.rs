//! fabric-symlink
