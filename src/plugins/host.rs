//! What the host tells plugins and does for them beside their files.

use std::sync::Arc;

use fam_archive::credentials::{Login, Logins};
use fam_plugin::{Context, Facts, Host, Level, Scope, Secrets, Stage};
use fam_progress::Progress;

/// What one build tells its plugins.
#[derive(Debug, Clone)]
pub struct Build {
    facts: Arc<Facts>,
    system_facts: Arc<Facts>,
    secrets: Secrets,
    progress: Progress,
}

impl Build {
    /// Of these facts; secrets are derived from `seed`, what plugins log goes to `progress`.
    #[must_use]
    pub fn new(facts: Facts, seed: [u8; 32], progress: Progress) -> Self {
        let system_facts = Arc::new(facts.for_system());
        Self { facts: Arc::new(facts), system_facts, secrets: Secrets::new(seed), progress }
    }

    /// All that is known.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The context for whoever `source` is, whose log lines begin with that name. At the node stage
    /// it is to be made that of a node by [`Context::for_node`].
    #[must_use]
    pub fn context(&self, source: &str, stage: Stage) -> Context {
        let facts = match stage {
            Stage::System => &self.system_facts,
            Stage::Node => &self.facts,
        };
        let services =
            Services { source: source.into(), secrets: self.secrets.clone(), progress: self.progress.clone() };
        Context::new(Arc::clone(facts), Arc::new(services))
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }
}

/// The logins of a build, in the form that the built-in `apt-sources` asks for.
pub(super) struct GuestLogins(pub(super) Logins);

impl fam_apt_sources::Logins for GuestLogins {
    fn of_mirror(&self, url: &str) -> Option<fam_apt_sources::Login> {
        self.0.of_mirror(url).map(in_clear)
    }

    fn of_proxy(&self, url: &str) -> Option<fam_apt_sources::Login> {
        self.0.of_proxy(url).map(in_clear)
    }
}

fn in_clear(login: &Login) -> fam_apt_sources::Login {
    let (user, password) = login.reveal();
    fam_apt_sources::Login { user: user.to_owned(), password: password.to_owned() }
}

struct Services {
    source: String,
    secrets: Secrets,
    progress: Progress,
}

impl Host for Services {
    fn secret(&self, scope: Scope, label: &str) -> [u8; 32] {
        self.secrets.derive(scope, label)
    }

    fn log(&self, level: Level, message: &str) {
        let line = format!("{}: {message}", self.source);
        match level {
            Level::Info => self.progress.detail(line),
            Level::Warning => self.progress.warning(line, None),
        }
    }
}
