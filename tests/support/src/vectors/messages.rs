//! The form of signed messages: what may be around the signed text, and in it.

#![allow(clippy::redundant_closure_for_method_calls, reason = "a method for one lifetime is no function for all")]

use super::Vector;

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----\n";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----\n";
const END: &str = "-----END PGP SIGNATURE-----\n";

const PLAIN: &str =
    "nothing but one signed message is taken, so that no reader can see another text in the file than was signed";
const NO_CONTROL: &str =
    "what readers of lines and of strings take for different things is not taken, whoever signed it";

pub(super) const VECTORS: &[Vector] = &[
    Vector::accepted("as gpg writes it", |case| case),
    Vector::refused("a changed text", "does not match the text", |case| case.replaced("Origin: Test", "Origin: Evil")),
    Vector::refused("no signature", "does not begin with a signed message", |case| {
        case.message(|text| text.split(SIGNATURE).next().unwrap().split("\n\n").last().unwrap().to_owned())
    }),
    Vector::refused("an empty file", "does not begin with a signed message", |case| case.message(|_| String::new())),
    Vector::refused("text before the message", "does not begin with a signed message", |case| {
        case.message(|text| format!("Suite: other\n{text}"))
    }),
    Vector::refused("a stanza before the message", "does not begin with a signed message", |case| {
        case.message(|text| format!("Suite: other\n\n{text}"))
    }),
    Vector::refused("an empty line before the message", "does not begin with a signed message", |case| {
        case.message(|text| format!("\n{text}"))
    }),
    Vector::refused("text behind the message", "has something behind", |case| {
        case.message(|text| format!("{text}Suite: other\n"))
    }),
    Vector::refused("an empty line behind the message", "has something behind", |case| {
        case.message(|text| format!("{text}\n"))
    }),
    Vector::refused("the message twice", "has something behind", |case| case.message(|text| format!("{text}{text}"))),
    Vector::refused("a message of another signer before it", "has something behind", |case| {
        case.then(|keys, message| {
            let evil = ["--local-user", "=stranger", "--clearsign"];
            [keys.gnupg.good(&evil, b"Suite: other\n"), message].concat()
        })
    }),
    Vector::refused("a message of another signer behind it", "has something behind", |case| {
        case.then(|keys, message| {
            let evil = ["--local-user", "=stranger", "--clearsign"];
            [message, keys.gnupg.good(&evil, b"Suite: other\n")].concat()
        })
    }),
    Vector::stricter("another block of signatures behind it", "has something behind", PLAIN, |case| {
        case.message(|text| format!("{text}{}", &text[text.find(SIGNATURE).unwrap()..]))
    }),
    Vector::refused("text between the signature's blocks", "does not match the text", |case| {
        case.replaced(SIGNATURE, "Suite: other\n-----BEGIN PGP SIGNATURE-----\n")
    }),
    Vector::refused("cut off in the text", "it was cut off", |case| {
        case.message(|text| text[..text.find("Components").unwrap()].to_owned())
    }),
    Vector::refused("cut off before the signature", "it was cut off", |case| {
        case.message(|text| text[..text.find(SIGNATURE).unwrap()].to_owned())
    }),
    Vector::refused("cut off in the signature", "it was cut off", |case| {
        case.message(|text| text[..text.len() - 100].to_owned())
    }),
    Vector::refused("cut off before the signature's end", "it was cut off", |case| {
        case.message(|text| text[..text.find(END).unwrap()].to_owned())
    }),
    Vector::accepted("no newline at the end", |case| case.message(|text| text.trim_end().to_owned())),
    Vector::accepted("no header", |case| case.replaced("Hash: SHA512\n", "")),
    Vector::accepted("a header that names another digest", |case| case.replaced("Hash: SHA512", "Hash: SHA256")),
    Vector::accepted("a header that names a weak digest", |case| case.replaced("Hash: SHA512", "Hash: MD5")),
    Vector::accepted("a header that names no digest", |case| case.replaced("Hash: SHA512", "Hash: none")),
    Vector::accepted("a header with several digests", |case| case.replaced("Hash: SHA512", "Hash: SHA256,SHA512")),
    Vector::accepted("several headers", |case| case.replaced("Hash: SHA512", "Hash: SHA256\nHash: SHA512")),
    Vector::stricter("another header", "the armor header", PLAIN, |case| {
        case.replaced("Hash: SHA512", "Hash: SHA512\nComment: x")
    }),
    Vector::stricter("a header against dash escapes", "the armor header", PLAIN, |case| {
        case.replaced("Hash: SHA512", "Hash: SHA512\nNotDashEscaped: You need GnuPG")
    }),
    Vector::stricter("a field among the headers", "the armor header", PLAIN, |case| {
        case.replaced("Hash: SHA512", "Hash: SHA512\nSuite: other")
    }),
    Vector::refused("no empty line behind the headers", "the armor header", |case| {
        case.replaced("Hash: SHA512\n\n", "Hash: SHA512\n")
    }),
    Vector::stricter("a blank in the empty line", "the armor header", PLAIN, |case| {
        case.replaced("Hash: SHA512\n\n", "Hash: SHA512\n \n")
    }),
    Vector::stricter("a blank behind the first line", "does not begin with a signed message", PLAIN, |case| {
        case.replaced(BEGIN, "-----BEGIN PGP SIGNED MESSAGE----- \n")
    }),
    Vector::accepted("a signed line that begins with a dash", |case| case.and("-X-Dash: 1\n")),
    Vector::refused("a dash that is not escaped", "not dash-escaped", |case| {
        case.and("-X-Dash: 1\n").replaced("- -X-Dash", "-X-Dash")
    }),
    Vector::accepted("an escape where none is needed", |case| case.replaced("Origin: Test", "- Origin: Test")),
    Vector::accepted("blanks at the end of a line", |case| case.replaced("Suite: calm", "Suite: calm \t")),
    Vector::refused("a line more", "does not match the text", |case| case.replaced("Suite:", "Extra: 1\nSuite:")),
    Vector::refused("an empty line more", "does not match the text", |case| case.replaced("Suite:", "\nSuite:")),
    Vector::refused("an empty line at the end of the text", "does not match the text", |case| {
        case.replaced(SIGNATURE, "\n-----BEGIN PGP SIGNATURE-----\n")
    }),
    Vector::stricter("a carriage return at the end of each line", "a carriage return", NO_CONTROL, |case| {
        case.message(|text| text.replace('\n', "\r\n"))
    }),
    Vector::refused_as_by_apt_2("a carriage return in place of a newline", "a carriage return", |case| {
        case.replaced("\nValid-Until", "\rValid-Until")
    }),
    Vector::stricter("a signed carriage return", "a carriage return", NO_CONTROL, |case| {
        case.text("Label: Test", "Label: Test\r")
    }),
    Vector::refused("a NUL in the text", "the control character", |case| case.replaced("Label: Test", "Label: Te\0st")),
    Vector::stricter("a signed NUL", "the control character", NO_CONTROL, |case| {
        case.text("Label: Test", "Label: Te\0st")
    }),
    Vector::refused("a NUL behind the message", "the control character", |case| {
        case.message(|text| format!("{text}\0"))
    }),
    Vector::stricter("a signed form feed", "the control character", NO_CONTROL, |case| {
        case.text("Label: Test", "Label: Te\x0cst")
    }),
    Vector::refused("a byte order mark", "does not begin with a signed message", |case| {
        case.message(|text| format!("\u{feff}{text}"))
    }),
    Vector::stricter("signed bytes that are not UTF-8", "not UTF-8", NO_CONTROL, |case| {
        case.text("Label: Test", "Label: Te\u{e9}st").in_latin_1()
    }),
    Vector::accepted("a signed line of 19 000 characters", |case| {
        // gpg signs no longer ones in this form.
        case.and(&format!("X-Long: {}\n", "a".repeat(19_000)))
    }),
    Vector::stricter(
        "a message of 2 MiB",
        "longer than",
        "what is verified is held in memory; Debian's largest has 0.2 MiB",
        |case| case.and(&format!("X-Long: {}\n", "a".repeat(1000)).repeat(2000)),
    ),
    Vector::refused("an unsigned line of 100 000 characters", "does not match the text", |case| {
        case.message(|text| text.replacen("Suite:", &format!("X-Long: {}\nSuite:", "a".repeat(100_000)), 1))
    }),
    Vector::accepted("headers in the signature's block", |case| {
        case.replaced(SIGNATURE, "-----BEGIN PGP SIGNATURE-----\nComment: x\n")
    }),
    Vector::refused_as_by_apt_3("text in the signature's block", "malformed: signature", |case| {
        case.message(|text| {
            let (block, end) = text.rsplit_once(END).unwrap();
            format!("{block}Suite: other\n{END}{end}")
        })
    }),
    Vector::accepted("no checksum in the signature's block", |case| {
        case.message(|text| {
            let (before, checksum) = text.rsplit_once("\n=").unwrap();
            format!("{before}{}", &checksum[checksum.find('\n').unwrap()..])
        })
    }),
    Vector::refused("the signature's label in the text", "within an armored block", |case| {
        case.and("-----BEGIN PGP SIGNATURE-----\n").replaced("- -----BEGIN", "-----BEGIN")
    }),
    Vector::refused("Release and its signature are good, InRelease is not", "does not match the text", |case| {
        case.also_detached()
    }),
];
