//! FAT directories: short names with long ones before them, and times.

use std::collections::BTreeSet;

use fam_tree::Timestamp;
use jiff::tz::TimeZone;

/// The volume label, in the boot sector and as the first entry of the root directory; filled with
/// spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VolumeLabel(pub(crate) [u8; 11]);

impl VolumeLabel {
    /// The label `text` as FAT has it: 11 characters at most, in upper case.
    pub(crate) fn new(text: &str) -> Self {
        let mut label = [b' '; 11];
        for (place, byte) in label.iter_mut().zip(text.bytes()) {
            *place = byte.to_ascii_uppercase();
        }
        Self(label)
    }
}

const ENTRY_BYTES: u64 = 32;
const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTE_FILE: u8 = 0x20;
const ATTRIBUTE_LONG_NAME: u8 = 0x0f;
const LAST_LONG_ENTRY: u8 = 0x40;
const UNITS_PER_LONG_ENTRY: usize = 13;
/// Where the 13 UTF-16 units of a long-name entry stand.
const UNIT_OFFSETS: [usize; UNITS_PER_LONG_ENTRY] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// Where a file or directory lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// 0 for what is empty, and for the root directory as seen from its children.
    pub(super) first_cluster: u32,
    /// 0 for directories.
    pub(super) len_bytes: u32,
}

impl Place {
    /// As directories are named: without a length.
    pub(super) fn without_len(self) -> Self {
        Self { len_bytes: 0, ..self }
    }
}

/// The names of one directory, of which its size follows.
#[derive(Debug)]
pub(super) struct DirectoryBuilder {
    /// That of the volume, in its root directory.
    label: Option<VolumeLabel>,
    children: Vec<Name>,
    short_names: BTreeSet<[u8; 11]>,
    folded_names: BTreeSet<String>,
}

#[derive(Debug)]
struct Name {
    short: [u8; 11],
    /// UTF-16; empty where the short name says it all.
    long: Vec<u16>,
    is_directory: bool,
    mtime: Timestamp,
}

impl DirectoryBuilder {
    pub(super) fn new(label: Option<VolumeLabel>) -> Self {
        // The label is an entry of the root directory like any other, so no file may have its name.
        let short_names = label.iter().map(|label| label.0).collect();
        Self { label, children: Vec::new(), short_names, folded_names: BTreeSet::new() }
    }

    /// Adds a name, or returns why FAT cannot hold it.
    pub(super) fn add(&mut self, name: &[u8], is_directory: bool, mtime: Timestamp) -> Result<(), &'static str> {
        let name = str::from_utf8(name).map_err(|_| "its name is not UTF-8")?;
        let long: Vec<u16> = name.encode_utf16().collect();
        // At most 20 entries for a long name: 255 units, and a 0 behind them where there is room.
        if long.len() > 255 {
            return Err("its name is longer than 255 characters");
        }
        if name.chars().any(|c| c.is_control() || "\"*/:<>?\\|".contains(c)) || name.ends_with(['.', ' ']) {
            return Err("its name has characters that FAT forbids");
        }
        // FAT keeps the case of names and ignores it when it compares them.
        if !self.folded_names.insert(name.to_uppercase()) {
            return Err("another name differs in upper and lower case only");
        }
        let short = self.short_name(name);
        self.short_names.insert(short);
        let long = if spelled(&short) == name { Vec::new() } else { long };
        self.children.push(Name { short, long, is_directory, mtime });
        Ok(())
    }

    /// The upper-case name if it fits eight and three characters, else with a number as Windows
    /// makes them.
    fn short_name(&self, name: &str) -> [u8; 11] {
        let (base, extension) = name.rsplit_once('.').filter(|(base, _)| !base.is_empty()).unwrap_or((name, ""));
        let (base, base_kept) = short_characters(base);
        let (mut extension, extension_kept) = short_characters(extension);
        if base_kept && extension_kept && base.len() <= 8 && extension.len() <= 3 {
            let short = padded(&base, &extension);
            if !self.short_names.contains(&short) {
                return short;
            }
        }
        extension.truncate(3);
        let mut numbered = (1..=999_999).map(|number: u32| {
            let tail = format!("~{number}");
            let kept = &base[..base.len().min(8 - tail.len())];
            padded(&[kept, tail.as_bytes()].concat(), &extension)
        });
        numbered.find(|short| !self.short_names.contains(short)).expect("fewer names than numbers")
    }

    /// The size of the directory.
    pub(super) fn len_bytes(&self) -> u64 {
        // The root directory has the label, all others have `.` and `..`.
        let own = if self.label.is_some() { 1 } else { 2 };
        let entries: usize = self.children.iter().map(|name| 1 + name.long.len().div_ceil(UNITS_PER_LONG_ENTRY)).sum();
        (own + entries as u64) * ENTRY_BYTES
    }

    /// The directory's bytes. `own` and `above` are the places of itself and of the one above, which
    /// the root directory does not name; `places` those of its children in the order of
    /// [`Self::add`].
    pub(super) fn encode(
        &self,
        own: Place,
        above: Place,
        places: impl Iterator<Item = Place>,
        mtime: Timestamp,
        label_time: i64,
    ) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len_bytes() as usize);
        match &self.label {
            Some(VolumeLabel(label)) => {
                let time = Timestamp { seconds: label_time, nanoseconds: 0 };
                bytes.extend(encode_entry(label, ATTRIBUTE_LABEL, time, Place::default()));
            }
            None => {
                bytes.extend(encode_entry(b".          ", ATTRIBUTE_DIRECTORY, mtime, own));
                bytes.extend(encode_entry(b"..         ", ATTRIBUTE_DIRECTORY, mtime, above));
            }
        }
        for (name, place) in self.children.iter().zip(places) {
            encode_long(&name.long, &name.short, &mut bytes);
            let attribute = if name.is_directory { ATTRIBUTE_DIRECTORY } else { ATTRIBUTE_FILE };
            bytes.extend(encode_entry(&name.short, attribute, name.mtime, place));
        }
        bytes
    }
}

