//! Tar archives.

/// A header block, and `data` padded; the checksum made right.
pub fn member(name: &[u8], flag: u8, data: &[u8], change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
    let mut block = [0_u8; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0004755");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000010");
    block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    block[136..147].copy_from_slice(b"14000000000");
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut out = block.to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// One PAX record.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut len = body + 1;
    while len != body + len.to_string().len() {
        len += 1;
    }
    [len.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
}

/// A whole archive.
pub fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

/// A symbolic (`'2'`) or hard (`'1'`) link.
pub fn link(name: &str, flag: u8, target: &str) -> Vec<u8> {
    member(name.as_bytes(), flag, b"", |block| block[157..157 + target.len()].copy_from_slice(target.as_bytes()))
}

/// A directory.
pub fn directory(name: &str) -> Vec<u8> {
    member(name.as_bytes(), b'5', b"", |block| block[100..107].copy_from_slice(b"0000755"))
}

/// A regular file.
pub fn file(name: &str, data: &[u8]) -> Vec<u8> {
    member(name.as_bytes(), b'0', data, |block| block[100..107].copy_from_slice(b"0000644"))
}
