//! What was built, as the first lines of the launch script tell it: so images that were moved with
//! their script are exported without a word of what they were built from.

use std::io::{self, Read};
use std::path::Path;

use fam_host::regular;
use rustix::fs::{Mode, OFlags};

use super::error::Error;
use crate::fabric::LAUNCH_SCRIPT;
use crate::recipe::{Cpus, DiskLabel, FabricKind, NodeCount, NodePrefix, SectorSize};

/// A launch script has 32 KiB, and for 253 nodes less than as much again.
const LONGEST_SCRIPT: u64 = 1 << 20;

/// What the nodes of a build are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What their names begin with.
    pub prefix: NodePrefix,
    /// How many there are.
    pub nodes: NodeCount,
    /// The memory of each in MiB.
    pub memory_mib: u64,
    /// The processors of each.
    pub cpus: Cpus,
    /// The device that shows the shared memory.
    pub fabric: FabricKind,
    /// The shared memory in MiB.
    pub shared_mib: u64,
    /// The file of the shared memory on a host.
    pub shared_file: String,
    /// The labels of the disks beside the one that each boots from.
    pub further_disks: Vec<DiskLabel>,
    /// The size of the sectors of their disks.
    pub sector_size: SectorSize,
    /// The hardware addresses of their first network interfaces.
    macs: Vec<String>,
}

/// One node as a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its number, from 1.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// The hardware address of its first network interface.
    pub mac: String,
}

impl Facts {
    /// Reads those of the launch script in `directory`.
    ///
    /// # Errors
    /// There is none, others could have written it, or it tells no facts.
    pub fn of_directory(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(LAUNCH_SCRIPT);
        let file = regular::open_with(&path, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty());
        let file = file.map_err(|error| Error::NotBuilt(error.into()))?;
        if !regular::is_own(&file.metadata()?) {
            return Err(Error::Foreign(path));
        }
        let mut text = String::new();
        let read = file.take(LONGEST_SCRIPT).read_to_string(&mut text);
        let read =
            read.map_err(|error| Error::NotBuilt(io::Error::new(error.kind(), format!("{}: {error}", path.display()))));
        read?;
        Self::parse(&text).map_err(|reason| Error::Facts { path, reason })
    }

    /// Parses a launch script; says what is wrong with it.
    fn parse(script: &str) -> Result<Self, String> {
        let facts = Self {
            prefix: checked(script, "prefix")?,
            nodes: checked(script, "nodes")?,
            memory_mib: checked(script, "memory_mib")?,
            cpus: checked(script, "cpus")?,
            fabric: checked(script, "fabric")?,
            shared_mib: checked(script, "shm_mib")?,
            shared_file: checked(script, "first_memory")?,
            further_disks: further_disks(script)?,
            // Scripts of an older version do not say it: there was one size.
            sector_size: if_said(script, "sector_size")?.unwrap_or(SectorSize::Bytes512),
            macs: macs(script)?,
        };
        let plain =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !facts.shared_file.strip_prefix("/dev/shm/").is_some_and(plain) {
            return Err(format!("first_memory is {:?}", facts.shared_file));
        }
        if facts.macs.len() != usize::from(facts.nodes.get()) {
            return Err(format!("{} nodes have {} network interfaces", facts.nodes, facts.macs.len()));
        }
        Ok(facts)
    }

    /// The nodes of these numbers, or all of them.
    ///
    /// # Errors
    /// [`Error::NoNode`].
    pub fn machines(&self, numbers: &[u8]) -> Result<Vec<Machine>, Error> {
        let nodes = self.nodes.get();
        let mut numbers: Vec<u8> = if numbers.is_empty() { (1..=nodes).collect() } else { numbers.to_vec() };
        numbers.sort_unstable();
        numbers.dedup();
        let machine = |number: u8| {
            let mac = number.checked_sub(1).and_then(|index| self.macs.get(usize::from(index)));
            let mac = mac.ok_or(Error::NoNode { number, nodes })?.clone();
            Ok(Machine { number, name: format!("{}{number}", self.prefix), mac })
        };
        numbers.into_iter().map(machine).collect()
    }
}

/// The words of the lines that set facts.
fn words(script: &str) -> impl Iterator<Item = &str> {
    script.lines().filter_map(|line| line.strip_prefix("readonly ")).flat_map(str::split_whitespace)
}

/// The value of the fact `name`.
fn checked<T: std::str::FromStr>(script: &str, name: &str) -> Result<T, String> {
    if_said(script, name)?.ok_or_else(|| format!("{name} is missing"))
}

/// The value of the fact `name`, if the script has it.
fn if_said<T: std::str::FromStr>(script: &str, name: &str) -> Result<Option<T>, String> {
    let value = words(script).find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.map(|value| value.parse().map_err(|_| format!("{name} is {value:?}"))).transpose()
}

