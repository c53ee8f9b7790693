//! `OpenPGP` keys in any state, for the tests of this room.

pub(super) mod keys;
