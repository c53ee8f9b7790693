//! What recipes say of disks: swap, partitions and further disks in whole builds, what is refused,
//! and the growth of the root.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::archive::Deb;
use support::disk::{Partition, RootFileSystem};
use support::files::in_tarball;
use support::succeed;

use crate::image::tools::run;
use crate::small::{Bench, archive, assert_fails, names};
use crate::volumes::{assert_sound, partition, probe};

support::tests! {
    needs [
        support::harness::ROOT, "blkid", "debugfs", "dpkg-deb", "e2fsck", "fsck.vfat", "gpg", "qemu-img", "resize2fs",
        "sgdisk", "systemd-repart",
    ];
    a_recipe_brings_swap_partitions_and_disks,
    the_same_seed_gives_the_same_bytes,
    wrong_disks_are_refused_before_anything_is_fetched,
    the_root_takes_what_a_larger_disk_has,
    a_system_without_the_tools_gets_no_settings_of_them,
}

/// The small system with all that its disks can have.
const RECIPE: &str = "
extends = './tiny.toml'
disk.swap = '64M'
nodes.count = 2

[[disk.partition]]
size = '32M'
label = 'data'
mount = '/srv/data'
source = 'data'

[[disk.partition]]
size = '64M'
label = 'shared'
type = 'vfat'
mount = '/mnt'

[[disk.more]]
size = '100M'
label = 'more'
mount = '/srv/data/more'
source = 'more'

[[disk.more]]
size = '8M'
label = 'blank'
type = 'none'

[[plugin.add]]
name = 'identity'

[[plugin.add]]
name = 'files'
[[plugin.add.settings.files]]
content = 'by a plugin'
target = '/srv/data/of-plugin'
";

fn bench() -> Bench {
    let bench = Bench::new(archive());
    let at = |name: &str| bench.directory.path().join(name);
    bench.write("all.toml", RECIPE);
    for (path, text) in [("data/sub/file", "in a partition\n"), ("more/file", "on a disk\n")] {
        fs_err::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs_err::write(at(path), text).unwrap();
    }
    bench
}

fn all(bench: &Bench) -> String {
    bench.directory.path().join("all.toml").display().to_string()
}

fn to_raw(qcow2: &Path) -> PathBuf {
    let raw = qcow2.with_extension("img");
    run("qemu-img", &[&"convert", &"-O", &"raw", &qcow2, &raw]);
    raw
}

fn a_recipe_brings_swap_partitions_and_disks() {
    let bench = bench();
    let cat = |disk: &Path, path: &str| run("debugfs", &[&"-R", &format!("cat {path}"), &disk]);
    for thin in [false, true] {
        let output = bench.directory.path().join(if thin { "thin" } else { "whole" });
        let (recipe, place) = (all(&bench), output.display().to_string());
        let arguments = ["--recipe", &recipe, "--output", &place, "--thin"];
        let arguments = if thin { &arguments[..] } else { &arguments[..4] };
        succeed(&mut bench.build(arguments));
        let made = names(&output);
        for name in ["fabric1-more.qcow2", "fabric2-blank.qcow2", "fabric2-more.qcow2"] {
            assert!(made.contains(&name.to_owned()), "{made:?}");
        }
        assert_eq!(made.contains(&"fabric_backing-more.qcow2".to_owned()), thin, "{made:?}");
        let mut uuids = BTreeSet::new();
        for node in ["fabric1", "fabric2"] {
            for name in ["", "-more", "-blank"] {
                run("qemu-img", &[&"check", &output.join(format!("{node}{name}.qcow2"))]);
            }
            let disk = to_raw(&output.join(format!("{node}.qcow2")));
            run("sgdisk", &[&"-v", &disk]);
            let [root, swap, data, vfat] = [3, 4, 5, 6].map(|number| partition(&disk, number));
            let more = to_raw(&output.join(format!("{node}-more.qcow2")));
            for file_system in [&root, &data, &more] {
                assert_sound(file_system, "ext4");
            }
            assert_sound(&vfat, "vfat");
            let fstab = cat(&root, "/etc/fstab");
            for (file_system, mount) in
                [(&root, "/"), (&swap, "none"), (&data, "/srv/data"), (&vfat, "/mnt"), (&more, "/srv/data/more")]
            {
                let uuid = probe(file_system)["UUID"].clone();
                assert!(fstab.contains(&format!("UUID={uuid}\t{mount}\t")), "{fstab}\n{uuid} {mount}");
                assert!(uuids.insert(uuid), "each node has numbers of its own");
            }
            assert!(cat(&data, "/sub/file").contains("in a partition\n"));
            assert!(cat(&data, "/of-plugin").contains("by a plugin"), "what the system has there is not hidden");
            assert!(cat(&more, "/file").contains("on a disk\n"));
            let hidden = run("debugfs", &[&"-R", &"ls -p /srv/data", &root]);
            assert!(!hidden.contains("of-plugin"), "{hidden}");
            let inner = run("debugfs", &[&"-R", &"ls -p /", &data]);
            assert!(inner.contains("/more/"), "the directory for what is mounted in it: {inner}");
        }
        let script = fs_err::read_to_string(output.join("fabric_emulation.bash")).unwrap();
        assert!(script.contains("file=${image_path%.qcow2}-more.qcow2"), "{script}");
        let xml = fs_err::read_to_string(output.join("fabric2.xml")).unwrap();
        assert!(xml.contains(&format!("<source file='{place}/fabric2-more.qcow2'/>")), "{xml}");
    }
    let compare = ["compare", "-f", "qcow2", "-F", "qcow2"];
    let [whole, thin] = ["whole", "thin"].map(|name| bench.directory.path().join(name));
    // The outputs have seeds of their own, but for what they have in common.
    let blank = "fabric1-blank.qcow2";
    succeed(Command::new("qemu-img").args(compare).arg(whole.join(blank)).arg(thin.join(blank)));
}

