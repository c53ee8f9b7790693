//! What the tests of this room share: a server that speaks HTTPS, and `OpenPGP` keys in any state.

pub(super) mod keys;
pub(super) mod tls;
