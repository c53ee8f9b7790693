//! The parts of an SPDX 2.3 document, in the order and under the names of its JSON Schema, and how
//! facts about packages are written in them.

use fam_archive::digest::Digest;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::installed::Installed;

const NO_ASSERTION: &str = "NOASSERTION";

/// What a package URL encodes in names and versions. The colon of an epoch stays as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Words in the names of maintainers who are more than one person.
const GROUPS: [&str; 9] =
    ["team", "maintainers", "group", "developers", "project", "packagers", "task force", "strike force", "users"];

/// A whole document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) spdx_version: &'static str,
    pub(super) data_license: &'static str,
    #[serde(rename = "SPDXID")]
    pub(super) id: &'static str,
    pub(super) name: String,
    #[serde(rename = "documentNamespace")]
    pub(super) namespace: String,
    pub(super) creation_info: CreationInfo,
    pub(super) packages: Vec<Package>,
    pub(super) relationships: Vec<Relationship>,
}

impl Document {
    pub(super) fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("text and lists under string keys are JSON");
        text.push('\n');
        text
    }
}

/// Who made the document, and when.
#[derive(Debug, Serialize)]
pub(super) struct CreationInfo {
    pub(super) created: String,
    pub(super) creators: Vec<String>,
}

/// What a package is for.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Purpose {
    OperatingSystem,
    Source,
}

/// A package, or the system that packages make.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Package {
    #[serde(rename = "SPDXID")]
    pub(super) id: String,
    pub(super) name: String,
    #[serde(rename = "versionInfo", skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    #[serde(rename = "packageFileName", skip_serializing_if = "Option::is_none")]
    pub(super) file_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) supplier: Option<String>,
    pub(super) download_location: String,
    pub(super) files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) checksums: Vec<Checksum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) homepage: Option<String>,
    pub(super) license_concluded: &'static str,
    pub(super) license_declared: &'static str,
    pub(super) copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(rename = "externalRefs", skip_serializing_if = "Vec::is_empty")]
    pub(super) references: Vec<Reference>,
    #[serde(rename = "primaryPackagePurpose", skip_serializing_if = "Option::is_none")]
    pub(super) purpose: Option<Purpose>,
}

impl Package {
    /// A package of which nothing is known.
    pub(super) fn new(id: String) -> Self {
        Self {
            id,
            name: String::new(),
            version: None,
            file_name: None,
            supplier: None,
            download_location: NO_ASSERTION.to_owned(),
            // Else SPDX demands a digest of the files in it.
            files_analyzed: false,
            checksums: Vec::new(),
            homepage: None,
            license_concluded: NO_ASSERTION,
            license_declared: NO_ASSERTION,
            copyright_text: NO_ASSERTION,
            summary: None,
            description: None,
            references: Vec::new(),
            purpose: None,
        }
    }
}

/// The checksum of a package's file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

impl Checksum {
    pub(super) fn of(digest: &Digest) -> Self {
        Self { algorithm: digest.algorithm().field(), checksum_value: digest.to_string() }
    }
}

/// A name of a package elsewhere.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reference {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

/// How two elements are related. Those that debsbom writes, too.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum RelationshipType {
    Describes,
    PackageOf,
    DependsOn,
    GeneratedFrom,
    Generates,
}

/// What one element is to another.
#[derive(Debug, Serialize)]
pub(super) struct Relationship {
    #[serde(rename = "spdxElementId")]
    element: String,
    #[serde(rename = "relationshipType")]
    kind: RelationshipType,
    #[serde(rename = "relatedSpdxElement")]
    related: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'static str>,
}

impl Relationship {
    pub(super) fn new(element: &str, kind: RelationshipType, related: &str) -> Self {
        Self { element: element.to_owned(), kind, related: related.to_owned(), comment: None }
    }

    pub(super) fn with_comment(self, comment: Option<&'static str>) -> Self {
        Self { comment, ..self }
    }
}

