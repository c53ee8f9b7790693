//! Builds through SOCKS proxies: that of an option and that of the environment, with names that the
//! proxy resolves, and with a login.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use support::archive::{Deb, Mirror, Signer};
use support::socks::Socks;
use support::succeed;

use crate::small::{Bench, Who, archive, assert_fails};

support::tests! {
    needs ["gpg", "dpkg-deb"];
    names_are_resolved_by_the_proxy,
    the_environment_names_a_proxy,
    names_are_resolved_here_where_the_scheme_says_so,
    a_proxy_that_refuses_is_named_without_its_login,
}

/// A name that nothing but the proxy knows.
const MIRROR: &str = "http://mirror.invalid/debian";

fn bench() -> Bench {
    let files = archive().with(Deb::new("pkg")).files().into_iter();
    let files = files.map(|(path, bytes)| (format!("/debian{path}"), bytes)).collect();
    Bench::of(Who::Root, Mirror::of(files, Signer::usual().keyring()))
}

fn address(bench: &Bench) -> SocketAddr {
    bench.mirror.url().strip_prefix("http://").unwrap().parse().unwrap()
}

fn names_are_resolved_by_the_proxy() {
    let bench = bench();
    for (scheme, login) in [("socks5h", None), ("socks5h", Some(("ann", "s@cret:x"))), ("socks4a", None)] {
        let proxy = Socks::new(&[("mirror.invalid", address(&bench))], login);
        let user = login.map_or("", |_| "ann:s%40cret:x@");
        let url = format!("{scheme}://{user}{}", proxy.address);
        let _ = fs_err::remove_dir_all(bench.cache());
        succeed(&mut bench.build(&["--mirror", MIRROR, "--include", "pkg", "--fresh", "--proxy", &url]));
        let asked = proxy.asked();
        assert!(!asked.is_empty() && asked.iter().all(|it| it == "mirror.invalid:80"), "{scheme}: {asked:?}");
        let lock = fs_err::read_to_string(bench.output().join("fabric.lock")).unwrap();
        assert!(lock.contains("name = \"pkg\"") && lock.contains(MIRROR), "{lock}");
        let log = fs_err::read_to_string(bench.output().join("fabric_emulation.log")).unwrap();
        assert!(log.contains(&format!("{scheme}://{}", proxy.address)) && !log.contains("cret"), "{log}");
    }
}

/// The same command with one more variable in its environment.
fn with_variable(command: &Command, variable: &str, value: &str) -> Command {
    let mut changed = Command::new(command.get_program());
    let mut arguments = command.get_args();
    // Behind the option that empties it.
    changed.args(arguments.next()).arg(format!("{variable}={value}")).args(arguments).stdin(Stdio::null());
    changed
}

fn the_environment_names_a_proxy() {
    let bench = bench();
    let proxy = Socks::new(&[("mirror.invalid", address(&bench))], None);
    let url = format!("socks5h://{}", proxy.address);
    let plan = bench.build(&["plan", "--mirror", MIRROR]);
    for variable in ["all_proxy", "http_proxy", "PROXY"] {
        let before = proxy.asked().len();
        let said = succeed(&mut with_variable(&plan, variable, &url));
        assert!(said.contains(&format!("{url}  (environment {variable})")), "{said}");
        assert!(proxy.asked().len() > before, "{variable}");
    }
    let near = bench.build(&["plan", "--mirror", &format!("{}/debian", bench.mirror.url())]);
    let before = proxy.asked().len();
    succeed(&mut with_variable(&with_variable(&near, "all_proxy", &url), "no_proxy", "127.0.0.1"));
    assert_eq!(proxy.asked().len(), before, "what is excepted is reached directly");
}

fn names_are_resolved_here_where_the_scheme_says_so() {
    let bench = bench();
    let address = address(&bench);
    let proxy = Socks::new(&[("mirror.invalid", address)], None);
    for scheme in ["socks5", "socks4"] {
        let url = format!("{scheme}://{}", proxy.address);
        let through = |mirror: &str| bench.build(&["plan", "--proxy", &url, "--mirror", mirror]);
        succeed(&mut through(&format!("http://localhost:{}/debian", address.port())));
        assert_eq!(proxy.asked().last(), Some(&address.to_string()), "{scheme}");
        assert_fails(&mut through(MIRROR), 1, &["resolve mirror.invalid"], "check the name of the mirror");
    }
    assert!(proxy.asked().iter().all(|asked| *asked == address.to_string()), "{:?}", proxy.asked());
}

fn a_proxy_that_refuses_is_named_without_its_login() {
    let bench = bench();
    let through = |proxy: &str, error: &[&str], hint: &str| {
        let mut command = bench.build(&["plan", "--proxy", proxy, "--mirror", MIRROR]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("s3cret"), "{said}");
        crate::small::assert_failed(&output, 1, error, hint);
    };
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    through(&format!("socks5h://{closed}"), &["connect to the proxy", &closed.to_string()], "--proxy");
    let guarded = Socks::new(&[("mirror.invalid", address(&bench))], Some(("ann", "another")));
    let refuses = format!("the proxy socks5h://{} refuses", guarded.address);
    for login in ["ann:s3cret@", ""] {
        through(&format!("socks5h://{login}{}", guarded.address), &[&refuses], "USER:PASSWORD@");
    }
    // One that does not know the mirror.
    let proxy = Socks::new(&[], None);
    let refuses = format!("the proxy socks5h://{} refuses: host unreachable", proxy.address);
    through(&format!("socks5h://{}", proxy.address), &[&refuses], "--proxy");
    assert_fails(
        &mut bench.build(&["plan", "--proxy", "socks://ann:s3cret@proxy"]),
        2,
        &["`socks://***@proxy` is no address of a proxy", "socks5h://"],
        "--help",
    );
}
