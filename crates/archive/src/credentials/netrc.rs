//! Files of logins: netrc, as curl reads it, and apt's `auth.conf`, `apt_auth.conf(5)`. Both are
//! words, `machine NAME login USER password PASSWORD`; they differ in quotes and comments, and in
//! what a machine is. This reads text, and no files.

use super::Login;
use super::url::Place;

/// What a file has for one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What follows the word `machine`.
    pub name: String,
    /// User and password.
    pub login: Login,
}

/// The machines of a netrc file. Entries named `default` are passed over: they would be sent to any
/// mirror.
pub fn parse_netrc(text: &str) -> Vec<Machine> {
    let mut words = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let in_line = words_of_line(line);
        let is_macro = in_line.iter().any(|word| *word == Word::Bare("macdef".to_owned()));
        words.extend(in_line.into_iter().take_while(|word| *word != Word::Bare("macdef".to_owned())));
        if is_macro {
            // A macro ends at the first empty line.
            lines.by_ref().find(|line| line.trim().is_empty());
        }
    }
    machines(words)
}

/// The machines of apt's auth.conf, which knows neither quotes nor comments.
pub fn parse_auth_conf(text: &str) -> Vec<Machine> {
    let words = text.lines().flat_map(|line| line.split([' ', '\t'])).filter(|word| !word.is_empty());
    machines(words.map(|word| Word::Bare(word.to_owned())))
}

/// A word of a file; one in quotes is no keyword.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Bare(String),
    Quoted(String),
}

impl Word {
    fn into_text(self) -> String {
        match self {
            Self::Bare(text) | Self::Quoted(text) => text,
        }
    }
}

/// The words of a line up to a comment. In quotes, a backslash takes the next character as it is,
/// but for `\n`, `\r` and `\t`.
fn words_of_line(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut characters = line.chars().peekable();
    loop {
        while characters.next_if(char::is_ascii_whitespace).is_some() {}
        match characters.peek() {
            None | Some('#') => return words,
            Some('"') => {
                characters.next();
                let mut text = String::new();
                while let Some(c) = characters.next() {
                    match c {
                        '"' => break,
                        '\\' => text.extend(characters.next().map(|c| match c {
                            'n' => '\n',
                            'r' => '\r',
                            't' => '\t',
                            other => other,
                        })),
                        other => text.push(other),
                    }
                }
                words.push(Word::Quoted(text));
            }
            Some(_) => {
                let mut text = String::new();
                while let Some(c) = characters.next_if(|c| !c.is_ascii_whitespace()) {
                    text.push(c);
                }
                words.push(Word::Bare(text));
            }
        }
    }
}

/// The machines that have a user or a password.
fn machines(words: impl IntoIterator<Item = Word>) -> Vec<Machine> {
    let mut machines = Vec::new();
    let mut current: Option<(String, Option<String>, Option<String>)> = None;
    let mut add = |current: Option<(String, Option<String>, Option<String>)>| {
        if let Some((name, user, password)) = current
            && (user.is_some() || password.is_some())
        {
            machines.push(Machine { name, login: Login::new(user.unwrap_or_default(), password.unwrap_or_default()) });
        }
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let Word::Bare(keyword) = word else { continue };
        let mut next_value = || words.next().map(Word::into_text);
        match (keyword.as_str(), &mut current) {
            ("machine", _) => add(std::mem::replace(&mut current, next_value().map(|name| (name, None, None)))),
            ("default", _) => add(current.take()),
            ("login", Some((_, user, _))) => *user = next_value(),
            ("password", Some((_, _, password))) => *password = next_value(),
            // What follows is no keyword, even outside of any machine.
            ("login" | "password" | "account", _) => drop(next_value()),
            _ => {}
        }
    }
    add(current);
    machines
}

/// Whether curl would take the entry of a netrc file named `machine` for `place`: the host is all
/// that counts.
pub(super) fn is_netrc_of(machine: &str, place: &Place<'_>) -> bool {
    machine.eq_ignore_ascii_case(place.host)
}

