//! What Release files say, and which are refused.

use super::*;

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn text(extra: &str) -> String {
    format!(
        "Origin: Debian\nLabel: Debian\nSuite: stable-updates\nCodename: trixie-updates\nDate: Sat, 21 Nov 2026 02:10:46 UTC\n\
         Valid-Until: Sat, 28 Nov 2026 02:10:46 UTC\nAcquire-By-Hash: yes\nComponents: main contrib\n\
         Architectures: all amd64\n{extra}SHA256:\n {DIGEST} 12 main/binary-amd64/Packages\n \
         {DIGEST}        7 main/binary-amd64/Packages.gz\n {DIGEST} 5 main/binary-amd64/Packages.xz\n"
    )
}

fn parse(text: &str) -> Result<Release, Error> {
    Release::parse(text, time("2026-11-21T03:00:00Z"))
}

fn release(extra: &str) -> Release {
    parse(&text(extra)).unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn reads_the_fields() {
    let release = release("Version: 13.1\n");
    assert_eq!((release.origin.as_str(), release.version.as_deref()), ("Debian", Some("13.1")));
    assert_eq!(release.date, time("2026-11-21T02:10:46Z"));
    assert_eq!(release.valid_until, Some(time("2026-11-28T02:10:46Z")));
    assert!(release.acquire_by_hash && !release.not_automatic && !release.but_automatic_upgrades);
    let names = parse(&text("NotAutomatic: yes\nButAutomaticUpgrades: Yes\n")).unwrap().names();
    assert!(names.not_automatic && names.but_automatic_upgrades);
    assert_eq!((names.label.as_str(), names.suite.as_str()), ("Debian", "stable-updates"));
    assert_eq!((names.codename.as_str(), names.version.as_str()), ("trixie-updates", ""));
    assert!(release.oddities.is_empty());
    let indexes = release.package_indexes(Some("main"), "amd64").unwrap();
    let [forms] = &indexes[..] else { panic!("{indexes:?}") };
    let found: Vec<_> = forms.iter().map(|form| (form.path.as_str(), form.listed.size)).collect();
    let path = "main/binary-amd64/Packages";
    assert_eq!(found, [(&*format!("{path}.xz"), 5), (&*format!("{path}.gz"), 7), (path, 12)]);
    assert!(forms.iter().all(|form| form.plain.unwrap().size == 12));
}

/// The paths of the best forms.
fn best(release: &Release, component: Option<&str>) -> Vec<String> {
    let indexes = release.package_indexes(component, "amd64").unwrap();
    indexes.into_iter().map(|mut forms| forms.remove(0).path).collect()
}

#[test]
fn knows_all_forms_of_indexes() {
    for ending in ["", ".xz", ".bz2", ".lzma", ".gz", ".zst"] {
        let text = text("");
        let (head, _) = text.split_once("SHA256:").unwrap();
        let text = format!("{head}SHA256:\n {DIGEST} 5 main/binary-amd64/Packages{ending}\n");
        let release = parse(&text).unwrap();
        assert_eq!(best(&release, Some("main")), [format!("main/binary-amd64/Packages{ending}")]);
        let form = release.package_indexes(Some("main"), "amd64").unwrap().remove(0).remove(0);
        assert_eq!(form.plain.is_some(), ending.is_empty());
    }
}

#[test]
fn reads_the_packages_of_all_as_apt_does() {
    let all = format!(" {DIGEST} 9 main/binary-all/Packages\n");
    let (own, of_all) = ("main/binary-amd64/Packages.xz", "main/binary-all/Packages");
    for (from, to, expected) in [
        ("", "", &[own, of_all][..]),
        ("all amd64", "amd64 all", &[own, of_all]),
        ("Architectures: all amd64\n", "", &[own, of_all]),
        ("all amd64", "all", &[own, of_all]),
        ("binary-amd64", "binary-arm64", &[of_all]),
        ("all amd64", "amd64", &[own]),
        ("all amd64", "noarch", &[own]),
        ("Label:", "No-Support-for-Architecture-all: Packages\nLabel:", &[own]),
        ("Label:", "No-Support-for-Architecture-all: Contents\nLabel:", &[own, of_all]),
    ] {
        let release = parse(&(text("") + &all).replace(from, to)).unwrap();
        assert_eq!(best(&release, Some("main")), expected, "{from} -> {to}");
    }
}

#[test]
fn reads_flat_archives() {
    let flat = parse(&text("").replace("main/binary-amd64/", "")).unwrap();
    assert_eq!(best(&flat, None), ["Packages.xz"]);
    assert_eq!(flat.check_suite("./"), Ok(()));
    assert!(matches!(release("").package_indexes(None, "amd64"), Err(Error::NoIndex { .. })));
}

#[test]
fn takes_sha_512_where_there_is_nothing_else() {
    let text = text("").replace("SHA256:", "SHA512:").replace(DIGEST, &DIGEST.repeat(2));
    let form = parse(&text).unwrap().package_indexes(Some("main"), "amd64").unwrap().remove(0).remove(0);
    assert_eq!(form.listed.digest.to_string(), DIGEST.repeat(2));
    let both = format!("{}SHA512:\n {} 1 main/binary-amd64/Packages.xz\n", self::text(""), DIGEST.repeat(2));
    let form = parse(&both).unwrap().package_indexes(Some("main"), "amd64").unwrap().remove(0).remove(0);
    assert_eq!(form.listed.digest.to_string(), DIGEST);
}

#[test]
fn says_what_is_missing() {
    let release = release("");
    let error = |component, architecture| release.package_indexes(Some(component), architecture).unwrap_err();
    assert!(matches!(error("non-free", "amd64"), Error::NoComponent { .. }));
    assert!(matches!(error("main", "riscv64"), Error::NoArchitecture { .. }));
    assert!(matches!(error("contrib", "amd64"), Error::NoIndex { .. }));
}

#[test]
fn belongs_to_its_own_suite_only() {
    let release = release("");
    for own in ["trixie-updates", "stable-updates"] {
        assert_eq!(release.check_suite(own), Ok(()));
    }
    for other in ["trixie", "stable", "bookworm-updates", "trixie-security", ""] {
        let error = release.check_suite(other).unwrap_err();
        assert_eq!(error.to_string(), format!("is for stable-updates, trixie-updates, not for {other}"));
    }
    let old = parse(&text("").replace("Codename: trixie-updates", "Codename: buster")).unwrap();
    assert_eq!(old.check_suite("buster/updates"), Ok(()));
    let nameless = parse(&text("").replace("Suite: ", "S: ").replace("Codename: ", "C: ")).unwrap();
    assert!(!nameless.has_name() && nameless.check_suite("trixie").is_ok());
}

#[test]
fn dates_are_enforced() {
    let release = release("");
    let after = time("2026-11-28T02:10:47Z");
    assert!(matches!(release.check_not_expired(after), Err(Error::Expired { .. })));
    assert_eq!(release.check_not_expired(time("2026-11-28T02:10:46Z")), Ok(()));
    assert!(matches!(release.check_not_future(time("2026-11-21T02:10:35Z")), Err(Error::Future { .. })));
    assert_eq!(release.check_not_future(time("2026-11-21T02:10:36Z")), Ok(()));
    let endless = parse(&text("").replace("Valid-Until", "X-Valid-Until")).unwrap();
    assert_eq!(endless.check_not_expired(time("2100-01-01T00:00:00Z")), Ok(()));
}

#[test]
fn takes_the_time_of_the_signature_for_a_date_that_is_none() {
    let signed = "2026-11-21T03:00:00Z";
    for (date, expected, is_odd) in [
        ("Date: Sat, 21 Nov 2026 02:10:46 +0100\n", "2026-11-21T01:10:46Z", false),
        ("Date: Sat, 21 Nov 2026 02:10:46 -0330\n", "2026-11-21T05:40:46Z", false),
        ("", signed, true),
        ("Date:\n", signed, true),
        ("Date: Sat, 21 Nov 2026 02:10:46 CET\n", signed, true),
        ("Date: Sun, 21 Nov 2026 02:10:46 UTC\n", signed, true),
        ("Date: 2026-11-21T02:10:46Z\n", signed, true),
    ] {
        let release = parse(&text("").replace("Date: Sat, 21 Nov 2026 02:10:46 UTC\n", date)).unwrap();
        assert_eq!((release.date, release.oddities.len()), (time(expected), usize::from(is_odd)), "{date}");
    }
}

#[test]
fn refuses_malformed_files() {
    for (from, to, reason) in [
        ("Valid-Until: Sat, 28 Nov 2026 02:10:46 UTC", "Valid-Until: next week", "Valid-Until"),
        ("28 Nov 2026 02:10:46 UTC", "28 Nov 2026 02:10:46 +0100", "not a date"),
        ("SHA256:", "SHA1:", "no SHA256"),
        ("SHA256:", "SHA512:", "is not a digest"),
        (" 12 main", " -12 main", "is not a digest"),
        (" 12 main", " 12 13 main", "is not a digest"),
        ("e3b0c4", "e3b0c", "is not a digest"),
        ("Label: ", "\nLabel: ", "more than one stanza"),
        ("Label: ", "Suite: other\nLabel: ", "Suite is there twice"),
        ("Packages.gz", "Packages", "is not a digest"),
    ] {
        let changed = text("").replacen(from, to, 1);
        assert_ne!(changed, text(""));
        let error = parse(&changed).unwrap_err();
        assert!(error.to_string().contains(reason), "{from} -> {to}: {error}");
    }
    assert!(parse("").is_err());
}

#[test]
fn reads_dates_of_utc() {
    let expected = time("2026-09-02T07:05:01Z");
    for text in ["Wed, 02 Sep 2026 07:05:01 UTC", "Wed, 2 Sep 2026 7:05:01 GMT", "Wed, 02 Sep 2026 07:05:01 +0000"] {
        assert_eq!(parse_date(text), Some(expected), "{text}");
    }
    for bad in ["", "UTC", "Wed, 02 Sep 2026 07:05:01 +0200", "Thu, 02 Sep 2026 07:05:01 UTC", "2026-09-02 UTC"] {
        assert_eq!(parse_date(bad), None, "{bad}");
    }
}
