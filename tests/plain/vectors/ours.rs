//! fam-build's verdict on an archive.

use std::path::Path;

use fam_archive::http::{HttpOptions, ProxyChoice};
use fam_archive::{Client, ClientOptions, Source};
use fam_progress::Progress;
use support::vectors::Served;

/// The index of an archive, or the error; the cache is in `memory`.
pub fn ours(url: &str, served: &Served, memory: &Path) -> Result<String, String> {
    let keyring = memory.join("keyring");
    fs_err::write(&keyring, &served.keyring.0).unwrap();
    let http = HttpOptions { proxy: ProxyChoice::Direct, ..HttpOptions::default() };
    let options = ClientOptions { http, keyrings: vec![keyring], ..ClientOptions::new(memory.join("cache")) };
    let source = Source {
        mirror: url.to_owned(),
        suite: served.asked.clone(),
        components: vec!["main".to_owned()],
        architecture: "amd64".to_owned(),
        ..Source::default()
    };
    let opened = Client::new(options, Progress::silent()).and_then(|client| client.open(&source));
    opened.map(|mut opened| opened.indexes.remove(0).text).map_err(|error| error.to_string())
}