/// Upper case, without what short names cannot have; and whether nothing but the case was lost.
fn short_characters(text: &str) -> (Vec<u8>, bool) {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'()-@^_`{}~".contains(c);
    let characters = text.chars().filter(|&c| c != ' ' && c != '.');
    let short = characters.map(|c| if is_allowed(c) { c.to_ascii_uppercase() as u8 } else { b'_' }).collect();
    (short, text.chars().all(is_allowed))
}

fn padded(base: &[u8], extension: &[u8]) -> [u8; 11] {
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base);
    short[8..8 + extension.len()].copy_from_slice(extension);
    short
}

/// A short name as a person writes it.
fn spelled(short: &[u8; 11]) -> String {
    let [base, extension] = [&short[..8], &short[8..]].map(|part| String::from_utf8_lossy(part).trim_end().to_owned());
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

/// The entries of a long name, which stand before the short one, last part first.
fn encode_long(long: &[u16], short: &[u8; 11], bytes: &mut Vec<u8>) {
    let checksum = short.iter().fold(0_u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
    let count = long.len().div_ceil(UNITS_PER_LONG_ENTRY);
    for (index, part) in long.chunks(UNITS_PER_LONG_ENTRY).enumerate().rev() {
        let mut entry = [0; ENTRY_BYTES as usize];
        let is_last = index + 1 == count;
        entry[0] = (index + 1) as u8 | if is_last { LAST_LONG_ENTRY } else { 0 };
        entry[11] = ATTRIBUTE_LONG_NAME;
        entry[13] = checksum;
        // A name that does not fill its entry ends with 0, and the rest is 0xffff.
        let units = part.iter().copied().chain([0]).chain(std::iter::repeat(0xffff));
        for (offset, unit) in UNIT_OFFSETS.into_iter().zip(units) {
            entry[offset..offset + 2].copy_from_slice(&unit.to_le_bytes());
        }
        bytes.extend(entry);
    }
}

fn encode_entry(short: &[u8; 11], attribute: u8, mtime: Timestamp, place: Place) -> [u8; ENTRY_BYTES as usize] {
    let (date, time) = dos_time(mtime);
    let [low, high] = [place.first_cluster as u16, (place.first_cluster >> 16) as u16];
    let mut entry = [0; ENTRY_BYTES as usize];
    entry[..11].copy_from_slice(short);
    entry[11] = attribute;
    // A tree has one time for each entry: it was made, read and changed then.
    for (at, value) in [(14, time), (16, date), (18, date), (20, high), (22, time), (24, date), (26, low)] {
        entry[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    entry[28..].copy_from_slice(&place.len_bytes.to_le_bytes());
    entry
}

/// Date and time of FAT, in UTC, which has them from 1980 to 2107 in steps of two seconds.
fn dos_time(time: Timestamp) -> (u16, u16) {
    const FIRST: i64 = 315_532_800;
    const LAST: i64 = 4_354_819_198;
    let seconds = time.seconds.clamp(FIRST, LAST);
    let utc = jiff::Timestamp::from_second(seconds).expect("within 1980 and 2107").to_zoned(TimeZone::UTC);
    let [month, day, hour, minute, second] =
        [utc.month(), utc.day(), utc.hour(), utc.minute(), utc.second()].map(i8::unsigned_abs).map(u16::from);
    let date = (utc.year() - 1980).unsigned_abs() << 9 | month << 5 | day;
    let clock = hour << 11 | minute << 5 | (second / 2);
    (date, clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short_names(names: &[&str]) -> Vec<String> {
        let mut builder = DirectoryBuilder::new(None);
        for name in names {
            builder.add(name.as_bytes(), false, Timestamp::default()).unwrap();
        }
        builder.children.iter().map(|name| format!("{}+{}", spelled(&name.short), name.long.len())).collect()
    }

    #[test]
    fn short_names_are_those_of_other_systems() {
        assert_eq!(
            short_names(&["BOOTX64.EFI", "grub.cfg", "grubx64-signed.efi", "grubx64-second.efi", ".hidden", "a b.c"]),
            ["BOOTX64.EFI+0", "GRUB.CFG+8", "GRUBX6~1.EFI+18", "GRUBX6~2.EFI+18", "HIDDEN~1+7", "AB~1.C+5"]
        );
    }

    #[test]
    fn refuses_what_fat_cannot_name() {
        let mut builder = DirectoryBuilder::new(None);
        builder.add(b"Grub.cfg", false, Timestamp::default()).unwrap();
        for name in [&b"a:b"[..], b"dot.", b"\xff", b"GRUB.CFG", &[b'x'; 256]] {
            assert!(builder.add(name, false, Timestamp::default()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn times() {
        let of = |seconds| dos_time(Timestamp { seconds, nanoseconds: 0 });
        assert_eq!(of(0), (1 << 5 | 1, 0));
        // 2024-02-29 23:59:58 UTC
        assert_eq!(of(1_709_251_198), (44 << 9 | 2 << 5 | 29, 23 << 11 | 59 << 5 | 29));
        assert_eq!(of(i64::MAX).0 >> 9, 127);
    }
}
