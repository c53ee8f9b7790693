//! Packages and tarballs: what reads tar and ar.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};

use arbitrary::Unstructured;
use fam_archive::deb::Deb;
use fam_rootfs::dpkg::Package;
use fam_tree::tar::{self, EntryKind, Header, TarReader, TarWriter};
use fam_tree::tarball::index;
use fam_tree::{Content, Kind, RootPath, Timestamp, Tree};

/// How many decompressed bytes of a package are read: a few bytes may become gigabytes.
const MAX_DATA_BYTES: u64 = 4 << 20;

/// A `.deb`: control files have names of plain files, and are bounded in size; so is the name under which
/// dpkg keeps the package.
pub fn deb(bytes: &[u8]) {
    let Ok(mut deb) = Deb::open(Cursor::new(bytes)) else { return };
    assert!(bytes.len().is_multiple_of(2));
    if let Ok(control) = deb.control() {
        let total: usize = control.files.values().map(|file| file.bytes.len()).sum();
        assert!(total <= 64 << 20);
        assert!(control.files.keys().all(|name| !name.contains('/') && !matches!(name.as_str(), "" | "." | "..")));
        if let Ok(package) = Package::new(control) {
            assert!(!package.name.contains('/') && !package.qualified_name().contains(['/', '\n']));
            let _ = package.node(false);
        }
    }
    if let Ok(data) = deb.data() {
        let mut tar = TarReader::new(data.take(MAX_DATA_BYTES)).of_a_package();
        while let Ok(Some(_)) = tar.next_entry() {}
    }
}

fn entries<R: Read>(mut reader: TarReader<R>) -> (Vec<Header>, Option<tar::Error>) {
    let mut headers = Vec::new();
    loop {
        match reader.next_entry() {
            Ok(Some(header)) => headers.push(header),
            Ok(None) => return (headers, None),
            Err(error) => return (headers, Some(error)),
        }
    }
}

/// A tar archive: entries lie within it, one behind the other. A reader that seeks finds the same ones; the
/// stricter reader of packages finds no others.
pub fn tar(bytes: &[u8]) {
    let (headers, error) = entries(TarReader::new(bytes));
    let (by_seeking, _) = entries(TarReader::seekable(Cursor::new(bytes)));
    assert!(by_seeking.starts_with(&headers));
    let (of_a_package, _) = entries(TarReader::new(bytes).of_a_package());
    assert!(headers.starts_with(&of_a_package));
    let mut end = 0;
    for (number, header) in headers.iter().enumerate() {
        assert!(!header.path.is_empty() && !header.path.contains(&0) && !header.link().contains(&0));
        assert!(header.offset >= end + 512 && header.offset.is_multiple_of(512));
        end = header.offset + header.size();
        let is_last = number + 1 == headers.len();
        assert!(end <= bytes.len() as u64 || is_last && error.is_some());
        let links = matches!(header.kind, EntryKind::HardLink(_) | EntryKind::Symlink(_));
        assert_eq!(links, !header.link().is_empty());
        let _ = RootPath::new(&header.path);
    }
}

fn indexed(bytes: &[u8]) -> Option<Tree> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("room for some kilobytes");
    index(&fs_err::File::open(file.path()).expect("the file was made above")).ok()
}

/// A root tarball of any entries: in its tree a directory is above each entry, a hard link leads to a file,
/// and written and read again it is the same.
pub fn tarball(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let mut archive = Vec::new();
    let mut writing = TarWriter::new(&mut archive);
    while !choices.is_empty() {
        let Ok((header, data)) = any_entry(&mut choices) else { break };
        if writing.header(&header).and_then(|()| writing.contents(&mut &data[..], header.size())).is_err() {
            return;
        }
    }
    if writing.finish().is_err() {
        return;
    }
    let Some(tree) = indexed(&archive) else { return };
    for (path, entry) in tree.iter() {
        let above = path.parent().map(|parent| tree.get(&parent).map(|entry| entry.kind.clone()));
        assert!(matches!(above, None | Some(Some(Kind::Directory))), "{path}");
        if let Kind::HardLink(target) = &entry.kind {
            assert!(matches!(tree.get(target).map(|entry| &entry.kind), Some(Kind::File(_))), "{path}");
        }
    }
    let mut again = Vec::new();
    let mut writer = TarWriter::new(&mut again);
    // In the order of paths, a hard link may come before its file; a tarball has it behind.
    let is_link = |entry: &&(&RootPath, &fam_tree::Entry)| matches!(entry.1.kind, Kind::HardLink(_));
    let all: Vec<_> = tree.iter().collect();
    for &(path, entry) in all.iter().filter(|entry| !is_link(entry)).chain(all.iter().filter(is_link)) {
        let mut contents: &[u8] = &[];
        let kind = entry.kind.try_map(
            |content| match content {
                &Content::Stored { offset, len } => {
                    contents = &archive[offset as usize..][..len as usize];
                    Ok(len)
                }
                Content::Inline(_) => Err("no file of a tarball has its contents elsewhere"),
            },
            |target| Ok(target.as_bytes().to_vec()),
        );
        let header = Header {
            path: [b"./", path.as_bytes()].concat(),
            kind: kind.expect("all files lie in the tarball"),
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs.clone(),
            offset: 0,
        };
        writer.header(&header).expect("a vector takes all");
        writer.contents(&mut contents, header.size()).expect("a vector takes all");
    }
    writer.finish().expect("a vector takes all");
    let again = indexed(&again).expect("what is written can be read");
    let shown = |tree: &Tree| -> BTreeMap<RootPath, String> {
        let kind = |kind: &Kind| match kind {
            Kind::File(content) => format!("file of {}", content.len()),
            other => format!("{other:?}"),
        };
        tree.iter().map(|(path, entry)| (path.clone(), format!("{} {}", kind(&entry.kind), entry.mode))).collect()
    };
    assert_eq!(shown(&again), shown(&tree));
}

fn any_entry(choices: &mut Unstructured<'_>) -> arbitrary::Result<(Header, Vec<u8>)> {
    const NAMES: [&[u8]; 10] = [b"a", b"b", b"./a/b", b"a/b/c", b"d/", b"./", b"d", b"../x", b"a/./b", b"e\xff"];
    let name = |choices: &mut Unstructured<'_>| -> arbitrary::Result<Vec<u8>> {
        Ok(match choices.int_in_range(0..=11)? {
            11 => choices.arbitrary::<Vec<u8>>()?,
            number => NAMES[usize::min(number, 9)].to_vec(),
        })
    };
    let data: Vec<u8> = choices.arbitrary()?;
    let kind = match choices.int_in_range(0..=5)? {
        0 => EntryKind::File(data.len() as u64),
        1 => EntryKind::Directory,
        2 => EntryKind::HardLink(name(choices)?),
        3 => EntryKind::Symlink(name(choices)?),
        4 => EntryKind::Fifo,
        _ => EntryKind::CharDevice { major: 1, minor: 3 },
    };
    let header = Header {
        path: name(choices)?,
        kind,
        mode: choices.int_in_range(0..=0o7777)?,
        uid: choices.arbitrary()?,
        gid: choices.arbitrary()?,
        mtime: Timestamp { seconds: choices.int_in_range(0..=1 << 33)?, nanoseconds: 0 },
        xattrs: BTreeMap::new(),
        offset: 0,
    };
    Ok((header, data))
}
