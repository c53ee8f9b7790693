//! What a recipe makes of the files that a system boots with: that is what the image has.

use std::collections::BTreeMap;
use std::process::Command;

use support::archive::Deb;
use support::disk::{Partition, RootFileSystem};
use support::files::in_tarball;
use support::succeed;

use crate::small::{Bench, archive, assert_fails, assert_nothing_left, recipe_with};

support::tests! {
    needs ["debugfs", "dpkg-deb", "gpg", "mdir", "qemu-img", "sgdisk"];
    an_fstab_of_a_recipe_stays,
    an_fstab_without_a_root_is_refused,
    the_esp_has_signed_files_where_the_system_has_them,
}

fn script(commands: &str) -> String {
    recipe_with(&format!("[[plugin]]\nname = \"script\"\nsettings.script = '''\n{commands}\n'''\n"))
}

fn an_fstab_of_a_recipe_stays() {
    let bench = Bench::new(archive());
    let commands = "while read -r line; do case $line in UUID=*) echo kept ;; esac; done < /etc/fstab > /etc/seen\n\
                    echo 'LABEL=fabric / ext4 noatime 0 1' > /etc/fstab";
    bench.write("tiny.toml", &script(commands));
    succeed(&mut bench.build(&[]));
    let template = bench.output().join("fabric_template.tar");
    assert_eq!(in_tarball(&template, "./etc/fstab"), "LABEL=fabric / ext4 noatime 0 1\n");
    assert_eq!(
        in_tarball(&template, "./etc/seen"),
        "kept\nkept\n",
        "the plugin finds the one that images have by default"
    );
}

fn an_fstab_without_a_root_is_refused() {
    let bench = Bench::new(archive());
    bench.write("tiny.toml", &script("echo '/dev/vdb1 /srv ext4' > /etc/fstab"));
    let error = ["/etc/fstab of the new system names no file system for /"];
    assert_fails(&mut bench.build(&[]), 1, &error, "/ ext4 errors=remount-ro 0 1");
    assert_nothing_left(&bench.output());
}

/// What stands for GRUB's own programs, the signed GRUB and shim.
fn boot_loaders() -> [Deb; 3] {
    const GRUB: &str = "/usr/lib/grub/x86_64-efi";
    let mkimage = "#!/bin/sh\nfor word do case $word in --output=*) echo core >\"${word#*=}\" ;; esac; done\n";
    let grub = [format!("{GRUB}/kernel.img"), format!("{GRUB}/ext2.mod"), format!("{GRUB}/moddep.lst")];
    let grub =
        grub.iter().fold(Deb::new("grub"), |deb, path| deb.file(path, "")).file("/usr/share/grub/unicode.pf2", "");
    let shim = ["shimx64.efi.signed", "mmx64.efi.signed", "fbx64.efi.signed", "BOOTX64.CSV"];
    [
        grub.file_with_mode("/usr/bin/grub-mkimage", mkimage, 0o755).directory("/etc/default"),
        Deb::new("signed").file(&format!("{GRUB}-signed/grubx64.efi.signed"), "grubx64.efi.signed"),
        shim.iter().fold(Deb::new("shim"), |deb, name| deb.file(&format!("/usr/lib/shim/{name}"), *name)),
    ]
}

/// The texts of all files of the ESP by their paths, and the UUID of the root file system.
fn esp_and_root(bench: &Bench, node: u32) -> (BTreeMap<String, String>, String) {
    let disk = bench.output().join(format!("fabric{node}.qcow2"));
    let root = RootFileSystem::of(&disk);
    let raw = disk.with_extension("raw");
    let image = format!("{}@@{}", raw.display(), Partition::of(&raw, 2).offset_bytes);
    let listed = succeed(Command::new("mdir").args(["-b", "-/", "-i", &image, "::"]));
    let files = listed.lines().filter(|path| !path.ends_with('/')).map(|path| {
        let text = succeed(Command::new("mtype").args(["-i", &image, path]));
        (path.trim_start_matches("::/").to_owned(), text.trim_end().to_owned())
    });
    (files.collect(), root.uuid())
}

/// The layout is that of `grub-install --force-extra-removable`, with which `full secure_boot`
/// compares it.
fn the_esp_has_signed_files_where_the_system_has_them() {
    let bench = Bench::new(boot_loaders().into_iter().fold(archive(), support::archive::Archive::with));
    bench.write("tiny.toml", &recipe_with("[[plugin]]\nname = \"identity\"\n"));
    for unsigned in ["grub", "grub,signed", "grub,shim"] {
        succeed(&mut bench.build(&["--include", unsigned]));
        let (files, _) = esp_and_root(&bench, 1);
        assert_eq!(files, BTreeMap::from([("EFI/BOOT/BOOTX64.EFI".into(), "core".into())]), "{unsigned}");
    }
    succeed(&mut bench.build(&["--nodes", "2", "--include", "grub,signed,shim"]));
    let mut roots = Vec::new();
    for node in [1, 2] {
        let (files, root) = esp_and_root(&bench, node);
        let grub_cfg =
            format!("search.fs_uuid {root} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg");
        let expected = [
            ("BOOT/BOOTX64.EFI", "shimx64.efi.signed"),
            ("BOOT/grubx64.efi", "grubx64.efi.signed"),
            ("BOOT/mmx64.efi", "mmx64.efi.signed"),
            ("debian/BOOTX64.CSV", "BOOTX64.CSV"),
            ("debian/fbx64.efi", "fbx64.efi.signed"),
            ("debian/grub.cfg", grub_cfg.as_str()),
            ("debian/grubx64.efi", "grubx64.efi.signed"),
            ("debian/mmx64.efi", "mmx64.efi.signed"),
            ("debian/shimx64.efi", "shimx64.efi.signed"),
        ];
        assert_eq!(files, BTreeMap::from(expected.map(|(path, text)| (format!("EFI/{path}"), text.to_owned()))));
        roots.push(root);
    }
    assert_ne!(roots[0], roots[1]);
    let template = bench.output().join("fabric_template.tar");
    assert_eq!(in_tarball(&template, "./boot/grub/x86_64-efi/core.efi"), "core\n");
}
