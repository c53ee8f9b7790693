//! The command line as a whole, with an engine that only remembers what it was asked.

use std::sync::Mutex;

use clap::CommandFactory;

use super::*;
use crate::recipe::{Origin, Recipe, SettingRow};
use crate::report::{Artifact, Finding, PlannedPackage, Purpose, Verdict};

/// Does what each test tells it to.
#[derive(Default)]
struct Told {
    asked: Mutex<Vec<(&'static str, Settings)>>,
    exports: Mutex<Vec<Request>>,
    fails: bool,
}

impl Told {
    fn remember<T>(&self, verb: &'static str, settings: &Settings, report: T) -> Result<T, Failure> {
        self.asked.lock().unwrap().push((verb, settings.clone()));
        if self.fails {
            return Err(Failure::new(&io::Error::other("the disk is full"), None));
        }
        Ok(report)
    }
}

struct Prepared;

impl PreparedBuild for Prepared {
    fn run(self: Box<Self>, _: &Progress) -> Result<BuildReport, Failure> {
        Ok(built())
    }
}

impl Engine for Told {
    fn prepare(&self, settings: &Settings) -> Result<Box<dyn PreparedBuild>, Failure> {
        self.remember("build", settings, Box::new(Prepared) as Box<dyn PreparedBuild>)
    }

    fn plan(&self, settings: &Settings, _: &Progress) -> Result<PlanReport, Failure> {
        self.remember("plan", settings, planned())
    }

    fn check(&self, settings: &Settings) -> Result<(), Failure> {
        self.remember("check", settings, ())
    }

    fn lock(&self, settings: &Settings, _: &Progress) -> Result<LockReport, Failure> {
        self.remember("lock", settings, LockReport { path: "/tmp/fabric.lock".to_owned(), packages: 242 })
    }

    fn export(&self, request: &Request, _: &Progress) -> Result<ExportReport, Failure> {
        self.exports.lock().unwrap().push(request.clone());
        Ok(exported())
    }

    fn doctor(&self, settings: &Settings) -> Result<DoctorReport, Failure> {
        let mut report = examined();
        if self.fails {
            report.findings[1].verdict = Verdict::Fault;
        }
        self.asked.lock().unwrap().push(("doctor", settings.clone()));
        Ok(report)
    }

    fn plugins(&self, settings: &Settings) -> Result<PluginsReport, Failure> {
        let report = PluginsReport { plugins: Vec::new(), faults: Vec::new() };
        self.remember("plugin list", settings, report)
    }

