//! What Release files say: when they were made, until when they hold, for which suite they are, and
//! by which digests they list their files.

use jiff::{SignedDuration, Timestamp};

use super::Vector;
use crate::archive::days_from_now;

const NO_DATE: &str = "is not a date in UTC";
const DATED: &str = "without a date, an older file cannot be told from a newer one";
const ONE_FORM: &str =
    "Debian's archives write dates in one form, and a reader that guesses may guess otherwise than another";
const TWICE: &str = "each reader could take another of the two";
const OTHER_SUITE: &str =
    "apt only warns; a mirror could serve any suite that the same key signed, one that is out of support above all";

pub(super) const VECTORS: &[Vector] = &[
    Vector::refused("dated tomorrow", "in the future", |case| case.field("Date", &days_from_now(1))),
    Vector::refused("dated in an hour", "in the future", |case| case.field("Date", &form(3600, UTC))),
    Vector::refused("dated in two minutes", "in the future", |case| case.field("Date", &form(120, UTC))),
    Vector::accepted("dated a year ago", |case| case.field("Date", &days_from_now(-365))),
    Vector::stricter("no Date", "no Date", DATED, |case| case.without("Date")),
    Vector::stricter("a Date that is none", NO_DATE, DATED, |case| case.field("Date", "yesterday")),
    Vector::stricter("an empty Date", NO_DATE, DATED, |case| case.field("Date", "")),
    Vector::stricter("a Date without a zone", NO_DATE, ONE_FORM, |case| {
        case.field("Date", &form(-900, "%a, %d %b %Y %H:%M:%S"))
    }),
    Vector::stricter("a Date in another zone by its name", NO_DATE, ONE_FORM, |case| {
        case.field("Date", &form(-900, "%a, %d %b %Y %H:%M:%S CET"))
    }),
    Vector::stricter("a Date in another zone by its offset", NO_DATE, ONE_FORM, |case| {
        case.field("Date", &form(-90_000, "%a, %d %b %Y %H:%M:%S +0200"))
    }),
    Vector::accepted("a Date in GMT", |case| case.field("Date", &form(-900, "%a, %d %b %Y %H:%M:%S GMT"))),
    Vector::accepted("a Date with the offset +0000", |case| {
        case.field("Date", &form(-900, "%a, %d %b %Y %H:%M:%S +0000"))
    }),
    Vector::stricter("a Date without seconds", NO_DATE, ONE_FORM, |case| {
        case.field("Date", &form(-900, "%a, %d %b %Y %H:%M UTC"))
    }),
    Vector::stricter("a Date without a weekday", NO_DATE, ONE_FORM, |case| {
        case.field("Date", &form(-900, "%d %b %Y %H:%M:%S UTC"))
    }),
    Vector::stricter("a Date with another weekday", NO_DATE, ONE_FORM, |case| {
        let day = form(-86_400, "%a");
        case.field("Date", &form(-900, &format!("{day}, %d %b %Y %H:%M:%S UTC")))
    }),
    Vector::stricter("a Date in the form of ISO 8601", NO_DATE, ONE_FORM, |case| {
        case.field("Date", &form(-900, "%Y-%m-%dT%H:%M:%SZ"))
    }),
    Vector::stricter("a Date in seconds", NO_DATE, ONE_FORM, |case| case.field("Date", &form(-900, "%s"))),
    Vector::stricter("a Date on the 31st of February", NO_DATE, ONE_FORM, |case| {
        case.field("Date", "Tue, 31 Feb 2026 10:00:00 UTC")
    }),
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
    Vector::stricter("of neither Suite nor Codename", "neither Suite nor Codename", OTHER_SUITE, |case| {
        case.without("Suite").without("Codename")
    }),
    Vector::accepted("of a Codename alone", |case| case.without("Suite")),
    Vector::accepted("of neither Origin nor Label", |case| case.without("Origin").without("Label")),
    Vector::stricter("another stanza behind it", "more than one stanza", TWICE, |case| case.and("\nSuite: other\n")),
    Vector::refused("another stanza before it", "more than one stanza", |case| {
        case.text("Origin:", "Suite: other\n\nOrigin:")
    }),
    Vector::refused("only MD5Sum", "no SHA256", |case| case.listed_by("MD5Sum", "md5sum")),
    Vector::refused("only SHA1", "no SHA256", |case| case.listed_by("SHA1", "sha1sum")),
    Vector::stricter(
        "only SHA512",
        "no SHA256",
        "SHA-256 is what the cache and the lock go by, and every archive of Debian's has it",
        |case| case.listed_by("SHA512", "sha512sum"),
    ),
    Vector::refused("no digests", "no SHA256", |case| case.text("SHA256:", "X-SHA256:")),
    Vector::stricter(
        "an architecture that it does not have",
        "has no architecture",
        "apt goes on without packages of it; a build needs them",
        |case| case.field("Architectures", "arm64"),
    ),
    Vector::stricter(
        "a component that it does not have",
        "has no component",
        "apt goes on without its packages; a build needs them",
        |case| case.field("Components", "contrib"),
    ),
];

const UTC: &str = "%a, %d %b %Y %H:%M:%S UTC";

/// The time in so many seconds, in this form.
fn form(seconds: i64, form: &str) -> String {
    (Timestamp::now() + SignedDuration::from_secs(seconds)).strftime(form).to_string()
}
