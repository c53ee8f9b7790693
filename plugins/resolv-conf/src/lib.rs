//! resolv-conf