    fn check_plugin(&self, file: &Path, _: Option<&Value>) -> Result<PluginReport, Failure> {
        Err(Failure::message(format!("{} is no plugin", file.display())))
    }
}

fn artifacts() -> Vec<Artifact> {
    let artifact = |name: &str, what: &str, bytes| Artifact { name: name.to_owned(), what: what.to_owned(), bytes };
    vec![
        artifact("fabric1.qcow2", "disk of node 1", Some(300 << 20)),
        artifact("fabric_emulation.bash", "starts, stops and shows the nodes", None),
    ]
}

fn built() -> BuildReport {
    let output = "/tmp".to_owned();
    BuildReport { output, artifacts: artifacts(), nodes: 4, reused_template: true, reused_layer: false, seconds: 3.25 }
}

fn exported() -> ExportReport {
    let artifact =
        |name: &str, bytes| Artifact { name: name.to_owned(), what: "disk for VMware: fabric1".to_owned(), bytes };
    ExportReport {
        output: "/tmp".to_owned(),
        format: "vmdk".to_owned(),
        artifacts: vec![artifact("fabric1.vmdk", Some(300 << 20)), artifact("fabric2.vmdk", None)],
        nodes: vec![1, 2],
        seconds: 7.5,
    }
}

fn examined() -> DoctorReport {
    let finding = |purpose, check: &str, verdict, detail: &str, hint: Option<&str>| Finding {
        purpose,
        check: check.to_owned(),
        verdict,
        detail: detail.to_owned(),
        hint: hint.map(ToOwned::to_owned),
    };
    let findings = vec![
        finding(Purpose::Build, "ids", Verdict::Ok, "65535 users and 65535 groups", None),
        finding(Purpose::Build, "mirror", Verdict::Ok, "http://mirror.example/debian answers", None),
        finding(Purpose::Run, "KVM", Verdict::Warning, "there is no /dev/kvm", Some("sudo modprobe kvm_intel")),
        finding(Purpose::Run, "shared memory", Verdict::Ok, "/dev/shm/fabric_em can be made", None),
    ];
    DoctorReport { findings }
}

fn planned() -> PlanReport {
    let package = |name: &str, is_cached| PlannedPackage {
        name: name.to_owned(),
        version: "2:9.1-1".to_owned(),
        architecture: "amd64".to_owned(),
        download_bytes: 1_600_000,
        installed_bytes: 4_000_000,
        file: None,
        is_cached,
    };
    let setting =
        |name: &str, value: &str, origin| SettingRow { name: name.to_owned(), value: value.to_owned(), origin };
    PlanReport {
        settings: vec![
            setting("suite", "trixie", Origin::Recipe("fabric".to_owned())),
            setting("mirror", "http://mirror.example/debian", Origin::Flag("--mirror".to_owned())),
        ],
        packages: vec![package("vim", true), package("vim-common", false)],
        artifacts: artifacts(),
        networked: Vec::new(),
        reuses_template: false,
        layer: None,
    }
}

fn code(engine: &Told, arguments: &[&str]) -> String {
    let arguments = ["fam-build"].iter().chain(arguments).map(OsString::from);
    format!("{:?}", run(engine, arguments, &Environment::default()))
}

fn exits(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

#[test]
fn arguments_are_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn help_teaches() {
    let mut command = Arguments::command().term_width(100);
    insta::assert_snapshot!("help", command.render_long_help());
    insta::assert_snapshot!("short_help", command.render_help());
}

#[test]
fn verbs_reach_the_engine_with_their_settings() {
    let output = tempfile::tempdir().unwrap();
    let output = output.path().to_str().unwrap();
    for (arguments, verb, nodes) in [
        (&["-o", output][..], "build", 4),
        (&["7", "-o", output], "build", 7),
        (&["--nodes", "9", "-o", output], "build", 9),
        (&["build", "2", "--json", "-o", output], "build", 2),
        (&["plan", "--nodes", "253"], "plan", 253),
        (&["lock", "--recipe", "minimal"], "lock", 1),
        (&["recipe", "check", "minimal", "--nodes", "3"], "check", 3),
        (&["doctor", "--nodes", "3"], "doctor", 3),
    ] {
        let engine = Told::default();
        assert_eq!(code(&engine, arguments), exits(0), "{arguments:?}");
        let asked = engine.asked.lock().unwrap();
        let (last, settings) = asked.last().unwrap();
        assert_eq!((*last, settings.recipe.nodes.count.get()), (verb, nodes), "{arguments:?}");
    }
}

#[test]
fn an_export_reaches_the_engine() {
    use crate::export::{Format, Registry};
    let engine = Told::default();
    let arguments = ["export", "--format", "oci", "3", "1", "-o", "vms", "--registry", "registry.example/a", "-j", "2"];
    assert_eq!(code(&engine, &arguments), exits(0));
    assert_eq!(code(&engine, &["export", "--format", "vmdk", "--json"]), exits(0));
    let expected = Request {
        format: Format::Oci,
        output: "vms".into(),
        nodes: vec![3, 1],
        registry: "registry.example/a".parse().unwrap(),
        jobs: std::num::NonZero::new(2),
        time: None,
    };
    let all = Request {
        format: Format::Vmdk,
        output: "/tmp".into(),
        nodes: Vec::new(),
        registry: Registry::default(),
        jobs: None,
        time: None,
    };
    assert_eq!(*engine.exports.lock().unwrap(), [expected, all]);
    insta::assert_snapshot!("exported", text::exported(&exported()));
}

#[test]
fn wrong_requests_end_with_2_and_reach_nobody() {
    for arguments in [
        &["0"][..],
        &["254"],
        &["4", "--nodes", "4"],
        &["--nodes", "4", "plan"],
        &["--size", "8X"],
        &["--mirror", "mirror.example"],
        &["--include", "G++"],
        &["--recipe", "nothing"],
        &["--recipe", "./not-there.toml"],
        &["--from-tarball", "x.tar", "--locked", "x.lock"],
        &["--fabric", "numa"],
        &["--jobs", "0"],
        &["--frobnicate"],
        &["recipe"],
        &["recipe", "show", "nothing"],
        &["export"],
        &["export", "--format", "ami"],
        &["export", "--format", "oci", "--registry", "https://registry.example"],
        &["recipe", "show", "minimal", "--recipe", "fabric"],
    ] {
        let engine = Told::default();
        assert_eq!(code(&engine, arguments), exits(2), "{arguments:?}");
        assert!(engine.asked.lock().unwrap().is_empty() && engine.exports.lock().unwrap().is_empty());
    }
}

#[test]
fn wrong_arguments_are_told_as_any_failure() {
    let error = Arguments::try_parse_from(["fam-build", "--nodes", "0"]).unwrap_err();
    let mut out = Vec::new();
    text::failure(&wrong_arguments(error), text::Style::Plain, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "error: invalid value '0' for '--nodes <N>': the number of nodes must be 1 to 253, not 0\n\
         hint: `fam-build --help` explains every option\n"
    );
}

#[test]
fn wrong_arguments_show_no_login() {
    for arguments in [
        &["--mirror", "ftp://ann:s%40cret@host"][..],
        &["--mirror=http://ann:s/cret@host"],
        &["--security-mirror", "ann:s cret@host"],
        &["--proxy", "ann:s cret@host:80"],
        &["http://ann:cret@host"],
        &["plan", "4", "http://ann:cret@host"],
        &["--mirorr", "http://ann:cret@host"],
    ] {
        let error = Arguments::try_parse_from(["fam-build"].iter().chain(arguments)).unwrap_err();
        let mut out = Vec::new();
        text::failure(&wrong_arguments(error), text::Style::Plain, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains("cret") && !text.contains("ann:"), "{text}");
    }
}

#[test]
fn help_and_completions_end_with_0() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["--version"],
        &["plan", "--help"],
        &["plugin", "--help"],
        &["completions", "bash"],
        &["recipe", "list"],
        &["recipe", "list", "--json"],
        &["recipe", "show"],
        &["recipe", "show", "sid", "--json"],
        &["recipe", "schema"],
    ] {
        assert_eq!(code(&Told::default(), arguments), exits(0), "{arguments:?}");
    }
}

