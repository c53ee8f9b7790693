//! The addresses of the nodes.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use fam_plugin::Node;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A network of 254 IPv4 addresses, `A.B.C.0/24`: node N has number N in it, the host 254.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet([u8; 3]);

/// A text is no [`Subnet`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no network for nodes: {rule}")]
pub struct InvalidSubnet {
    text: String,
    rule: &'static str,
}

impl Subnet {
    /// The address with this number, from 1 to 254.
    #[must_use]
    pub fn address(self, number: u8) -> Ipv4Addr {
        let Self([a, b, c]) = self;
        Ipv4Addr::new(a, b, c, number)
    }

    /// The IPv6 address with this number, in `fd48:5045:AABB:CC::/64`, where AA, BB and CC are this
    /// network's own bytes. These are unique local addresses (RFC 4193), and networks that differ have
    /// others.
    #[must_use]
    pub fn ipv6(self, number: u8) -> Ipv6Addr {
        let Self([a, b, c]) = self;
        // After `fd`, HPE in ASCII, as in the hardware addresses of the nodes.
        let network = Ipv6Addr::new(0xfd48, 0x5045, u16::from_be_bytes([a, b]), c.into(), 0, 0, 0, 0);
        Node::ipv6_beside(network, number)
    }

    /// How many bits of an address are the network's.
    #[must_use]
    pub fn prefix_len(self) -> u8 {
        24
    }

    /// The same as a mask.
    #[must_use]
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::new(255, 255, 255, 0)
    }
}

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Self, InvalidSubnet> {
        let invalid = |rule| InvalidSubnet { text: text.to_owned(), rule };
        let address: Option<Ipv4Addr> = text.strip_suffix("/24").and_then(|address| address.parse().ok());
        let Some([a, b, c, 0]) = address.map(|address| address.octets()) else {
            return Err(invalid("A.B.C.0/24 was expected, as in 10.77.0.0/24"));
        };
        match a {
            // This host itself, loopback, multicast, and what is reserved.
            0 | 127 | 224.. => Err(invalid("no machine can have an address of it")),
            169 if b == 254 => Err(invalid("Linux gives such addresses to itself (RFC 3927)")),
            _ => Ok(Self([a, b, c])),
        }
    }
}

impl TryFrom<String> for Subnet {
    type Error = InvalidSubnet;

    fn try_from(text: String) -> Result<Self, InvalidSubnet> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(0), self.prefix_len())
    }
}

impl JsonSchema for Subnet {
    fn schema_name() -> Cow<'static, str> {
        "Subnet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.0/24$",
            "description": "A network of 254 addresses, as in 10.77.0.0/24: node N has number N in it, the host 254.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_254_addresses() {
        let subnet: Subnet = "10.77.0.0/24".parse().unwrap();
        assert_eq!(
            (subnet.to_string().as_str(), subnet.address(3).to_string().as_str()),
            ("10.77.0.0/24", "10.77.0.3")
        );
        for (number, address) in [
            (3, "fd48:5045:a4d:0:0:0:0:3"),
            (12, "fd48:5045:a4d::12"),
            (109, "fd48:5045:a4d::109"),
            (254, "fd48:5045:a4d::254"),
        ] {
            assert_eq!(subnet.ipv6(number), address.parse::<Ipv6Addr>().unwrap());
        }
        let usual: Subnet = "192.168.42.0/24".parse().unwrap();
        assert_eq!(usual.ipv6(1).to_string(), "fd48:5045:c0a8:2a::1");
        for bad in [
            "",
            "10.77.0.0",
            "10.77.0.1/24",
            "10.77.0.0/16",
            "10.77.0.0/024",
            "10.77.0/24",
            "fd00::/24",
            "010.1.1.0/24",
            "0.0.0.0/24",
            "127.0.0.0/24",
            "224.0.0.0/24",
            "255.1.1.0/24",
            "169.254.1.0/24",
            " 10.77.0.0/24",
        ] {
            assert!(bad.parse::<Subnet>().unwrap_err().to_string().contains("is no network for nodes: "), "{bad}");
        }
    }
}
