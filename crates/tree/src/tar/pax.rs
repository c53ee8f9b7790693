//! The extended records of POSIX pax(1): `length key=value newline`, cut by their length since
//! values may be binary.

use std::collections::BTreeMap;

use crate::Timestamp;

/// The PAX records that say something about an entry of a root file system.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: bool,
}

impl Records {
    /// Lays the records of `data` over these; `None` if they are malformed.
    pub(super) fn parse(&mut self, mut data: &[u8]) -> Option<()> {
        while !data.is_empty() {
            let (key, value, rest) = split_record(data)?;
            data = rest;
            self.apply(key, value)?;
        }
        Some(())
    }

    /// Whether they say what can hold for one entry only.
    pub(super) fn are_of_one_entry(&self) -> bool {
        self.path.is_some() || self.link.is_some() || self.size.is_some() || self.sparse || !self.xattrs.is_empty()
    }

    fn apply(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(timestamp(value)?),
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {
                // The keys in which star and GNU tar write extended attributes.
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.")
                    && !name.is_empty()
                {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Some(())
    }
}

/// Cuts one record off: key, value, what follows.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    // Seven digits and the blank: no record is longer than `MAX_EXTENSION`.
    let blank = data.iter().take(8).position(|&byte| byte == b' ')?;
    let len = usize::try_from(decimal(&data[..blank])?).ok()?;
    let (record, rest) = data.split_at_checked(len)?;
    let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    // The standard library takes a plus sign, too.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// `[-]seconds[.fraction]`; digits below a nanosecond are dropped, towards the past as the kernel
/// does.
fn timestamp(value: &[u8]) -> Option<Timestamp> {
    let (negative, value) = value.strip_prefix(b"-").map_or((false, value), |rest| (true, rest));
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or(b"0");
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanoseconds = 0;
    for place in 0..9 {
        nanoseconds = nanoseconds * 10 + fraction.get(place).map_or(0, |digit| u32::from(digit - b'0'));
    }
    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: -seconds, nanoseconds },
        // -0.25 s is one second before 1970 and 750 ms after that: nanoseconds always count
        // forward.
        (true, _) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}
