//! What a script printed, as far as an error has to say it: the last lines, the line that tells the
//! cause, and the hook that failed in it.

use std::fmt;

use fam_isolation::sandbox::Tail;
use fam_tree::RootPath;

use super::cause::Cause;
use super::packages;
use crate::staging::Staging;

/// What a script has printed so far.
#[derive(Debug, Default)]
pub(super) struct Record {
    tail: Tail,
    telling: Option<(String, Cause)>,
    hook: Option<RootPath>,
}

impl Record {
    /// Takes the next line.
    pub(super) fn push(&mut self, line: &str) {
        self.tail.push(line);
        if let Some(cause) = Cause::of(line) {
            // The last such line counts, however early it was: a program may print a long trace
            // after it, and complaints before it were not what stopped the script.
            self.telling = Some((line.to_owned(), cause));
        }
        if let Some(hook) = failed_hook(line).and_then(|path| RootPath::new(path).ok()) {
            self.hook = Some(hook);
        }
    }

    /// Forgets everything, as another script begins.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// All of it, for an error.
    pub(super) fn finish(self) -> Box<Printed> {
        let (line, cause) = self.telling.unzip();
        let last_lines = self.tail.into_lines();
        Box::new(Printed {
            telling_line: line.filter(|line| !last_lines.contains(line)),
            last_lines,
            cause,
            hook: self.hook.map(|path| Hook { path, package: None }),
        })
    }
}

/// The path in a line that says that a hook failed, as run-parts, mkinitramfs and systemd's
/// kernel-install print it.
fn failed_hook(line: &str) -> Option<&str> {
    const WORDS: [(&str, &str); 4] = [
        ("run-parts: ", " exited with return code "),
        ("run-parts: ", " exited because of uncaught signal "),
        ("E: ", " failed with return "),
        ("", " failed with exit status "),
    ];
    let path = WORDS.iter().find_map(|(before, after)| Some(line.strip_prefix(before)?.split_once(after)?.0))?;
    path.starts_with('/').then_some(path)
}

/// A program that another package's script runs, because it lies in a certain directory.
#[derive(Debug, PartialEq, Eq)]
struct Hook {
    path: RootPath,
    /// Who brings it, if that is known.
    package: Option<String>,
}

/// What a script printed before it failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// The line that tells the cause, where it is not among the last.
    telling_line: Option<String>,
    last_lines: Vec<String>,
    cause: Option<Cause>,
    hook: Option<Hook>,
}

impl Printed {
    /// Looks up which package brings the hook, if it was one that failed.
    pub(super) fn find_owner(&mut self, staging: &Staging) {
        if let Some(hook) = &mut self.hook {
            hook.package = packages::owner(staging, &hook.path);
        }
    }

    /// What the lines tell of why the script failed.
    pub(super) fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// The package that brings the hook that failed.
    pub(super) fn owner(&self) -> Option<&str> {
        self.hook.as_ref()?.package.as_deref()
    }
}

/// To follow on how the script ended.
impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hook {
            Some(Hook { path, package: Some(package) }) => write!(f, ", in {path} of package {package}")?,
            Some(Hook { path, package: None }) => write!(f, ", in {path}, which no package has")?,
            None => {}
        }
        if let Some(line) = &self.telling_line {
            write!(f, "; it had printed:\n  {line}\n  [...]")?;
        } else if !self.last_lines.is_empty() {
            f.write_str("; its last lines:")?;
        }
        self.last_lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(lines: &[&str]) -> Box<Printed> {
        let mut record = Record::default();
        lines.iter().for_each(|line| record.push(line));
        record.finish()
    }

    #[test]
    fn knows_hooks_by_the_words_of_those_who_run_them() {
        for (line, expected) in [
            ("run-parts: /etc/kernel/postinst.d/zz-foo exited with return code 1", "/etc/kernel/postinst.d/zz-foo"),
            (
                "run-parts: /etc/initramfs/post-update.d//flash exited with return code 1",
                "/etc/initramfs/post-update.d/flash",
            ),
            ("run-parts: /etc/x.d/a exited because of uncaught signal 9", "/etc/x.d/a"),
            ("E: /usr/share/initramfs-tools/hooks/udev failed with return 1.", "/usr/share/initramfs-tools/hooks/udev"),
            (
                "/usr/lib/kernel/install.d/50-x.install failed with exit status 1.",
                "/usr/lib/kernel/install.d/50-x.install",
            ),
        ] {
            assert_eq!(printed(&[line]).hook.unwrap().path.to_string(), expected);
        }
        for line in
            ["run-parts: executing /etc/x.d/a", "E: x failed with return 1.", "a test failed with exit status 1"]
        {
            assert_eq!(printed(&[line]).hook, None, "{line}");
        }
    }

    #[test]
    fn quotes_the_line_that_tells_the_cause_however_early_it_was() {
        let mut lines = vec!["curl: (6) Could not resolve host: example.org"];
        assert_eq!(printed(&lines).to_string(), format!("; its last lines:\n  {}", lines[0]));
        lines.extend(["at f()"; 30]);
        let printed = printed(&lines);
        assert_eq!(printed.cause(), Some(&Cause::Network));
        let text = printed.to_string();
        assert!(text.starts_with(&format!("; it had printed:\n  {}\n  [...]\n  at f()\n", lines[0])), "{text}");
        assert_eq!(Printed::default().to_string(), "");
    }
}
