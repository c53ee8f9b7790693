//! Scripts and plugins in files that have the network of the host, because the recipe says so: what
//! they reach and what they do not, that nothing of it is left in the system, and that plan, log
//! and lock say that the build is not reproducible.
//!
//! Builds by root and by a normal user, from an archive of the tests' own.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use support::archive::{Archive, Deb};
use support::files::in_tarball;
use support::server::{Answer, Server};
use support::{fail, succeed};

use crate::small::{Bench, Who, archive, assert_fails, assert_nothing_left, recipe_with};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "gpg", "dpkg-deb", "tar", "python3"];
    a_script_fetches_where_the_recipe_says_so,
    it_reaches_nothing_else_of_the_host,
    names_are_looked_up_as_on_the_host,
    plan_log_and_lock_say_it,
    a_plugin_in_a_file_has_it_by_the_recipe_alone,
}

const BOTH: [Who; 2] = [Who::Root, Who::User];

/// The table of a script in Perl, in which `told` adds a line to /etc/told, and `address` is that of
/// a port of the loopback interface.
fn script(text: &str, network: bool) -> String {
    let network = if network { "settings.network = true\n" } else { "" };
    format!(
        "[[plugin]]\nname = \"script\"\n{network}settings.script = '''\n#!/usr/bin/perl\n\
         sub told {{ open T, '>>', '/etc/told' or die; print T @_, \"\\n\"; close T }}\n\
         sub address {{ pack 'S n C4 x8', 2, shift, 127, 0, 0, 1 }}\n{text}'''\n"
    )
}

/// Fetches /file from the server on this port.
fn fetch(server: &Server) -> String {
    let port = server.url.rsplit(':').next().unwrap();
    format!(
        "socket S, 2, 1, 6 or die \"socket: $!\\n\";\n\
         connect S, address({port}) or die \"connect: $!\\n\";\n\
         syswrite S, \"GET /file HTTP/1.0\\r\\n\\r\\n\";\n\
         {{ local $/; $text = <S> }}\n$text =~ s/.*?\\r\\n\\r\\n//s;\ntold $text;\n"
    )
}

fn server() -> Server {
    Server::new(|_| Answer::ok("of the network"))
}

impl Bench {
    fn networked(who: Who, archive: Archive, plugins: &str) -> Self {
        let bench = Self::of(who, archive.serve());
        bench.write("tiny.toml", &recipe_with(plugins));
        bench
    }

    fn told(&self) -> Vec<String> {
        self.file("./etc/told").lines().map(str::to_owned).collect()
    }

    fn file(&self, member: &str) -> String {
        in_tarball(&self.output().join("fabric_template.tar"), member)
    }

    /// The line that tar prints of a member; nothing where there is none.
    fn listed(&self, member: &str) -> String {
        let list = succeed(Command::new("tar").arg("-tvf").arg(self.output().join("fabric_template.tar")));
        let is_member = |line: &&str| {
            line.split(" -> ").next().is_some_and(|named| named.trim_end_matches('/').ends_with(&format!(" {member}")))
        };
        list.lines().find(is_member).unwrap_or_default().to_owned()
    }

    fn log(&self) -> String {
        fs_err::read_to_string(self.output().join("fabric_emulation.log")).unwrap()
    }

    fn lock(&self) -> String {
        fs_err::read_to_string(self.output().join("fabric.lock")).unwrap()
    }
}

fn a_script_fetches_where_the_recipe_says_so() {
    for who in BOTH {
        let server = server();
        let bench = Bench::networked(who, archive(), &script(&fetch(&server), true));
        succeed(&mut bench.build(&[]));
        assert_eq!((bench.told(), server.targets()), (vec!["of the network".to_owned()], vec!["/file".to_owned()]));
        // Not so without the setting, whatever the template that is there.
        bench.write("tiny.toml", &recipe_with(&script(&fetch(&server), false)));
        let error = ["plugin script: run /var/lib/fam-build-script: exit status ", "connect: Connection refused"];
        assert_fails(&mut bench.build(&[]), 1, &error, "in the log of the build");
        assert_eq!(server.requests().len(), 1);
    }
}

