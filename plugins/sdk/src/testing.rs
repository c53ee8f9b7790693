//! A test kit: runs a plugin against an image in memory.

mod memory_root;

pub use memory_root::MemoryRoot;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::{
    Archive, ArchiveKeys, Context, ErasedPlugin, Error, Fabric, Facts, Host, Level, Node, Result, Root, RootFs, Scope,
    Secrets,
};

fn archive(url: &str, suites: &[&str]) -> Archive {
    Archive {
        name: "debian".into(),
        url: url.into(),
        suites: suites.iter().map(ToString::to_string).collect(),
        components: vec!["main".into()],
        keys: ArchiveKeys { vouching: "c0ffee".into(), armored: "the keys of the archive\n".into() },
        snapshot: None,
    }
}

/// Runs a plugin as a build would: settings are checked first, then a stage is applied.
#[derive(Debug)]
pub struct Harness {
    facts: Facts,
    settings: Value,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log(Mutex<Vec<(Level, String)>>);

impl Host for Log {
    fn secret(&self, scope: Scope, label: &str) -> [u8; 32] {
        Secrets::new([42; 32]).derive(scope, label)
    }

    fn log(&self, level: Level, message: &str) {
        if let Ok(mut lines) = self.0.lock() {
            lines.push((level, message.into()));
        }
    }
}

impl Default for Harness {
    fn default() -> Self {
        Self::new()
    }
}

impl Harness {
    /// A build of four nodes, with no settings.
    #[must_use]
    pub fn new() -> Self {
        let nodes = (1..=4).map(node).collect();
        let fabric = Fabric {
            pci_address: "0000:00:04.0".into(),
            memory_bytes: 1 << 30,
            host_address: Ipv4Addr::new(192, 168, 42, 254),
            prefix_len: 24,
            static_addresses: false,
            nameservers: Vec::new(),
        };
        let facts = Facts {
            suite: "trixie".into(),
            components: vec!["main".into()],
            mirror: "http://mirror.example/debian".into(),
            security_mirror: Some("http://mirror.example/debian-security".into()),
            archives: vec![
                archive("http://mirror.example/debian", &["trixie", "trixie-updates"]),
                archive("http://mirror.example/debian-security", &["trixie-security"]),
            ],
            preferences: String::new(),
            ca_certificates: Vec::new(),
            proxy: None,
            build_host: "builder".into(),
            fabric,
            nodes,
            source_date_epoch: 1_750_000_000,
        };
        Self { facts, settings: Value::Null, log: Arc::default() }
    }

    /// Sets the settings, as JSON.
    ///
    /// # Panics
    /// Where it is no JSON: the test fails.
    #[must_use]
    #[track_caller]
    pub fn settings(mut self, json: &str) -> Self {
        match serde_json::from_str(json) {
            Ok(settings) => self.settings = settings,
            Err(error) => panic!("settings of the test: {error}"),
        }
        self
    }

    /// Changes the facts of the build that the plugin gets.
    #[must_use]
    pub fn facts(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.facts);
        self
    }

    /// A context with all facts; [`Context::for_node`] makes that of the node stage of it.
    #[must_use]
    pub fn context(&self) -> Context {
        self.context_of(self.facts.clone())
    }

    fn context_of(&self, facts: Facts) -> Context {
        Context::new(Arc::new(facts), Arc::clone(&self.log) as Arc<dyn Host>)
    }

    /// Checks the settings alone.
    ///
    /// # Errors
    /// What the plugin gives.
    pub fn check(&self, plugin: &dyn ErasedPlugin) -> Result<()> {
        plugin.check(&self.settings)
    }

    /// Checks the settings and applies the system stage.
    ///
    /// # Errors
    /// What the plugin gives.
    pub fn system(&self, plugin: &dyn ErasedPlugin, image: &mut dyn RootFs) -> Result<()> {
        plugin.check(&self.settings)?;
        let mut root = Root::new(image).with_network(self.settings["network"] == Value::Bool(true));
        plugin.apply_system(&self.settings, &mut root, &self.context_of(self.facts.for_system()))
    }

    /// Checks the settings and applies the node stage of the node with that number.
    ///
    /// # Errors
    /// What the plugin gives; [`Error::Failed`] where there is no such node.
    pub fn node(&self, plugin: &dyn ErasedPlugin, number: u32, image: &mut dyn RootFs) -> Result<()> {
        let node = self.facts.nodes.iter().find(|node| node.number == number);
        let node = node.ok_or_else(|| Error::failed(format!("the test has no node {number}")))?;
        plugin.check(&self.settings)?;
        plugin.apply_node(&self.settings, &mut Root::new(image), node, &self.context().for_node(node))
    }

    /// The warnings so far.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let lines = self.log.0.lock().map(|lines| lines.clone()).unwrap_or_default();
        lines.into_iter().filter(|(level, _)| *level == Level::Warning).map(|(_, line)| line).collect()
    }
}

/// Node `number` as a build by the default recipe has it.
#[must_use]
pub fn node(number: u32) -> Node {
    Node {
        number,
        name: format!("fabric{number}"),
        mac: format!("52:54:48:50:45:{number:02x}"),
        address: Ipv4Addr::new(192, 168, 42, u8::try_from(number).unwrap_or(u8::MAX)),
        ipv6: format!("fd48:5045:c0a8:2a::{number}").parse::<Ipv6Addr>().ok(),
    }
}
