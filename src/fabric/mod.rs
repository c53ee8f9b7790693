//! What surrounds the images: nodes with their names and addresses, the seed of what is secret, the
//! libvirt descriptions, the launch script, the ssh configuration.
//!
//! Everything here is text made from a [`Cluster`]: nothing is executed and nothing of the host is
//! asked, so the same cluster gives the same text. Only [`Seed`] touches a file.

pub mod cloud_init;
mod cluster;
mod launch;
mod libvirt;
mod machine;
mod names;
mod network;
pub mod seed;
mod ssh;

pub use cluster::{Cluster, Node};
pub use launch::{LAUNCH_SCRIPT, launch_script};
pub use libvirt::{Hypervisor, domain_xml, network_xml};
pub use machine::{Machine, image_of_disk, ivshmem_address};
pub use network::{Mac, NetworkPlan};
pub use seed::Seed;
pub use ssh::{KEY_FILE, KNOWN_HOSTS_FILE, known_hosts, ssh_config};