/// A script that tries what would let it talk to services of the host, or them to it.
const TRIES: &str = r#"
told "unix ", socket(U, 1, 1, 0) ? 0 : $! + 0;
told "unix datagrams ", socket(U, 1, 2, 0) ? 0 : $! + 0;
told "abstract ", connect(U, pack('S', 1) . "\0NAME") ? 0 : 1;
told "pair ", socketpair(A, B, 1, 1, 0) ? 0 : $! + 0;
told "pair of datagrams ", socketpair(C, D, 1, 2, 0) ? 0 : $! + 0;
told "pair to abstract ", connect(A, pack('S', 1) . "\0NAME") ? 0 : $! + 0;
told "sockets of others ", socket(N, 16, 3, 4) ? 0 : $! + 0;
told "packets ", socket(P, 17, 3, 0) ? 0 : $! + 0;
told "raw ", socket(R, 2, 3, 1) ? 0 : $! + 0;
socket L, 2, 1, 6 or die;
told "low port ", bind(L, address(79)) ? 0 : $! + 0;
told "any port ", bind(L, address(0)) ? 0 : $! + 0;
told "listen ", listen(L, 1) ? 0 : $! + 0;
told "proxy $_ ", $ENV{$_} || '' for 'http_proxy', 'HTTPS_PROXY';
told "host name ", (split ' ', `uname -n`)[0];
"#;

fn it_reaches_nothing_else_of_the_host() {
    for who in BOTH {
        let name = format!("fam-build-test-{}-{who:?}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let bench = Bench::networked(who, archive(), &script(&TRIES.replace("NAME", &name), true));
        let proxy = bench.mirror.url().replace("http://", "http://ann:secret@");
        succeed(&mut bench.build(&["--proxy", &proxy]));
        let (no_such_family, denied, forbidden, connected) = (97, 1, 13, 106);
        let expected = [
            format!("unix {no_such_family}"),
            format!("unix datagrams {no_such_family}"),
            "abstract 1".to_owned(),
            "pair 0".to_owned(),
            format!("pair of datagrams {no_such_family}"),
            format!("pair to abstract {connected}"),
            format!("sockets of others {no_such_family}"),
            format!("packets {no_such_family}"),
            format!("raw {denied}"),
            format!("low port {forbidden}"),
            "any port 0".to_owned(),
            format!("listen {denied}"),
            format!("proxy http_proxy {}", bench.mirror.url()),
            format!("proxy HTTPS_PROXY {}", bench.mirror.url()),
            "host name localhost".to_owned(),
        ];
        assert_eq!(bench.told(), expected, "{who:?}");
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert!(!bench.log().contains("secret"), "no login");
    }
}

fn names_are_looked_up_as_on_the_host() {
    const STUB: &str = "../run/systemd/resolve/stub-resolv.conf";
    let expected = fs_err::read_to_string("/etc/resolv.conf").expect("this host knows servers of names");
    let copy = "open R, '</etc/resolv.conf' or die \"resolv.conf: $!\"; { local $/; told <R> }\n";
    let replace = "unlink '/etc/resolv.conf' or die; open W, '>/etc/resolv.conf'; print W \"mine\\n\"; close W;\n";
    let own = || Deb::new("own").essential();
    for who in BOTH {
        let of_package = own().file("/etc/resolv.conf", "of a package\n");
        let cases = [(None, "", None), (Some(of_package), "", Some("of a package\n")), (None, replace, Some("mine\n"))];
        // The last is no question of who builds.
        for (own, then, left) in cases.into_iter().take(if who == Who::Root { 3 } else { 2 }) {
            println!("{who:?}: {left:?}");
            let archive = own.into_iter().fold(archive(), Archive::with);
            let bench = Bench::networked(who, archive, &script(&format!("{copy}{then}"), true));
            succeed(&mut bench.build(&[]));
            assert_eq!(bench.file("./etc/told").trim_end(), expected.trim_end());
            match left {
                Some(left) => assert_eq!(bench.file("./etc/resolv.conf"), left),
                None => assert_eq!(bench.listed("./etc/resolv.conf"), ""),
            }
        }
        // What is there is no file: a link to what systemd-resolved writes, or what a script put there.
        let fifo = "unlink '/etc/resolv.conf' or die; system 'mknod', '/etc/resolv.conf', 'p';\n";
        for (own, then, listed) in [(Some(own().link("/etc/resolv.conf", STUB)), "", "l"), (None, fifo, "p")] {
            let archive = own.into_iter().fold(archive(), Archive::with);
            let bench = Bench::networked(who, archive, &script(&format!("{copy}{then}"), true));
            succeed(&mut bench.build(&[]));
            assert_eq!(bench.file("./etc/told").trim_end(), expected.trim_end());
            assert!(bench.listed("./etc/resolv.conf").starts_with(listed), "{}", bench.listed("./etc/resolv.conf"));
            assert_eq!(bench.listed("./run/systemd"), "");
        }
    }
}

fn plan_log_and_lock_say_it() {
    let bench = Bench::networked(Who::Root, archive(), &script("", true));
    let says = "this build is not reproducible: the recipe gives the network to script";
    let noted = "# Not locked is what was fetched from the network by script.\nreproducible = false\n";
    let plan = succeed(&mut bench.build(&["plan"]));
    assert!(plan.contains("\nNot reproducible: the recipe gives the network to script\n"), "{plan}");
    assert!(succeed(&mut bench.build(&["plan", "--json"])).contains("\"networked\":[\"script\"]"));
    succeed(&mut bench.build(&["lock"]));
    assert!(bench.lock().contains(noted), "{}", bench.lock());
    fs_err::remove_file(bench.output().join("fabric.lock")).unwrap();
    let built = bench.build(&[]).output().unwrap();
    let shown = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && shown.contains(says), "{shown}");
    assert!(bench.lock().contains(noted) && bench.log().contains(says));
    // Reused, it is what it was.
    let again = bench.build(&["--json"]).output().unwrap();
    let (events, shown) = (String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&again.stderr));
    assert!(events.contains("\"reused_template\":true") && (events.clone() + shown).contains(says), "{events}");

    // Another recipe, from that lock.
    let lock = bench.write("kept.lock", &bench.lock());
    bench.write("tiny.toml", &recipe_with(&script("", false)));
    let warned = "kept.lock is of a build that was not reproducible";
    let locked = ["--locked", lock.to_str().unwrap()];
    let built = bench.build(&locked).output().unwrap();
    let shown = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && shown.contains(warned) && !shown.contains(says), "{shown}");
    assert!(!bench.lock().contains("reproducible") && bench.log().contains(warned));
    // The lock of that, as every older one, says nothing.
    let lock = bench.write("kept.lock", &bench.lock());
    let built = bench.build(&["--locked", lock.to_str().unwrap()]).output().unwrap();
    let shown = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && !shown.contains("reproducible"), "{shown}");
    let plan = succeed(&mut bench.build(&["plan", "--verbose"]));
    assert!(!plan.contains("eproducible"), "{plan}");
}