#[test]
fn a_recipe_is_shown_as_one_that_reads_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mine.toml");
    let mine = "extends = 'fabric'\nnodes.count = 2\ninclude.add = ['gdb']\ndebconf = ['a a/b note', { file = 'c' }]\n\
                paths = [{ exclude = '/usr/share/doc/*' }, { include = '*\\\"\"' }]\n[plugin.set.users]\nroot-password = 'a\"b'\n\
                [[plugin.add]]\nname = 'x'\nsettings = { 'a b' = [1, 2.5, { c = true }], t = \"l\\n\\u007f'\" }";
    fs_err::write(&file, mine).unwrap();
    let flags = Flags {
        recipe: Some(file.to_str().unwrap().to_owned()),
        include: vec!["vim".parse().unwrap(), "strace".parse().unwrap()],
        memory: Some("2G".parse().unwrap()),
        ..Flags::default()
    };
    let settings = Settings::new(flags, &Environment::default()).unwrap();
    let shown = recipe::as_toml(&settings);
    let again = Recipe::parse("shown", &shown).unwrap();
    let essence = |mut recipe: Recipe| {
        for plugin in &mut recipe.plugins {
            plugin.set_by.clear();
            plugin.source = settings.recipe_chain[0].clone();
        }
        let Recipe { debconf, paths, .. } = &mut recipe;
        let sources = debconf.iter_mut().map(|it| &mut it.source).chain(paths.iter_mut().map(|it| &mut it.source));
        sources.for_each(|source| *source = settings.recipe_chain[0].clone());
        recipe
    };
    let again = recipe::as_json(&essence(again));
    assert_eq!(again, recipe::as_json(&essence(settings.recipe.clone())));
    let mine = file.to_str().unwrap();
    insta::assert_snapshot!("recipe", shown.replace(mine, "./mine.toml"));
}

#[test]
fn a_build_that_failed_ends_with_1() {
    assert_eq!(code(&Told { fails: true, ..Told::default() }, &["plan"]), exits(1));
}

#[test]
fn a_fault_ends_with_1_and_a_warning_with_0() {
    assert_eq!(code(&Told::default(), &["doctor"]), exits(0));
    let faulty = Told { fails: true, ..Told::default() };
    assert_eq!(code(&faulty, &["doctor"]), exits(1));
    assert_eq!(code(&faulty, &["doctor", "--json"]), exits(1));
}

#[test]
fn reports_as_text() {
    insta::assert_snapshot!("examined", text::examined(&examined(), text::Style::Plain));
    insta::assert_snapshot!("plan", text::planned(&planned(), false));
    insta::assert_snapshot!("plan_verbose", text::planned(&planned(), true));
    insta::assert_snapshot!("built", text::built(&built()));
    let mut report = planned();
    report.reuses_template = true;
    assert!(text::planned(&report, false).contains("Nothing is fetched or installed"));
}

#[test]
fn failures_as_text() {
    let mut failure = Failure::new(&io::Error::other("fetch package vim"), Some("check the network".to_owned()));
    failure.causes = vec!["connect to mirror.example".to_owned(), "no route to host".to_owned()];
    let mut out = Vec::new();
    text::failure(&failure, text::Style::Plain, &mut out).unwrap();
    insta::assert_snapshot!("failure", String::from_utf8(out).unwrap());
    let mut out = Vec::new();
    text::failure(&failure, text::Style::Coloured, &mut out).unwrap();
    assert!(out.starts_with(b"\x1b[1;31merror:\x1b[0m fetch"));
}

#[test]
fn bytes_have_three_digits() {
    for (bytes, shown) in [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (300 << 20, "300 MiB"),
        (8 << 30, "8.00 GiB"),
        (u64::MAX, "16777216 TiB"),
    ] {
        assert_eq!(text::bytes(bytes), shown);
    }
}
