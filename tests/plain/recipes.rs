//! Recipes as their users have them: the schema against an independent validator, and the verb that
//! checks them.

use std::process::Command;

use fam_build::recipe::SHIPPED;
use support::{directory_of, fail, program, succeed};

support::tests! {
    needs ["/usr/bin/python3"];
    the_schema_says_what_the_parser_says,
    a_recipe_is_checked_with_its_plugins_and_files,
    a_memory_too_small_for_a_module_is_wrong_usage,
    static_addresses_are_for_few_nodes,
}

const VALIDATE: &str = r#"
import json, sys, jsonschema
schema, instances = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
print(json.dumps([[error.message for error in validator.iter_errors(instance)] for instance in instances]))
"#;

fn the_schema_says_what_the_parser_says() {
    let whole = "suite = 'sid'\n";
    let fine = [
        "extends = 'fabric'",
        "include = ['g++', '0ad']\ndisk = { size = '10 GiB', label = 'a_b.C', compress = 'none' }",
        "include = ['vim=2:9.1-1', 'vim/trixie-backports', 'gcc:amd64', './x.deb', '../debs', '/srv/a b']",
        "extends = 'fabric'\ninclude.add = ['gdb']\ninclude.drop = ['vim']\nplugin.drop = ['demo']",
        "extends = 'fabric'\n[plugin.set.users]\nusers = []\n[[plugin.add]]\nname = 'files'\nsettings.files = []",
        "variant = 'standard'\ninitramfs = 'most'\nupdates = false\ncomponents = ['main', 'non-free-firmware']",
        "kernel = { package = 'linux-image-amd64', cmdline = 'a=b,c [x] ^_' }\nfabric = { kind = 'ivshmem', size = '64M' }",
        "debconf = ['tzdata tzdata/Areas select Europe', { file = 'a.cfg' }, 'a a/b password ', 'a a/b seen']",
        "extends = 'fabric'\ndebconf.add = ['a a/b string x']\npaths.add = [{ include = '*.la' }]",
        "paths = [{ exclude = '/usr/share/doc/*' }, { include = '/usr/share/doc/*/copyright' }]",
        "[[pin]]\npackages = '*'\npin = 'release a=stable-backports, o=Debian Backports'\npriority = 'never'",
        "[[pin]]\npackages = ['vim', '/^gcc/ src:linux']\npin = 'Version 1*'\npriority = -1\nexplanation = 'why'",
        "extends = 'fabric'\n[[pin.add]]\npackages = 'perl*'\npin = 'origin \"\"'\npriority = 1001",
        "nodes = { count = 253, memory = '512M', cpus = 64, name = 'a-' }\narchitecture = 'amd64'\nplugin = []",
    ];
    let wrong = [
        "suit = 'sid'",
        "disk = { zize = '8G' }",
        "disk = { size = 8 }",
        "disk = { size = '8X' }",
        "disk = { label = 'seventeen-letters' }",
        "include = 'vim'",
        "include = ['Vim']",
        "include.ad = ['vim']",
        "include = ['x.deb']",
        "include = ['vim=']",
        "include = ['vim/a..b']",
        "include = ['vim:']",
        "include = ['~/x']",
        "nodes.count = 0",
        "nodes.count = 254",
        "nodes.cpus = 65",
        "nodes.name = 'node1'",
        "nodes.name = 'Node'",
        "variant = 'biuldd'",
        "architecture = 'arm64'",
        "components = ['-main']",
        "kernel.cmdline = 'a \"b\"'",
        "kernel.cmdline = '$x'",
        "fabric.kind = 'disk'",
        "updates = 'yes'",
        "plugin = [{ settings = {} }]",
        "plugin = [{ name = 'A' }]",
        "plugin = [{ name = 'a', setting = {} }]",
        "plugin.set = ['users']",
        "debconf = 'a a/b string x'",
        "debconf = ['a a/b']",
        "debconf = ['a a/b strng x']",
        "debconf = [{ fil = 'a' }]",
        "debconf.drop = []",
        "pin = [{ packages = 'vim', pin = 'version 1' }]",
        "pin = [{ packages = 'vim', pin = 'version 1', priority = 0 }]",
        "pin = [{ packages = 'vim', pin = 'version 1', priority = 32768 }]",
        "pin = [{ packages = 'vim', pin = 'version 1', priority = 'high' }]",
        "pin = [{ packages = [], pin = 'version 1', priority = 1 }]",
        "pin = [{ packages = ' ', pin = 'version 1', priority = 1 }]",
        "pin = [{ packages = 'vim', pin = 'release', priority = 1 }]",
        "pin = [{ packages = 'vim', pin = 'from sid', priority = 1 }]",
        "pin = [{ packages = 'vim', pin = 'version 1', priority = 1, why = 'x' }]",
        "pin.drop = []",
        "paths = [{ exclude = 'usr' }]",
        "paths = [{ exclude = '/a', include = '/b' }]",
        "paths = [{ omit = '/a' }]",
        "paths = ['/a']",
        "extends = 1",
    ];
    let mut texts: Vec<(String, bool)> = SHIPPED.iter().map(|shipped| (shipped.text.to_owned(), true)).collect();
    texts
        .extend(fine.map(|text| (if text.contains("extends") { text.into() } else { format!("{whole}{text}") }, true)));
    texts.extend(
        wrong.map(|text| (if text.contains("extends") { text.into() } else { format!("{whole}{text}") }, false)),
    );
    texts.extend(
        ["suite = 'tri xie'", "suite = 'a/../b'", "suite = 'a//b'", "suite = 'a/'", "[disk]", ""]
            .map(|text| (text.into(), false)),
    );
    texts.push(("suite = 'bookworm/updates'".into(), true));

    let work = directory_of("root");
    let (schema, instances) = (work.path().join("schema.json"), work.path().join("instances.json"));
    fs_err::write(&schema, succeed(Command::new(program()).args(["recipe", "schema"]))).unwrap();
    let parsed: Vec<toml::Table> = texts.iter().map(|(text, _)| text.parse().unwrap()).collect();
    fs_err::write(&instances, serde_json::to_string(&parsed).unwrap()).unwrap();
    // Not the first python3 of the PATH: the module is Debian's.
    let verdicts = succeed(Command::new("/usr/bin/python3").args(["-c", VALIDATE]).arg(&schema).arg(&instances));
    let verdicts: Vec<Vec<String>> = serde_json::from_str(&verdicts).unwrap();
    assert_eq!(verdicts.len(), texts.len());
    for (index, ((text, is_sound), verdict)) in texts.iter().zip(verdicts).enumerate() {
        let file = work.path().join(format!("{index}.toml"));
        fs_err::write(&file, text).unwrap();
        let shown = Command::new(program()).args(["recipe", "show"]).arg(&file).output().unwrap();
        assert_eq!(verdict.is_empty(), *is_sound, "schema: {verdict:?}\n{text}");
        assert_eq!(shown.status.success(), *is_sound, "parser: {}\n{text}", String::from_utf8_lossy(&shown.stderr));
    }
}