/// Whether apt would take the entry of its auth.conf named `machine` for `place`. Without a scheme
/// it is for https alone. Without a path it is for a host, or for a host and port; with one, host,
/// port and path must begin with it.
pub(super) fn is_apt_of(machine: &str, place: &Place<'_>) -> bool {
    let machine = match machine.split_once("://") {
        Some((scheme, rest)) if place.has_scheme(scheme) => rest,
        None if place.has_scheme("https") => machine,
        _ => return false,
    };
    let host = place.written_host;
    let with_port = place.port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    if machine.contains('/') {
        // All that is asked for lies behind a slash.
        format!("{with_port}{}/", place.path).starts_with(machine)
    } else {
        machine == host || machine == with_port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(machines: &[Machine]) -> Vec<(&str, &str, &str)> {
        let names = machines.iter().map(|machine| machine.name.as_str());
        names.zip(machines.iter().map(|machine| machine.login.reveal())).map(|(name, (u, p))| (name, u, p)).collect()
    }

    #[test]
    fn netrc_as_curl_reads_it() {
        let text = "\
# machine commented login no password no
machine a.example login ann password s@cret#1
machine b.example
\tlogin bob # the rest is a comment: password no
\tpassword \"a \\\"b\\\" \\\\ c\"
macdef init
machine macro login no password no

machine \"c.example\" password machine account x login carl
machine empty
default login anonymous password me@example.org
machine last password only";
        assert_eq!(
            shown(&parse_netrc(text)),
            [
                ("a.example", "ann", "s@cret#1"),
                ("b.example", "bob", "a \"b\" \\ c"),
                ("c.example", "carl", "machine"),
                ("last", "", "only"),
            ]
        );
        assert_eq!(parse_netrc("machine\nlogin"), []);
    }

    #[test]
    fn auth_conf_as_apt_reads_it() {
        let text = "\
machine http://a.example/debian login ann password \"s@cret
# machine b.example login bob password hash
machine c.example
  login carl  bearer x
\tpassword%20
machine d.example password only
";
        assert_eq!(
            shown(&parse_auth_conf(text)),
            [
                ("http://a.example/debian", "ann", "\"s@cret"),
                ("b.example", "bob", "hash"),
                ("c.example", "carl", ""),
                ("d.example", "", "only"),
            ]
        );
    }

    /// The rows of https are the examples of `apt_auth.conf(5)`; in those of http, apt 2.6.1 sends
    /// the login, or does not.
    #[test]
    fn machines_of_apt() {
        for (machine, url, is_of) in [
            ("example.org", "https://example.org/debian", true),
            ("example.org/deb", "https://example.org/debian", true),
            ("example.org/debian/", "https://example.org/debian", true),
            ("example.org:443", "https://example.org/debian", false),
            ("example.org/deb/", "https://example.org/debian", false),
            ("example.org/ubuntu", "https://example.org/debian", false),
            ("example.orga", "https://example.org/debian", false),
            ("example.net", "https://example.org/debian", false),
            ("127.0.0.1", "http://127.0.0.1:80/debian", false),
            ("http://127.0.0.1", "http://127.0.0.1:80/debian", true),
            ("http://127.0.0.1:80", "http://127.0.0.1:80/debian", true),
            ("https://127.0.0.1:80", "http://127.0.0.1:80/debian", false),
            ("http://127.0.0.1/debian/", "http://127.0.0.1:80/debian", false),
            ("http://127.0.0.1:80/", "http://127.0.0.1:80", true),
            ("http://127.0.0.1:80/deb", "http://127.0.0.1:80/debian", true),
        ] {
            assert_eq!(is_apt_of(machine, &Place::of(url).unwrap()), is_of, "{machine} {url}");
        }
    }

    #[test]
    fn machines_of_netrc() {
        for (machine, url, is_of) in [
            ("Example.org", "http://example.ORG:8080/debian", true),
            ("example.org", "https://example.org/debian", true),
            ("example.org:8080", "http://example.org:8080/debian", false),
            ("org", "http://example.org/debian", false),
            ("::1", "http://[::1]/debian", true),
        ] {
            assert_eq!(is_netrc_of(machine, &Place::of(url).unwrap()), is_of, "{machine} {url}");
        }
    }
}
