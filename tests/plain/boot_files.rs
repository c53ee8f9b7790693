//! What a recipe makes of the files that a system boots with: that is what the image has.

use support::files::in_tarball;
use support::succeed;

use crate::small::{Bench, archive, assert_fails, assert_nothing_left, recipe_with};

support::tests! {
    needs ["gpg", "dpkg-deb"];
    an_fstab_of_a_recipe_stays,
    an_fstab_without_a_root_is_refused,
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
