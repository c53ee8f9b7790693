//! Makes a root file system of Debian packages: unpacks them into a directory, and configures them
//! in a sandbox, so that the new system's own dpkg goes on from there.
//!
//! [`staging`] is the one way to the files of the directory: a symbolic link in it leads where it
//! would lead in the finished system, and never out. [`install`] has packages [unpacked](unpack)
//! and [configured](configure) in an order that Debian Policy allows, and [`dpkg`] writes the
//! database. Needs root, of the host or of a user namespace.
//!
//! ```
//! use fam_rootfs::staging::Staging;
//! # let directory = tempfile::tempdir()?;
//! # std::os::unix::fs::symlink("/usr/lib", directory.path().join("lib"))?;
//!
//! // `lib` is a link to /usr/lib: that of the new system, not of the host.
//! let staging = Staging::open(directory.path())?;
//! staging.create_dir_all(&"usr/lib".parse()?)?;
//! staging.write(&"lib/os-release".parse()?, b"ID=debian\n", 0o644)?;
//! assert_eq!(staging.read(&"usr/lib/os-release".parse()?)?, b"ID=debian\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod apt;
pub mod bootloader;
pub mod configure;
pub mod dpkg;
pub mod growth;
pub mod install;
pub mod layer;
pub mod names;
pub mod staging;
pub mod tmpfs;
pub mod unpack;
