//! `OpenPGP` packets taken apart and put together (RFC 9580, section 4), to make signatures that
//! `GnuPG` reads but does not write.

/// The packets of `bytes`: each its tag and its body.
pub(super) fn split(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut packets = Vec::new();
    while let [first, rest @ ..] = bytes {
        assert_eq!(first & 0xc0, 0x80, "gpg writes packets in the old format");
        let length_bytes = 1 << (first & 3);
        let (length, rest) = rest.split_at(length_bytes);
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let (body, rest) = rest.split_at(length);
        packets.push((first >> 2 & 15, body.to_vec()));
        bytes = rest;
    }
    packets
}

/// Writes packets in the old format.
pub(super) fn join(packets: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, body) in packets {
        bytes.push(0x80 | tag << 2 | 1);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
    }
    bytes
}

/// The tag of signatures.
pub(super) const SIGNATURE: u8 = 2;

/// Replaces the unhashed subpackets of a signature of version 4, which anyone can do.
pub(super) fn with_unhashed(body: &[u8], edit: impl FnOnce(Vec<(u8, Vec<u8>)>) -> Vec<(u8, Vec<u8>)>) -> Vec<u8> {
    assert_eq!(body[0], 4);
    let length = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let begin = 6 + length(4);
    let end = begin + 2 + length(begin);
    let unhashed = join_parts(&edit(split_parts(&body[begin + 2..end])));
    let mut changed = body[..begin].to_vec();
    changed.extend(u16::try_from(unhashed.len()).unwrap().to_be_bytes());
    changed.extend(unhashed);
    changed.extend(&body[end..]);
    changed
}

fn split_parts(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut parts = Vec::new();
    while let [first, rest @ ..] = bytes {
        assert!(*first < 255);
        let (length, rest) = match (*first, rest) {
            (first @ 192.., [second, rest @ ..]) => {
                ((usize::from(first) - 192) * 256 + usize::from(*second) + 192, rest)
            }
            (first, rest) => (usize::from(first), rest),
        };
        let (part, rest) = rest.split_at(length);
        parts.push((part[0], part[1..].to_vec()));
        bytes = rest;
    }
    parts
}

fn join_parts(parts: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, data) in parts {
        bytes.push(255);
        bytes.extend(u32::try_from(data.len() + 1).unwrap().to_be_bytes());
        bytes.push(*kind);
        bytes.extend(data);
    }
    bytes
}