fn a_recipe_is_checked_with_its_plugins_and_files() {
    let work = directory_of("root");
    let recipe = work.path().join("mine.toml");
    let check = || {
        let mut command = Command::new(program());
        command.args(["recipe", "check"]).arg(&recipe);
        command
    };
    fs_err::write(&recipe, "extends = 'minimal'\n[[plugin.add]]\nname = 'script'\nsettings.file = 'setup.sh'\n")
        .unwrap();
    let (code, said) = fail(&mut check());
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("plugin script: setting file:") && said.contains("setup.sh"), "{said}");
    assert!(said.contains("hint: a path is taken from the directory of the recipe"), "{said}");
    fs_err::write(work.path().join("setup.sh"), "true\n").unwrap();
    assert!(succeed(&mut check()).contains("mine.toml, which extends minimal is valid"));
    let json: serde_json::Value = serde_json::from_str(&succeed(check().arg("--json"))).unwrap();
    assert_eq!((&json["event"], &json["report"]["plugins"]), (&"checked".into(), &8.into()), "{json}");
    // A build that cannot succeed touches neither the network nor the output directory.
    fs_err::remove_file(work.path().join("setup.sh")).unwrap();
    let output = work.path().join("output");
    let mut build = Command::new(program());
    build.args(["--mirror", "http://mirror.invalid/debian", "--recipe"]).arg(&recipe).arg("--output").arg(&output);
    let (code, said) = fail(&mut build);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("setup.sh") && !output.exists(), "{said}");
}

fn a_memory_too_small_for_a_module_is_wrong_usage() {
    let output = tempfile::tempdir().unwrap();
    let recipe = output.path().join("recipe.toml");
    fs_err::write(&recipe, "suite = \"trixie\"\nfabric.size = \"128M\"\n").unwrap();
    let build = ["--mirror", "http://127.0.0.1:9/", "--fabric", "nvdimm", "--recipe"];
    for verb in [&[][..], &["plan"], &["lock"]] {
        let mut program = Command::new(program());
        program.args(verb).args(build).arg(&recipe).arg("--output").arg(output.path());
        let (status, said) = fail(&mut program);
        assert_eq!(status, 2);
        assert!(said.contains("128M, but on a fabric of kind nvdimm") && said.contains("hint: in the"), "{said}");
    }
    fs_err::write(&recipe, "suite = \"trixie\"\nfabric = { kind = \"cxl\", size = \"128M\" }\n").unwrap();
    let (_, said) = fail(Command::new(program()).args(["recipe", "check"]).arg(recipe));
    assert!(said.contains("128M, but on a fabric of kind cxl"), "{said}");
}

fn static_addresses_are_for_few_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let recipe = directory.path().join("recipe.toml");
    let check = |count: u8| {
        let text = format!("suite = 'trixie'\nnodes = {{ count = {count}, addresses = 'static' }}\n");
        fs_err::write(&recipe, text).unwrap();
        let mut command = Command::new(program());
        command.args(["recipe", "check"]).arg(&recipe);
        command
    };
    support::succeed(&mut check(247));
    let (code, said) = fail(&mut check(248));
    assert!(code == 2 && said.contains("248 nodes are more than can have static addresses"), "{said}");
    assert!(said.contains("hint: build 247 at the most"), "{said}");
}
