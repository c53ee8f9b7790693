//! The vectors of trust with the host's apt: an archive that fam-build accepts, apt accepts.

#[path = "vectors/ours.rs"]
pub mod ours;

use support::apt::Apt;
use support::vectors::{INDEXES, KEYRINGS, MESSAGES, RELEASES, SIGNATURES, STRENGTH, compare};

use ours::ours;

support::tests! {
    needs ["apt-get", "gpg", "gpgconf", "gpgv"];
    strength_of_keys_and_digests,
    keyrings_and_the_states_of_keys,
    signatures_and_their_times,
    signed_messages,
    release_files,
    indexes,
}

fn strength_of_keys_and_digests() {
    compare(STRENGTH, &Apt::host(), ours);
}

fn keyrings_and_the_states_of_keys() {
    compare(KEYRINGS, &Apt::host(), ours);
}

fn signatures_and_their_times() {
    compare(SIGNATURES, &Apt::host(), ours);
}

fn signed_messages() {
    compare(MESSAGES, &Apt::host(), ours);
}

fn release_files() {
    compare(RELEASES, &Apt::host(), ours);
}

fn indexes() {
    compare(INDEXES, &Apt::host(), ours);
}