fn the_same_seed_gives_the_same_bytes() {
    let bench = bench();
    let seed = bench.write("seed", &format!("{}\n", "5".repeat(64))).display().to_string();
    std::os::unix::fs::chown(&seed, Some(0), Some(0)).unwrap();
    fs_err::set_permissions(&seed, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let outputs = ["a", "b"].map(|name| bench.directory.path().join(name));
    for (output, jobs) in outputs.iter().zip(["1", "3"]) {
        let (recipe, place) = (all(&bench), output.display().to_string());
        succeed(&mut bench.build(&["--recipe", &recipe, "--output", &place, "--seed", &seed, "--jobs", jobs]));
        // The times of the files and the order in which they were made do not matter.
        let moved = bench.directory.path().join("data/sub/file");
        fs_err::remove_file(&moved).unwrap();
        fs_err::write(&moved, "in a partition\n").unwrap();
    }
    let images: Vec<_> =
        names(&outputs[0]).into_iter().filter(|name| name.contains(".qcow2") || name.contains(".img")).collect();
    assert_eq!(images.len(), 7, "{images:?}");
    for image in images {
        succeed(Command::new("cmp").arg(outputs[0].join(&image)).arg(outputs[1].join(&image)));
    }
    // Other content is another image, and the same template.
    fs_err::write(bench.directory.path().join("more/file"), "other\n").unwrap();
    let (recipe, place) = (all(&bench), outputs[0].display().to_string());
    let again = bench.build(&["--recipe", &recipe, "--output", &place, "--seed", &seed]).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("Reusing"), "{again:?}");
    let more = to_raw(&outputs[0].join("fabric1-more.qcow2"));
    assert!(run("debugfs", &[&"-R", &"cat /file", &more]).contains("other\n"));
}

fn wrong_disks_are_refused_before_anything_is_fetched() {
    let bench = bench();
    let volume = |more: &str| format!("[[disk.partition]]\nlabel = 'data'\n{more}\n");
    for (text, code, error, hint) in [
        ("disk.swap = '1G'\n".to_owned(), 1, "too small for its partitions", "--size 2G"),
        (
            volume("size = '900M'") + &volume("size = '900M'").replace("data", "two"),
            1,
            "too small for its partitions",
            "--size",
        ),
        (volume("size = '64M'\nsource = 'missing'"), 2, "the volume data: ", "a directory that you can read"),
        (volume("size = '64M'\nsource = '/etc'"), 2, "no path of something beneath", "move it beside the recipe"),
        (
            volume("size = '64M'\nsource = 'data'\nmount = '/srv'") + &volume("size = '64M'"),
            2,
            "are called data",
            "a label",
        ),
        (volume("size = '64M'\nmount = '/boot'"), 2, "`/boot` is no mount point", "recipe show"),
    ] {
        bench.write("wrong.toml", &format!("extends = './tiny.toml'\n{text}"));
        let recipe = bench.directory.path().join("wrong.toml").display().to_string();
        let check = ["recipe", "check", &recipe];
        for arguments in [&["--recipe", &recipe][..], &["plan", "--recipe", &recipe]] {
            let mut command = bench.build(&[arguments, &["--mirror", "http://127.0.0.1:9/"]].concat());
            assert_fails(&mut command, code, &[error], hint);
        }
        let output = Command::new(support::program()).args(check).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(error), "{said}");
    }
    assert!(!bench.output().join("fabric.lock").exists());
}

