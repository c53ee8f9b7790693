//! Which keys and digests are strong enough: every one that `GnuPG` has.

use super::Vector;

const SMALL_RSA: &str = "made by a weak key (RSA of 1024 bits)";
const CURVE: &str = "made by a weak key (ECDSA on the curve";

pub(super) const VECTORS: &[Vector] = &[
    Vector::refused_as_by_apt_3("RSA of 1024 bits", SMALL_RSA, |case| case.by("rsa1024")),
    Vector::accepted("RSA of 2048 bits", |case| case.by("rsa2048")),
    Vector::accepted("RSA of 3072 bits", |case| case.by("rsa3072")),
    Vector::accepted("RSA of 4096 bits", |case| case.by("rsa4096")),
    Vector::refused_as_by_apt_3("DSA of 1024 bits", "made by a weak key (DSA)", |case| case.by("dsa1024")),
    Vector::refused_as_by_apt_3("DSA of 2048 bits", "made by a weak key (DSA)", |case| case.by("dsa2048")),
    Vector::refused_as_by_apt_3("DSA of 3072 bits", "made by a weak key (DSA)", |case| case.by("dsa3072")),
    Vector::accepted("Ed25519", |case| case.by("ed25519")),
    Vector::accepted("NIST P-256", |case| case.by("nistp256")),
    Vector::accepted("NIST P-384", |case| case.by("nistp384")),
    Vector::accepted("NIST P-521", |case| case.by("nistp521")),
    Vector::refused_as_by_apt_3("Brainpool P-256", CURVE, |case| case.by("brainpoolP256r1")),
    Vector::refused_as_by_apt_3("Brainpool P-384", CURVE, |case| case.by("brainpoolP384r1")),
    Vector::refused_as_by_apt_3("Brainpool P-512", CURVE, |case| case.by("brainpoolP512r1")),
    Vector::refused_as_by_apt_3("the curve secp256k1", CURVE, |case| case.by("secp256k1")),
    Vector::refused("MD5", "uses the weak hash MD5", |case| case.digest("MD5")),
    Vector::refused("SHA-1", "uses the weak hash SHA1", |case| case.digest("SHA1")),
    Vector::refused("RIPEMD-160", "uses the weak hash RIPEMD160", |case| case.digest("RIPEMD160")),
    Vector::refused_as_by_apt_3("SHA-224", "uses the weak hash SHA224", |case| case.digest("SHA224")),
    Vector::accepted("SHA-256", |case| case.digest("SHA256")),
    Vector::accepted("SHA-384", |case| case.digest("SHA384")),
    Vector::accepted("SHA-512", |case| case.digest("SHA512")),
    Vector::refused_as_by_apt_3("a key that certifies itself with SHA-1", "without a valid self-signature", |case| {
        case.by("sha1-self")
    }),
];
