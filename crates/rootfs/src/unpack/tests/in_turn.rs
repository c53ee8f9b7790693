//! Packages placed in several calls, with what scripts may do in between.

use super::*;
use crate::staging::Attributes;

impl Bench {
    /// Places the packages of each group together, and does what belongs after it.
    fn in_turn(&self, groups: &[&[usize]], after: &[&dyn Fn(&Staging)]) -> Result<Vec<Unpacked>, Error> {
        let aside = self.temp.path().join("aside");
        fs_err::create_dir(&aside).unwrap();
        let aside = Staging::open(&aside).unwrap();
        let options = UnpackOptions {
            architecture: "amd64".into(),
            merged_usr: true,
            filters: Filters::default(),
            jobs: NonZero::new(3),
        };
        let (sender, positions) = mpsc::channel();
        (0..self.debs.len()).for_each(|position| sender.send(position).unwrap());
        drop(sender);
        let (stop, progress) = (AtomicBool::new(false), Progress::silent());
        let preparations = Preparations {
            first: &[],
            early: &[],
            debs: &self.debs,
            filters: &options.filters,
            aside: &aside,
            stop: &stop,
            progress: &progress,
        };
        thread::scope(|scope| {
            let mut arrivals = preparations.begin(scope, positions, options.jobs)?;
            let mut placement = begin(&self.staging, &aside, &options)?;
            for (number, group) in groups.iter().enumerate() {
                arrivals.wait_for(group.iter().copied())?;
                placement.place(arrivals.take(group.iter().copied()))?;
                if let Some(script) = after.get(number) {
                    script(&self.staging);
                }
            }
            // Those that no group has are made ready all the same.
            arrivals.wait_for_all()?;
            let placed: usize = groups.iter().map(|group| group.len()).sum();
            assert_eq!(aside.list(&RootPath::root()).unwrap().len(), self.debs.len() - placed, "nothing is left aside");
            Ok(placement.into_unpacked())
        })
    }

    fn mode(&self, path: &str) -> u16 {
        self.staging.metadata(&at(path)).unwrap().attributes.mode
    }
}

fn at(path: &str) -> RootPath {
    path.parse().unwrap()
}

fn divert(staging: &Staging, text: &str) {
    staging.write(&at("var/lib/dpkg/diversions"), text.as_bytes(), 0o644).unwrap();
}

fn rename(staging: &Staging, directory: &str, from: &str, to: &str) {
    staging.directory(&at(directory)).unwrap().rename(from.as_bytes(), to.as_bytes()).unwrap();
}

#[test]
fn what_is_diverted_has_another_name_on_disk_only() {
    let mut bench = Bench::new();
    bench.add("d", "", &[], &[directory("./etc/"), file("./etc/x", b"of d")]);
    let data =
        [file("./etc/x", b"of p"), link("./etc/again", b'1', "./etc/x"), directory("./etc/y/"), file("./etc/y/z", b"")];
    bench.add("p", "", &[("conffiles", "/etc/x\n")], &data);
    let text = "/etc/x\n/etc/x.distrib\nd\n/etc/y/z\n/etc/z\n:\n";
    bench.in_turn(&[&[], &[0, 1]], &[&|staging| divert(staging, text)]).unwrap();
    assert_eq!(bench.read("etc/x"), "of d");
    assert_eq!(bench.read("etc/x.distrib.dpkg-new"), "of p");
    assert_eq!(bench.read("etc/again"), "of p");
    assert!(bench.staging.exists(&at("etc/z")).unwrap() && !bench.staging.exists(&at("etc/y/z")).unwrap());
    assert_eq!(bench.read("var/lib/dpkg/info/p.list"), "/etc/x\n/etc/again\n/etc/y\n/etc/y/z\n");
    assert!(bench.read("var/lib/dpkg/info/p.md5sums").contains("  etc/x\n"));
}

#[test]
fn what_was_there_is_renamed_by_the_script_that_diverts_it() {
    let script = |staging: &Staging| {
        rename(staging, "usr/bin", "zcat", "zcat.gzip");
        // The second is of the same file, by a name that no package has.
        divert(staging, "/usr/bin/zcat\n/usr/bin/zcat.gzip\nzutils\n/bin/zcat\n/bin/zcat.gzip.usr-is-merged\nzutils\n");
    };
    let mut bench = Bench::new();
    bench.add("gzip", "", &[], &[file("./usr/bin/zcat", b"gzip's")]);
    bench.add("zutils", "", &[], &[file("./usr/bin/zcat", b"zutils'")]);
    bench.add("other", "", &[], &[file("./usr/bin/zcat", b"other's")]);
    bench.in_turn(&[&[0], &[1]], &[&script]).unwrap();
    assert_eq!(bench.read("usr/bin/zcat"), "zutils'");
    assert_eq!(bench.read("usr/bin/zcat.gzip"), "gzip's");

    let mut again = Bench::new();
    again.debs.clone_from(&bench.debs);
    let error = again.in_turn(&[&[0], &[1, 2]], &[&script]).unwrap_err();
    assert_eq!(error.to_string(), "packages gzip and other both hold /usr/bin/zcat");

    let mut undone = Bench::new();
    undone.debs.clone_from(&bench.debs);
    undone.debs.truncate(2);
    let undo = |staging: &Staging| {
        rename(staging, "usr/bin", "zcat.gzip", "zcat");
        divert(staging, "");
    };
    let error = undone.in_turn(&[&[0], &[], &[1]], &[&script, &undo]).unwrap_err();
    assert_eq!(error.to_string(), "packages gzip and zutils both hold /usr/bin/zcat");
}