/// The elements of the fact `name`, which has a line of its own.
fn elements<'a>(script: &'a str, name: &str) -> Result<std::str::SplitWhitespace<'a>, String> {
    let begin = format!("readonly {name}=(");
    let line = script.lines().find_map(|line| line.strip_prefix(&begin)?.strip_suffix(')'));
    Ok(line.ok_or_else(|| format!("{name} are missing"))?.split_whitespace())
}

/// The labels: `further_disks=(data log)`.
fn further_disks(script: &str) -> Result<Vec<DiskLabel>, String> {
    let label = |element: &str| element.parse().map_err(|_| format!("an element of further_disks is {element:?}"));
    elements(script, "further_disks")?.map(label).collect()
}

/// The hardware addresses, in the order of the nodes: `macs=([1]=52:54:… [2]=…)`.
fn macs(script: &str) -> Result<Vec<String>, String> {
    let elements = elements(script, "macs")?.enumerate();
    let macs = elements.map(|(index, element)| {
        let mac = element.strip_prefix(&format!("[{}]=", index + 1)).filter(|mac| is_mac(mac));
        mac.map(str::to_owned).ok_or_else(|| format!("an element of macs is {element:?}"))
    });
    macs.collect()
}

fn is_mac(text: &str) -> bool {
    let mut parts = text.split(':');
    text.len() == 17 && parts.all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fabric::{Cluster, Seed, launch_script};
    use crate::recipe::Recipe;

    fn script(recipe: &str) -> String {
        launch_script(&Cluster::new(&Recipe::parse("example", recipe).unwrap()), &Seed::from_bytes([1; 32]))
    }

    pub(crate) fn example(recipe: &str) -> Facts {
        Facts::parse(&script(&format!("suite = 'sid'\n{recipe}"))).unwrap()
    }

    #[test]
    fn the_launch_script_tells_what_was_built() {
        let recipe = "nodes.count = 3\nnodes.name = 'a-b'\nnodes.memory = '2G'\nnodes.cpus = 1\nfabric.size = '64M'\nfabric.kind = 'nvdimm'
            disk.more = [{ size = '1G', label = 'data' }, { size = '1G', label = 'Log.1' }]";
        let facts = example(recipe);
        assert_eq!(facts.further_disks.iter().map(DiskLabel::as_str).collect::<Vec<_>>(), ["data", "Log.1"]);
        assert_eq!((facts.prefix.to_string().as_str(), facts.nodes.get(), facts.memory_mib), ("a-b", 3, 2048));
        assert_eq!((facts.cpus.get(), facts.fabric, facts.shared_mib), (1, FabricKind::Nvdimm, 64));
        assert_eq!(facts.sector_size, SectorSize::Bytes512);
        assert_eq!(example("disk.sector-size = 4096").sector_size, SectorSize::Bytes4096);
        let older = script("suite = 'sid'\ndisk.sector-size = 4096").replace(" sector_size=4096", "");
        assert_eq!(Facts::parse(&older).unwrap().sector_size, SectorSize::Bytes512);
        let numbers = |machines: Vec<Machine>| machines.iter().map(|machine| machine.number).collect::<Vec<_>>();
        assert_eq!(numbers(facts.machines(&[]).unwrap()), [1, 2, 3]);
        assert_eq!(numbers(facts.machines(&[3, 1, 3]).unwrap()), [1, 3]);
        let [second] = &facts.machines(&[2]).unwrap()[..] else { panic!("one machine") };
        assert_eq!((second.name.as_str(), second.mac.as_str()), ("a-b2", "52:54:48:50:45:02"));
        for number in [0, 4] {
            assert!(matches!(facts.machines(&[number]), Err(Error::NoNode { .. })));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let good = script("suite = 'sid'\nnodes.count = 2");
        for (from, to, expected) in [
            ("nodes=2", "nodes=0", "nodes is \"0\""),
            ("nodes=2", "nodes=3", "3 nodes have 2"),
            ("prefix=fabric", "prefix=../x", "prefix is \"../x\""),
            ("memory_mib=", "memory=", "memory_mib is missing"),
            ("fabric=ivshmem", "fabric=numa", "fabric is \"numa\""),
            ("[2]=52:54:48:50:45:02)", "[2]=$(id))", "an element of macs"),
            ("[1]=52:54:48:50:45:01", "[0]=52:54:48:50:45:01", "an element of macs"),
            ("readonly macs", "macs", "macs are missing"),
            ("further_disks=()", "further=()", "further_disks are missing"),
            ("further_disks=()", "further_disks=(a ../b)", "an element of further_disks is \"../b\""),
            ("sector_size=512", "sector_size=2048", "sector_size is \"2048\""),
            ("first_memory=/dev/shm/", "first_memory=/dev/shm/../", "first_memory is"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = Facts::parse(&good.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