/// Has a program of the new system run with the network, and says what came of it.
const ASKER: &str = r#"#!/usr/bin/env python3
import json, sys
call = json.loads(sys.stdin.readline())
def ask(**request):
    print(json.dumps(request), flush=True)
    return json.loads(sys.stdin.readline())
if call["call"] == "describe":
    ask(op="describe", name="asker", summary="asks", stages=["system"], network=DECLARES)
elif call["call"] == "apply-system":
    args = ["-e", call["settings"]["fetch"]]
    answer = ask(op="run", program="perl", args=args, env={"PERL_BADLANG": "0"}, network=True)
    ask(op="log", message="answer: " + json.dumps(answer))
print('{"op":"done"}')
"#;

fn a_plugin_in_a_file_has_it_by_the_recipe_alone() {
    let refused = "asks for the network, which the recipe does not give to this plugin";
    for (who, declares, says, has) in [
        (Who::Root, "True", "settings.network = true\n", true),
        (Who::User, "True", "settings.network = true\n", true),
        (Who::Root, "True", "settings.network = false\n", false),
        (Who::Root, "True", "settings.network = 'true'\n", false),
        (Who::Root, "True", "", false),
        (Who::User, "False", "settings.network = true\n", false),
    ] {
        let server = server();
        let fetch = format!(
            "sub address {{ pack 'S n C4 x8', 2, shift, 127, 0, 0, 1 }} sub told {{ print @_ }} {}",
            fetch(&server)
        );
        let plugin = format!("[[plugin]]\nname = \"asker\"\npath = \"asker\"\n{says}settings.fetch = '''{fetch}'''\n");
        let bench = Bench::networked(who, archive(), &plugin);
        let asker = bench.write("asker", &ASKER.replace("DECLARES", declares));
        fs_err::set_permissions(asker, std::fs::Permissions::from_mode(0o755)).unwrap();
        succeed(&mut bench.build(&[]));
        assert_eq!(server.requests().len(), usize::from(has), "{declares} {says}");
        let log = bench.log();
        assert_eq!(log.contains("\"output\": \"of the network"), has, "{log}");
        assert_eq!(log.contains(refused), !has, "{log}");
        assert_eq!(log.contains("this build is not reproducible: the recipe gives the network to asker"), has, "{log}");
        assert_eq!(bench.lock().contains("reproducible = false\n"), has);
    }
    // Where it is only said to the host, and no program can be run.
    let bench = Bench::networked(Who::Root, archive(), "[[plugin]]\nname = \"asker\"\npath = \"asker\"\n");
    let asker = ASKER.replace("DECLARES", "True").replace("stages=[\"system\"]", "stages=[\"node\"]");
    let asker = bench.write("asker", &asker);
    fs_err::set_permissions(asker, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (_, said) = fail(&mut bench.build(&[]));
    assert!(said.contains("has the setting `network`, and does not act at the system stage"), "{said}");
    assert_nothing_left(&bench.output());
}
