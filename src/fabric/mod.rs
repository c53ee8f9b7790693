//! What surrounds the images: nodes with their names and addresses, the seed of what is secret, the
//! libvirt descriptions, the launch script, the ssh configuration.
//!
//! Everything here is text made from a [`Cluster`]: nothing is executed and nothing of the host is
//! asked, so the same cluster gives the same text. Only [`Seed`] touches a file.

mod cluster;
mod launch;
mod libvirt;
mod seed;
mod ssh;

pub use cluster::{BRIDGE, Cluster, HOST_ADDRESS, NETWORK, Node, PREFIX_LENGTH, SHARED_MEMORY_NAME};
pub use launch::{KVM_PROBE_EXIT, kvm_probe, launch_script};
pub use libvirt::{Hypervisor, domain_xml, network_xml};
pub use seed::{Seed, SeedError};
pub use ssh::{KEY_FILE, KNOWN_HOSTS_FILE, SSH_PORT_BASE, known_hosts, ssh_config};
