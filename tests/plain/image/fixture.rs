//! The tree whose images are examined, and the disks that are made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use fam_image::{DiskMap, Error, Identity, ImageSettings, SectorSize, VolumeIdentity};
use fam_tree::tar::{EntryKind, Header, TarWriter};
use fam_tree::tarball;
use fam_tree::{Change, Content, Entry, Kind, Overlay, RootPath, Timestamp, Tree};
use fs_err::File;
use tempfile::TempDir;
use uuid::Uuid;

pub const SIZE_BYTES: u64 = 400 << 20;
pub const NOW: i64 = 1_750_000_000;
pub const SECRET: &str = "this is known to one node alone";

/// A tree in a tarball, as the left half of a build leaves it.
pub struct Fixture {
    pub directory: TempDir,
    pub tarball: Arc<File>,
    pub tree: Tree,
}

/// An access control list in the form of the system calls: owner rwx, user 1000 r-x, group r-x,
/// group 4 r--, mask, others.
const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 0xe8, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255, 8, 0, 4, 0,
    4, 0, 0, 0, 16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];
/// `cap_net_raw=ep`, revision 2.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl Fixture {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.tar");
        let mut writer = TarWriter::new(File::create(&path).unwrap());
        let mut add = |path: &str, kind: EntryKind, mode: u16, data: &[u8], xattrs: &[(&str, &[u8])]| {
            let header = Header {
                path: path.into(),
                kind: if kind == FILE { EntryKind::File(data.len() as u64) } else { kind },
                mode,
                uid: if path.contains("home") { 1000 } else { 0 },
                gid: if path.contains("home") { 70_000 } else { 0 },
                mtime: Timestamp { seconds: NOW - path.len() as i64, nanoseconds: 0 },
                xattrs: xattrs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect(),
                offset: 0,
            };
            writer.header(&header).unwrap();
            writer.contents(&mut &data[..], header.size()).unwrap();
        };
        /// A file with the data that is given.
        const FILE: EntryKind = EntryKind::File(u64::MAX);
        use fam_tree::Kind::{BlockDevice, CharDevice, Directory, Fifo, HardLink, Symlink};
        let noise = noise(3_000_001);
        let text = "All work and no play makes Jack a dull boy.\n".repeat(50_000);
        add("./", Directory, 0o755, b"", &[]);
        for name in
            ["boot", "boot/efi", "boot/efi/EFI", "boot/efi/EFI/BOOT", "etc", "home", "home/fabric", "lost+found"]
        {
            add(&format!("./{name}/"), Directory, 0o755, b"", &[]);
        }
        add("./boot/efi/EFI/BOOT/BOOTX64.EFI", FILE, 0o755, &noise[..700_000], &[]);
        add("./boot/efi/EFI/BOOT/grub.cfg", FILE, 0o755, b"configfile\n", &[]);
        add("./boot/efi/EFI/A rather long directory name.d/", Directory, 0o755, b"", &[]);
        add("./boot/efi/EFI/A rather long directory name.d/empty", FILE, 0o755, b"", &[]);
        add("./bin/ping", FILE, 0o755, &noise, &[("security.capability", CAPABILITY)]);
        add("./bin/su", FILE, 0o4755, text.as_bytes(), &[]);
        add("./bin/ping4", HardLink("./bin/ping".into()), 0o755, b"", &[]);
        add("./a-link-before-its-target", HardLink("./bin/ping".into()), 0o755, b"", &[]);
        add("./lib", Symlink("usr/lib".into()), 0o777, b"", &[]);
        add("./long", Symlink("long/".repeat(100).into()), 0o777, b"", &[]);
        let acl = [("system.posix_acl_access", ACL), ("system.posix_acl_default", ACL), ("user.empty", b"")];
        add("./journal/", Directory, 0o2750, b"", &acl);
        let large = [("user.large", &noise[..2000]), ("trusted.binary", &b"\n=\0\xff"[..]), ("security.x", b"y")];
        add("./home/fabric/attributes", FILE, 0o600, b"x", &large);
        add("./nodes/", Directory, 0o1777, b"", &[]);
        add("./nodes/char", CharDevice { major: 1, minor: 3 }, 0o666, b"", &[]);
        add("./nodes/block", BlockDevice { major: 259, minor: 70_000 }, 0o660, b"", &[]);
        add("./nodes/fifo", Fifo, 0o600, b"", &[]);
        add("./etc/hostname", FILE, 0o644, b"template\n", &[]);
        add("./etc/empty", FILE, 0o644, b"", &[]);
        add("./etc/zeros", FILE, 0o644, &[0; 300_000], &[]);
        for number in 0..3000 {
            add(&format!("./many/{number}-{}", "name".repeat(number % 20)), FILE, 0o644, b"small", &[]);
        }
        writer.finish().unwrap();
        let tarball = Arc::new(File::open(&path).unwrap());
        let tree = tarball::index(&tarball).unwrap();
        Self { directory, tarball, tree }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn create(&self, name: &str) -> File {
        File::options().read(true).write(true).create(true).truncate(true).open(self.path(name)).unwrap()
    }

    pub fn settings() -> ImageSettings {
        let layout_uuid = identity(0).fs_uuid;
        ImageSettings {
            size_bytes: SIZE_BYTES,
            sector_size: SectorSize::Bytes512,
            label: "fabric".to_owned(),
            layout_uuid,
            timestamp: NOW,
            partitions: Vec::new(),
            disks: Vec::new(),
        }
    }

    pub fn lay_out(&self, tree: &Tree, laid_last: &BTreeSet<RootPath>, number: u128) -> Result<Arc<DiskMap>, Error> {
        let settings = Self::settings();
        fam_image::lay_out(tree, Arc::clone(&self.tarball), laid_last, &identity(number), &settings).map(Arc::new)
    }

    /// The disk of node `number`, which has a host name of its own, a secret, and a name in the
    /// ESP.
    pub fn node(&self, number: u128) -> Arc<DiskMap> {
        let mut overlay = Overlay::default();
        for (path, contents) in [
            ("etc/hostname", format!("fabric{number}\n")),
            ("etc/ssh_host_key", format!("{SECRET} {number}\n").repeat(number as usize * 300)),
            ("boot/efi/EFI/BOOT/grub.cfg", format!("search {number}\n{SECRET}\n")),
        ] {
            overlay.set(path.parse().unwrap(), Change::Put(file(contents.as_bytes(), 0o600)));
        }
        let laid_last = overlay.iter().map(|(path, _)| path.clone()).collect();
        self.lay_out(&overlay.apply(&self.tree), &laid_last, number).unwrap()
    }
}

pub fn file(contents: &[u8], mode: u16) -> Entry {
    let kind = Kind::File(Content::Inline(contents.into()));
    let mtime = Timestamp { seconds: NOW, nanoseconds: 0 };
    Entry { kind, mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
}

pub fn identity(number: u128) -> Identity {
    let guid = |kind: u128| Uuid::from_u128(0x1234_0000_4000_8000_0000_0000_0000 + (number << 16) + kind);
    let volume_identity = |kind| VolumeIdentity { guid: guid(kind), fs_uuid: guid(kind + 0x80) };
    Identity {
        disk_guid: guid(1),
        bios_guid: guid(2),
        esp_guid: guid(3),
        root_guid: guid(4),
        fs_uuid: guid(5),
        esp_volume_id: 0xfab0_0000 + number as u32,
        partitions: (0..5).map(|index| volume_identity(0x100 + index)).collect(),
        disks: (0..3).map(|index| volume_identity(0x200 + index)).collect(),
    }
}

/// Bytes that do not compress, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}
