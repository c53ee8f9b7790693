//! What it takes to read a package index, and to choose the packages of the default recipe from it:
//! `cargo bench --package fam-archive`.
//!
//! The index is that of trixie's main component, fetched once from `MIRROR`, else from the mirror of
//! this Debian host, and kept in target/tmp: so that two runs measure the same.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

use divan::Bencher;
use divan::counter::BytesCount;
use fam_archive::packages::{Origin, PackageIndex};
use fam_archive::resolve::{Request, Variant, resolve};
use fam_archive::sources::host_mirrors;
use fam_archive::{Client, ClientOptions, Source};
use fam_progress::Progress;

const SUITE: &str = "trixie";
const ARCHITECTURE: &str = "amd64";

/// The text of the index.
static TEXT: OnceLock<String> = OnceLock::new();

fn main() -> ExitCode {
    match text() {
        Ok(text) => TEXT.get_or_init(|| text),
        Err(error) => {
            eprintln!("no index to measure with: {error}");
            return ExitCode::FAILURE;
        }
    };
    divan::main();
    ExitCode::SUCCESS
}

/// Reads the index that is kept, or fetches it.
fn text() -> Result<String, Box<dyn Error>> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trixie_main_amd64_Packages");
    if kept.exists() {
        return Ok(fs_err::read_to_string(kept)?);
    }
    let mirror = std::env::var("MIRROR").ok().or_else(|| host_mirrors(Path::new("/etc")).main);
    let mirror = mirror.ok_or("this is no Debian host, so set MIRROR to the URL of a mirror")?;
    eprintln!("fetching the index of {SUITE} to {}", kept.display());
    let cache = tempfile::tempdir()?;
    let client = Client::new(ClientOptions::new(cache.path().to_owned()), Progress::silent())?;
    let (suite, components) = (SUITE.to_owned(), vec!["main".to_owned()]);
    let source = Source { mirror, suite, components, architecture: ARCHITECTURE.to_owned(), ..Source::default() };
    let text: String = client.open(&source)?.indexes.into_iter().map(|index| index.text).collect();
    fs_err::write(kept, &text)?;
    Ok(text)
}

fn index_of(text: String) -> PackageIndex {
    let mut index = PackageIndex::new(ARCHITECTURE);
    index.add(text, Origin { suite: SUITE.to_owned(), ..Origin::default() }).expect("the client has read it");
    index
}

#[divan::bench(sample_count = 20)]
fn parse(bencher: Bencher<'_, '_>) {
    let text = TEXT.wait();
    bencher.counter(BytesCount::of_str(text)).with_inputs(|| text.clone()).bench_values(index_of);
}

#[divan::bench(sample_count = 20)]
fn resolve_default_recipe(bencher: Bencher<'_, '_>) {
    let index = index_of(TEXT.wait().clone());
    let recipe: toml::Table = include_str!("../../../recipes/fabric.toml").parse().expect("a recipe is TOML");
    let variant: Variant = recipe["variant"].as_str().and_then(|name| name.parse().ok()).expect("a variant");
    let kernel = recipe["kernel"].get("package");
    let include = recipe["include"].as_array().into_iter().flatten().chain(kernel);
    let include: Vec<String> = include.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let request = Request { variant, include: &include, ..Request::default() };
    bencher.bench(|| resolve(&index, &request).expect("trixie has what the recipe names"));
}