/// The small system, with the programs by which a root grows, of which only the names matter here.
fn growing(include: &str, grow: bool) -> (Bench, PathBuf) {
    let tools = Deb::new("tools").file("/usr/lib/systemd/systemd-growfs", "").file("/usr/bin/systemd-repart", "");
    let half = Deb::new("half").file("/usr/lib/systemd/systemd-growfs", "");
    let bench = Bench::new(archive().with(tools).with(half));
    bench.write(
        "grow.toml",
        &format!(
            "extends = './tiny.toml'\ninclude = ['{include}']\ndisk.swap = '64M'\ndisk.grow = {grow}\n\
             [[disk.partition]]\nsize = '32M'\nlabel = 'data'\nmount = '/srv'\n"
        ),
    );
    let recipe = bench.directory.path().join("grow.toml");
    (bench, recipe)
}

fn the_root_takes_what_a_larger_disk_has() {
    let (bench, recipe) = growing("tools", true);
    succeed(&mut bench.build(&["--recipe", recipe.to_str().unwrap()]));
    let template = bench.output().join("fabric_template.tar");
    let root = in_tarball(&template, "./etc/fstab").lines().find(|line| line.contains("\t/\t")).unwrap().to_owned();
    assert!(root.contains("\terrors=remount-ro,x-systemd.growfs\t"), "{root}");
    let definitions = bench.directory.path().join("repart.d");
    fs_err::create_dir(&definitions).unwrap();
    fs_err::write(definitions.join("50-root.conf"), in_tarball(&template, "./etc/repart.d/50-root.conf")).unwrap();

    let disk = bench.output().join("fabric_template.img");
    let before: Vec<_> = (1..=5).map(|number| Partition::of(&disk, number)).collect();
    let repart = || {
        let definitions = format!("--definitions={}", definitions.display());
        run("systemd-repart", &[&"--dry-run=no", &definitions, &disk])
    };
    // The first time it takes what lies between the last whole MiB and the second table.
    repart();
    let left_over = Partition::of(&disk, 3).len_bytes - before[2].len_bytes;
    assert!(left_over < 1 << 20, "{left_over}");
    let first = fs_err::read(&disk).unwrap();
    repart();
    assert!(fs_err::read(&disk).unwrap() == first, "where nothing was added, nothing changes");
    drop(first);

    // As `qemu-img resize` leaves it: the second table is where the disk ended before.
    run("qemu-img", &[&"resize", &"-f", &"raw", &disk, &"3G"]);
    let printed = run("sgdisk", &[&"-v", &disk]);
    assert!(printed.contains("problem"), "{printed}");
    repart();
    let printed = run("sgdisk", &[&"-v", &disk]);
    assert!(printed.contains("No problems found"), "{printed}");
    let after: Vec<_> = (1..=5).map(|number| Partition::of(&disk, number)).collect();
    for number in [0, 1, 3, 4] {
        assert_eq!(before[number], after[number]);
    }
    assert_eq!(before[2].offset_bytes, after[2].offset_bytes);
    assert!(after[2].len_bytes > before[2].len_bytes + (2000 << 20), "{after:?}");

    // The file system can grow into it. While it is mounted, in a guest: `disks` of the full tests.
    let root = partition(&disk, 3);
    run("e2fsck", &[&"-fn", &root]);
    run("resize2fs", &[&"-f", &root]);
    run("e2fsck", &[&"-fn", &root]);
    let grown = run("dumpe2fs", &[&"-h", &root]);
    let blocks = grown.lines().find_map(|line| line.strip_prefix("Block count:")).unwrap().trim();
    assert_eq!(blocks.parse::<u64>().unwrap(), after[2].len_bytes / 4096);
}

fn a_system_without_the_tools_gets_no_settings_of_them() {
    for (include, grow, warned) in [("tools", false, false), ("half", true, true), ("base", true, false)] {
        let (bench, recipe) = growing(include, grow);
        let output = bench.build(&["--recipe", recipe.to_str().unwrap()]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(said.contains("will not grow with a larger disk"), warned, "{include}: {said}");
        let node = RootFileSystem::of(&bench.output().join("fabric1.qcow2"));
        let fstab = node.cat("/etc/fstab");
        assert!(fstab.contains("\terrors=remount-ro\t") && fstab.contains("\tswap\t"), "{fstab}");
        assert_eq!(node.cat("/etc/repart.d/50-root.conf"), "");
    }
}
