//! What Release files say: when they were made, until when they hold, for which suite they are, and
//! by which digests they list their files.

use jiff::{SignedDuration, Timestamp};

use super::Vector;
use crate::archive::days_from_now;

const NO_DATE: &str = "is not a date in UTC";
const TWICE: &str = "each reader could take another of the two";
const OTHER_SUITE: &str =
    "apt only warns; a mirror could serve any suite that the same key signed, one that is out of support above all";

pub(super) const VECTORS: &[Vector] = &[
    Vector::refused("dated tomorrow", "in the future", |case| case.field("Date", &days_from_now(1))),
    Vector::refused("dated in an hour", "in the future", |case| case.field("Date", &form(3600, UTC))),
    Vector::refused("dated in two minutes", "in the future", |case| case.field("Date", &form(120, UTC))),
    Vector::accepted("dated a year ago", |case| case.field("Date", &days_from_now(-365))),
    Vector::accepted("no Date", |case| case.without("Date")),
    Vector::accepted("a Date that is none", |case| case.field("Date", "yesterday")),
    Vector::accepted("an empty Date", |case| case.field("Date", "")),
    Vector::accepted("a Date without a zone", |case| case.field("Date", &form(-900, "%a, %d %b %Y %H:%M:%S"))),
    Vector::accepted("a Date in another zone by its name", |case| {
        case.field("Date", &form(-900, "%a, %d %b %Y %H:%M:%S CET"))
    }),
    Vector::accepted("a Date in another zone by its offset", |case| {
        case.field("Date", &form(-90_000, "%a, %d %b %Y %H:%M:%S +0200"))
    }),
    Vector::stricter(
        "a Date in the future by its offset",
        "in the future",
        "apt cannot read such a Date, and so does not judge it",
        |case| case.field("Date", &form(-900, "%a, %d %b %Y %H:%M:%S -0800")),
    ),
    Vector::accepted("a Date in GMT", |case| case.field("Date", &form(-900, "%a, %d %b %Y %H:%M:%S GMT"))),
    Vector::accepted("a Date with the offset +0000", |case| {
        case.field("Date", &form(-900, "%a, %d %b %Y %H:%M:%S +0000"))
    }),
    Vector::accepted("a Date without seconds", |case| case.field("Date", &form(-900, "%a, %d %b %Y %H:%M UTC"))),
    Vector::accepted("a Date without a weekday", |case| case.field("Date", &form(-900, "%d %b %Y %H:%M:%S UTC"))),
    Vector::accepted("a Date with another weekday", |case| {
        let day = form(-86_400, "%a");
        case.field("Date", &form(-900, &format!("{day}, %d %b %Y %H:%M:%S UTC")))
    }),
    Vector::accepted("a Date in the form of ISO 8601", |case| case.field("Date", &form(-900, "%Y-%m-%dT%H:%M:%SZ"))),
    Vector::accepted("a Date in seconds", |case| case.field("Date", &form(-900, "%s"))),
    Vector::accepted("a Date on the 31st of February", |case| case.field("Date", "Tue, 31 Feb 2026 10:00:00 UTC")),
    Vector::stricter("two fields Date", "Date is there twice", TWICE, |case| {
        let second = format!("Date: {}\nLabel:", days_from_now(-1));
        case.text("Label:", &second)
    }),
    Vector::refused("valid until yesterday", "expired: valid until", |case| {
        case.field("Valid-Until", &days_from_now(-1))
    }),
    Vector::refused("valid until two seconds ago", "expired: valid until", |case| {
        case.field("Valid-Until", &form(-2, UTC))
    }),
    Vector::refused("valid until a time before its Date", "expired: valid until", |case| {
        case.field("Date", &days_from_now(-2)).field("Valid-Until", &days_from_now(-3))
    }),
    Vector::accepted("no Valid-Until", |case| case.without("Valid-Until")),
    Vector::refused("a Valid-Until that is none", NO_DATE, |case| case.field("Valid-Until", "next week")),
    Vector::stricter("an empty Valid-Until", NO_DATE, "a limit that nobody can read is none", |case| {
        case.field("Valid-Until", "")
    }),
    Vector::refused("a Valid-Until in another zone", NO_DATE, |case| {
        case.field("Valid-Until", &form(86_400, "%a, %d %b %Y %H:%M:%S +0200"))
    }),
    Vector::stricter("two fields Valid-Until", "Valid-Until is there twice", TWICE, |case| {
        let second = format!("Valid-Until: {}\nLabel:", days_from_now(-1));
        case.text("Label:", &second)
    }),
    Vector::accepted("asked for by its Suite", |case| case.asked("calm")),
    Vector::stricter("of another suite", "is for calm, vector, not for storm", OTHER_SUITE, |case| case.asked("storm")),
    Vector::accepted("of neither Suite nor Codename", |case| case.without("Suite").without("Codename")),
    Vector::accepted("of a Codename alone", |case| case.without("Suite")),
    Vector::accepted("of neither Origin nor Label", |case| case.without("Origin").without("Label")),
    Vector::stricter("another stanza behind it", "more than one stanza", TWICE, |case| case.and("\nSuite: other\n")),
    Vector::refused("another stanza before it", "more than one stanza", |case| {
        case.text("Origin:", "Suite: other\n\nOrigin:")
    }),
    Vector::refused("only MD5Sum", "no SHA256", |case| case.listed_by("MD5Sum", "md5sum")),
    Vector::refused("only SHA1", "no SHA256", |case| case.listed_by("SHA1", "sha1sum")),
    Vector::accepted("only SHA512", |case| case.listed_by("SHA512", "sha512sum")),
    Vector::refused("no digests", "no SHA256", |case| case.text("SHA256:", "X-SHA256:")),
    Vector::accepted("an architecture that it does not name", |case| case.field("Architectures", "arm64")),
    Vector::accepted("only all among its architectures", |case| case.field("Architectures", "all")),
    Vector::accepted("a component that it does not name", |case| case.field("Components", "contrib")),
];

const UTC: &str = "%a, %d %b %Y %H:%M:%S UTC";

/// The time in so many seconds, in this form.
fn form(seconds: i64, form: &str) -> String {
    (Timestamp::now() + SignedDuration::from_secs(seconds)).strftime(form).to_string()
}
