//! How the program behaves when things go wrong: bad requests, bad networks, full disks, killed processes. Each test runs
//! the program as a user would, and looks at the exit code, at what it says, and at what it leaves behind.
//!
//! Needs root (for a small memory file system, and to become a normal user), the machine's Debian mirror, gpg, dpkg-deb
//! and strace. One small system is built first; all tests share its packages.

#![allow(clippy::unwrap_used)]

#[path = "behaviour/archive.rs"]
mod archive;
#[path = "behaviour/host.rs"]
mod host;
#[path = "behaviour/interruption.rs"]
mod interruption;
#[path = "behaviour/network.rs"]
mod network;
#[path = "behaviour/output.rs"]
mod output;
#[path = "behaviour/request.rs"]
mod request;
#[path = "behaviour/running.rs"]
mod running;
#[path = "behaviour/server.rs"]
mod server;
mod support;
#[path = "behaviour/world.rs"]
mod world;