#[test]
fn no_package_has_a_name_that_a_diversion_gives() {
    let mut bench = Bench::new();
    bench.add("p", "", &[], &[file("./a.x", b"")]);
    let error = bench.in_turn(&[&[], &[0]], &[&|staging| divert(staging, "/a\n/a.x\nq\n")]).unwrap_err();
    assert_eq!(error.to_string(), "package p holds /a.x, to which the diverted /a was renamed");
    let mut bench = Bench::new();
    bench.add("p", "", &[], &[]);
    let error = bench.in_turn(&[&[], &[0]], &[&|staging| divert(staging, "/a\n")]).unwrap_err();
    assert_eq!(error.to_string(), "dpkg's database: /var/lib/dpkg/diversions of the new system is malformed");
}

#[test]
fn overrides_apply_to_what_is_new() {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let script = |staging: &Staging| {
        let text = format!("#{uid} #{gid} 700 /old\n#{uid} #{gid} 711 /new\n#{uid} #{gid} 4750 /new/file\n");
        staging.write(&at("var/lib/dpkg/statoverride"), text.as_bytes(), 0o644).unwrap();
    };
    let mut bench = Bench::new();
    bench.add("a", "", &[], &[directory("./old/")]);
    bench.add(
        "b",
        "",
        &[],
        &[directory("./old/"), directory("./new/"), file("./new/file", b""), file("./new/other", b"")],
    );
    bench.in_turn(&[&[0], &[1]], &[&script]).unwrap();
    assert_eq!(["old", "new", "new/file", "new/other"].map(|path| bench.mode(path)), [0o755, 0o711, 0o4750, 0o644]);
}

#[test]
fn what_scripts_made_of_a_directory_stays() {
    let private = |staging: &Staging| {
        staging.create_dir_all(&at("made")).unwrap();
        for (path, mode) in [("made", 0o700), ("kept", 0o710)] {
            let directory = staging.directory(&at(path)).unwrap();
            let attributes = Attributes { mode, ..directory.own_metadata().unwrap().attributes };
            directory.set_own_attributes(&attributes, &Default::default()).unwrap();
        }
    };
    let mut bench = Bench::new();
    bench.add("a", "", &[], &[directory("./kept/"), directory("./touched/")]);
    bench.add(
        "b",
        "",
        &[],
        &[directory("./kept/"), directory("./made/"), directory("./touched/"), file("./touched/x", b"")],
    );
    bench.in_turn(&[&[0], &[1]], &[&private]).unwrap();
    assert_eq!(["kept", "made", "touched"].map(|path| bench.mode(path)), [0o710, 0o700, 0o755]);
    let time = |path: &str| bench.staging.metadata(&at(path)).unwrap().attributes.mtime.seconds;
    assert_eq!(time("touched"), 0o14000000000, "that another package has files in it changes no time");
}

#[test]
fn files_of_earlier_packages_are_replaced() {
    let mut bench = Bench::new();
    bench.add("old", "", &[], &[file("./both", b"old"), file("./own", b"")]);
    bench.add("new", "Replaces: old\n", &[], &[file("./both", b"new")]);
    let unpacked = bench.in_turn(&[&[0], &[1]], &[]).unwrap();
    assert_eq!(bench.read("both"), "new");
    assert_eq!(bench.read("var/lib/dpkg/info/old.list"), "/own\n");
    assert_eq!(unpacked[0].files, [at("own")]);
    let status = bench.read("var/lib/dpkg/status");
    let names: Vec<_> = status.lines().filter(|line| line.starts_with("Package: ")).collect();
    assert_eq!(names, ["Package: new", "Package: old"]);
    assert_eq!(status.matches("\n\n").count(), 2);
}

#[test]
fn interest_of_earlier_packages_is_activated() {
    let mut bench = Bench::new();
    let triggers = "interest-noawait /usr/share/shells.d\ninterest /usr/share/none\ninterest ldconfig\n";
    let made = [directory("./usr/share/"), directory("./usr/share/shells.d/")];
    bench.add("first", "", &[("triggers", triggers)], &made);
    let data = [directory("./usr/share/shells.d/"), file("./usr/share/shells.d/fish", b"")];
    bench.add("fish", "Multi-Arch: same\n", &[("triggers", "interest /usr/share/x\n")], &data);
    bench.add("zsh", "", &[("triggers", "interest ldconfig\n")], &data[..1]);
    bench.in_turn(&[&[0], &[1, 2]], &[]).unwrap();
    assert_eq!(
        bench.read("var/lib/dpkg/triggers/Unincorp"),
        "/usr/share/shells.d fish:amd64\n/usr/share/shells.d zsh\n"
    );
    let file = "/usr/share/shells.d first/noawait\n/usr/share/none first\n/usr/share/x fish:amd64\n";
    assert_eq!(bench.read("var/lib/dpkg/triggers/File"), file);
    assert_eq!(bench.read("var/lib/dpkg/triggers/ldconfig"), "first\nzsh\n");
}
