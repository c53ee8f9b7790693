//! Certificates of authorities that are trusted in addition to the host's, for https mirrors whose
//! authority the host does not know.

use std::path::Path;

use fs_err as fs;
use reqwest::Certificate;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Error;

/// Reads the certificates in a file of PEM.
pub(super) fn read(path: &Path) -> Result<Vec<Certificate>, Error> {
    let wrong = |reason: String| Error::CaCertificate { path: path.to_owned(), reason };
    let bytes = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates = parse(&bytes).map_err(wrong)?;
    if certificates.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    Ok(certificates)
}

/// The certificates among the sections of a PEM file, each of which can vouch for others.
fn parse(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    CertificateDer::pem_slice_iter(pem)
        .map(|der| {
            let der = der.map_err(|error| error.to_string())?;
            let certificate = Certificate::from_der(&der).map_err(|error| error.to_string())?;
            RootCertStore::empty().add(der).map_err(|error| error.to_string())?;
            Ok(certificate)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use fam_progress::Hint as _;

    use super::*;

    #[test]
    fn files_with_certificates_and_without() {
        const PEM: &str = include_str!("../testing/tls/authority.pem");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("authority.pem");
        for (text, expected) in [
            (PEM.to_owned(), Ok(1)),
            (format!("# two, and what else people put there\n{PEM}\n{PEM}"), Ok(2)),
            (String::new(), Err("there is no certificate in it")),
            (include_str!("../testing/tls/server.key").to_owned(), Err("there is no certificate in it")),
            (PEM.replacen("MII", "MIJ", 1), Err("invalid peer certificate: BadEncoding")),
            (PEM.replacen("-----END", "----", 1), Err("")),
        ] {
            fs::write(&path, text).unwrap();
            match (read(&path), expected) {
                (Ok(certificates), Ok(count)) => assert_eq!(certificates.len(), count),
                (Err(error), Err(part)) => {
                    let text = error.to_string();
                    assert!(text.contains(part) && text.contains("authority.pem") && error.hint().is_some(), "{text}");
                }
                (read, expected) => panic!("{read:?}, expected {expected:?}"),
            }
        }
        assert!(read(Path::new("/nonexistent")).is_err());
    }
}
