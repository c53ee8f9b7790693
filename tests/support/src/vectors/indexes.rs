//! Indexes and what the Release file says of them; and what was seen before.

use super::Vector;
use super::case::{INDEX_PATH, index};
use crate::archive::days_from_now;

const DIGEST: &str = "has the SHA-256";
const SIZE: &str = "bytes, and should have";

pub(super) const VECTORS: &[Vector] = &[
    Vector::refused("another index of the same size", DIGEST, |case| case.serving(&index("2"))),
    Vector::refused("an index that is smaller than signed", SIZE, |case| case.serving(&index("1")[..100])),
    Vector::refused("an index that is larger than signed", SIZE, |case| case.serving(&(index("1") + &index("2")))),
    Vector::refused("an empty index", SIZE, |case| case.serving("")),
    Vector::refused("a size that is too small", SIZE, |case| {
        case.listed_as(|sum, size| format!("{sum} {} {INDEX_PATH}", size - 1))
    }),
    Vector::refused("a size that is too large", SIZE, |case| {
        case.listed_as(|sum, size| format!("{sum} {} {INDEX_PATH}", size + 1))
    }),
    Vector::refused("a size of zero", DIGEST, |case| case.listed_as(|sum, _| format!("{sum} 0 {INDEX_PATH}"))),
    Vector::refused("a negative size", "is not a digest", |case| {
        case.listed_as(|sum, size| format!("{sum} -{size} {INDEX_PATH}"))
    }),
    Vector::refused("a size beyond 64 bits", "is not a digest", |case| {
        case.listed_as(|sum, _| format!("{sum} 18446744073709551617 {INDEX_PATH}"))
    }),
    Vector::refused("another digest", DIGEST, |case| {
        case.listed_as(|sum, size| format!("{} {size} {INDEX_PATH}", sum.replace(['0', '1', '2'], "3")))
    }),
    Vector::refused("a digest that is cut off", "is not a digest", |case| {
        case.listed_as(|sum, size| format!("{} {size} {INDEX_PATH}", &sum[1..]))
    }),
    Vector::refused("a digest that is none", "is not a digest", |case| {
        case.listed_as(|sum, size| format!("{} {size} {INDEX_PATH}", "x".repeat(sum.len())))
    }),
    Vector::refused("no index in the list", "lists no", |case| {
        case.listed_as(|sum, size| format!("{sum} {size} main/source/Sources"))
    }),
    Vector::refused("a list entry without a path", "is not a digest", |case| {
        case.listed_as(|sum, size| format!("{sum} {size}"))
    }),
    Vector::stricter(
        "an entry twice, with another digest the second time",
        "is not a digest",
        "each reader could take another of the two; apt takes the first",
        |case| {
            case.listed_as(|sum, size| format!("{sum} {size} {INDEX_PATH}\n {} {size} {INDEX_PATH}", "3".repeat(64)))
        },
    ),
    Vector::refused("an entry twice, with another digest the first time", "is not a digest", |case| {
        case.listed_as(|sum, size| format!("{} {size} {INDEX_PATH}\n {sum} {size} {INDEX_PATH}", "3".repeat(64)))
    }),
    Vector::accepted("the same entry twice", |case| {
        case.listed_as(|sum, size| format!("{sum} {size} {INDEX_PATH}\n {sum} {size} {INDEX_PATH}"))
    }),
    Vector::refused("two lists of SHA-256", "SHA256 is there twice", |case| {
        case.and(&format!("SHA256:\n {} 100 {INDEX_PATH}\n", "3".repeat(64)))
    }),
    Vector::accepted("an index by its digest", |case| case.by_hash(&index("1"))),
    Vector::refused("another index of the same size by the digest", DIGEST, |case| {
        case.serving(&index("2")).by_hash(&index("2"))
    }),
    Vector::refused("a smaller index by the digest", SIZE, |case| {
        case.serving(&index("1")[..100]).by_hash(&index("1")[..100])
    }),
    Vector::refused("an index from the place of another, by the digest alone", DIGEST, |case| {
        case.by_hash(&index("2"))
    }),
    Vector::accepted("an index that is new the second time", |case| {
        case.index("2").field("Date", &days_from_now(-9)).after_a_good_one()
    }),
    Vector::refused("a Release file that is older the second time", "goes back in time", |case| {
        case.index("2").field("Date", &days_from_now(-11)).after_a_good_one()
    }),
    Vector::refused("an index that is old while the Release file is new", DIGEST, |case| {
        case.index("2").field("Date", &days_from_now(-9)).serving(&index("1")).after_a_good_one()
    }),
    Vector::refused("another signer the second time", "key not known", |case| {
        let key = case.keys.public("rsa4096");
        case.by("stranger").trusting(key, "gpg").index("2").field("Date", &days_from_now(-9)).after_a_good_one()
    }),
    Vector::refused("no signature the second time", "is not signed", |case| {
        case.unsigned().index("2").field("Date", &days_from_now(-9)).after_a_good_one()
    }),
    Vector::refused("nothing the second time", "has no suite", |case| case.index("2").nothing().after_a_good_one()),
];
