//! The names by which a host knows a cluster: of its shared memory, its libvirt network and that
//! network's bridge, and the ports and hardware addresses of its nodes. The first cluster of a host
//! has well-known ones; where another cluster has these, a cluster has names of its own, which end in
//! its id. Which of the two it is shows only on the host, so the launch script decides it.

use std::fmt;

use super::seed::Seed;

/// How many ports a cluster has for itself: one for each node, and the one below that of node 1.
const PORTS: u16 = 256;
/// How many clusters can have ports apart. So that all are below 32768, where Linux begins to give
/// ports to whoever asks for any.
const CLUSTERS: u16 = 80;
/// The port below that of node 1 of the first cluster.
const FIRST_PORT: u16 = 10022;

/// What tells a cluster from others on its host: four hexadecimal digits that follow from its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClusterId([u8; 2]);

impl ClusterId {
    /// The id of the cluster with this seed.
    pub(super) fn of(seed: &Seed) -> Self {
        let bytes = seed.derive("cluster id");
        let mut pairs = bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        // With those of the well-known hardware addresses, its own would be no others.
        let id = pairs.find(|pair| *pair != WELL_KNOWN_PART);
        Self(id.unwrap_or_default())
    }

    /// What stands in the hardware addresses of the nodes in place of [`WELL_KNOWN_PART`].
    pub(super) fn hardware_address_part(self) -> [u8; 2] {
        self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The third and fourth byte of the well-known hardware addresses.
pub(super) const WELL_KNOWN_PART: [u8; 2] = *b"HP";

/// The names of one cluster on its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// Of the libvirt network.
    pub(super) network: String,
    /// Of the bridge of that network. Linux takes 15 bytes.
    pub(super) bridge: String,
    /// Of the shared memory, which is a file in `/dev/shm`.
    pub(super) shared_memory: String,
    /// The port below that of node 1, by which ssh reaches the nodes in user-mode networking.
    pub(super) port: u16,
}

impl Names {
    /// The well-known ones.
    pub(super) fn first() -> Self {
        Self::with("", FIRST_PORT)
    }

    /// Those of the cluster `id` where another cluster has the well-known ones.
    pub(super) fn own(id: ClusterId) -> Self {
        let ports = 1 + u16::from_be_bytes(id.0) % CLUSTERS;
        Self::with(&format!("_{id}"), FIRST_PORT + PORTS * ports)
    }

    fn with(suffix: &str, port: u16) -> Self {
        Self {
            network: format!("fabric_emul{suffix}"),
            bridge: format!("fabric_em{suffix}"),
            shared_memory: format!("fabric_em{suffix}"),
            port,
        }
    }

    /// The file of the shared memory, where none is named when nodes are started.
    pub(super) fn shared_memory_file(&self) -> String {
        format!("/dev/shm/{}", self.shared_memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_end_in_the_id() {
        let id = ClusterId::of(&Seed::from_bytes([7; 32]));
        let own = Names::own(id);
        assert_eq!(own.network, format!("fabric_emul_{id}"));
        assert_eq!(own.shared_memory_file(), format!("/dev/shm/fabric_em_{id}"));
        assert_eq!((id.to_string().len(), own.bridge.len()), (4, 14));
        assert_ne!(id, ClusterId::of(&Seed::from_bytes([8; 32])));
    }

    #[test]
    fn ports_of_clusters_do_not_overlap() {
        let first = Names::first().port;
        let ports = |id: u16| Names::own(ClusterId(id.to_be_bytes())).port;
        assert_eq!(ports(0), first + 256);
        for id in 0..=u16::MAX {
            assert!((ports(id) - first).is_multiple_of(256) && ports(id) > first && ports(id) + 255 < 32768);
        }
    }
}
