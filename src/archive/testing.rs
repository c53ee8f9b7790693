//! What the tests of this room share: an HTTP server that misbehaves on request, one that speaks HTTPS, and `OpenPGP` keys in
//! any state.

pub(super) mod keys;
pub(super) mod server;
pub(super) mod tls;
