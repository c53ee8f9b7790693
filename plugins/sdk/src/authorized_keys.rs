//! Who may log in by ssh: `~/.ssh/authorized_keys`.

use crate::{Account, Result, Root};

impl Root<'_> {
    /// Adds lines to the user's `authorized_keys` (their format: sshd(8)), with the owner and the
    /// modes that sshd insists on. A line that is there already is not added again; without lines
    /// nothing is touched.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) where a directory or file cannot be written.
    pub fn authorize<L: AsRef<str>>(&mut self, account: &Account, lines: &[L]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let directory = account.home.join(".ssh");
        if !self.exists(&directory) {
            self.create_dir(&directory, 0o700)?;
            self.set_owner(&directory, account.uid, account.gid)?;
        }
        let file = directory.join("authorized_keys");
        for line in lines {
            self.ensure_line(&file, line.as_ref().trim())?;
        }
        self.set_mode(&file, 0o600)?;
        self.set_owner(&file, account.uid, account.gid)
    }
}