/// Whose packages they are, and of which suite.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vocabulary<'a> {
    /// As `ID` of os-release(5) has it.
    pub(super) vendor: &'a str,
    pub(super) suite: Option<&'a str>,
}

impl Vocabulary<'_> {
    /// Describes an installed package.
    pub(super) fn binary(&self, package: &Installed<'_>, id: String) -> Package {
        let (summary, description) = package.description.map(split_description).unwrap_or_default();
        Package {
            name: package.name.to_owned(),
            version: Some(package.version.to_owned()),
            supplier: Some(supplier(package.maintainer)),
            homepage: package.homepage.filter(|url| is_web_address(url)).map(str::to_owned),
            summary,
            description,
            references: vec![self.purl(package.name, package.version, package.architecture)],
            ..Package::new(id)
        }
    }

    /// Describes a source package.
    pub(super) fn source(&self, name: &str, version: &str, maintainer: Option<&str>, id: String) -> Package {
        Package {
            name: name.to_owned(),
            version: Some(version.to_owned()),
            supplier: Some(supplier(maintainer)),
            summary: Some(format!("Debian source package {name}")),
            references: vec![self.purl(name, version, "source")],
            purpose: Some(Purpose::Source),
            ..Package::new(id)
        }
    }

    /// The package URL (github.com/package-url/purl-spec, type `deb`).
    fn purl(&self, name: &str, version: &str, architecture: &str) -> Reference {
        let encode = |text| utf8_percent_encode(text, ENCODED);
        let distribution = self.suite.map(|suite| format!("&distro={suite}")).unwrap_or_default();
        Reference {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: format!(
                "pkg:deb/{}/{}@{}?arch={}{distribution}",
                self.vendor,
                encode(name),
                encode(version),
                encode(architecture)
            ),
        }
    }
}

/// The identifier of what `text` names: SPDX has letters, digits, `.` and `-` in them.
pub(super) fn identifier(text: &str) -> String {
    let mut identifier = "SPDXRef-".to_owned();
    let mut in_gap = false;
    for c in text.chars() {
        let good = c.is_ascii_alphanumeric() || c == '.' || c == '-';
        if good {
            identifier.push(c);
        } else if !in_gap {
            identifier.push('.');
        }
        in_gap = !good;
    }
    identifier
}

/// A Maintainer field, `NAME <MAIL>`, as an actor of SPDX. A group is recognized by its name.
fn supplier(maintainer: Option<&str>) -> String {
    let (name, rest) = maintainer.map(|text| text.split_once('<').unwrap_or((text, ""))).unwrap_or_default();
    let (name, mail) = (name.trim(), rest.trim_end_matches('>').trim());
    if name.is_empty() {
        return NO_ASSERTION.to_owned();
    }
    let folded = name.to_lowercase();
    let kind = if GROUPS.iter().any(|word| folded.contains(word)) { "Organization" } else { "Person" };
    if mail.is_empty() { format!("{kind}: {name}") } else { format!("{kind}: {name} ({mail})") }
}

/// The synopsis of a Description field, and its text with paragraphs in one line each (Debian
/// Policy 5.6.13). What is indented stays as it is.
fn split_description(field: &str) -> (Option<String>, Option<String>) {
    let mut lines = field.lines();
    let synopsis = lines.next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty());
    let mut text = String::new();
    let mut in_paragraph = false;
    for line in lines {
        let line = line.strip_prefix(' ').unwrap_or(line);
        let is_verbatim = line.starts_with([' ', '\t']);
        if line == "." {
            in_paragraph = false;
            text.push('\n');
            continue;
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push(if in_paragraph && !is_verbatim { ' ' } else { '\n' });
        }
        text.push_str(line.trim_end());
        in_paragraph = !is_verbatim;
    }
    (synopsis, Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// Whether `text` is a URL that SPDX allows for a home page.
fn is_web_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte))
}
