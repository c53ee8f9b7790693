//! Running programs of the new system.

use crate::{Command, Error, Output, Result, Root};

impl Root<'_> {
    /// Whether programs may have the network that they ask for ([`Command::network`]): not so unless
    /// the recipe says it.
    #[must_use]
    pub fn with_network(self, has_network: bool) -> Self {
        Self { has_network, ..self }
    }

    /// Runs a program inside the new system, at the system stage only, and gives how it ended,
    /// however that was.
    ///
    /// # Errors
    /// [`Error::Run`] where it cannot be started, or asks for the network and must not have it.
    pub fn run_unchecked(&mut self, command: &Command) -> Result<Output> {
        if command.network && !self.has_network {
            let message = "it asks for the network, which the recipe does not give to this plugin".into();
            return Err(Error::Run { program: command.line(), message });
        }
        self.fs.run(command)
    }

    /// Runs a program inside the new system, at the system stage only.
    ///
    /// # Errors
    /// [`Error::Run`] where it cannot be started or ends with another status than 0.
    pub fn run(&mut self, command: &Command) -> Result<Output> {
        let output = self.run_unchecked(command)?;
        if output.status == 0 {
            return Ok(output);
        }
        let last: Vec<&str> = output.text.lines().rev().take(5).collect();
        let mut message = format!("exit status {}", output.status);
        for line in last.iter().rev() {
            message.push_str("\n  ");
            message.push_str(line);
        }
        Err(Error::Run { program: command.line(), message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryRoot;

    #[test]
    fn runs_at_the_system_stage() {
        let mut image = MemoryRoot::debian();
        image.on_run(|command| match command.program.as_str() {
            "false" => Ok(Output { status: 1, text: "no\n".into() }),
            _ => Ok(Output::default()),
        });
        let mut root = Root::new(&mut image);
        root.run(&Command::new("true").arg("x")).unwrap();
        let error = root.run(&Command::new("false")).unwrap_err().to_string();
        assert_eq!(error, "run false: exit status 1\n  no");
        let fetches = Command::new("true").network(true);
        let error = root.run(&fetches).unwrap_err().to_string();
        assert_eq!(error, "run true: it asks for the network, which the recipe does not give to this plugin");
        Root::new(&mut image).with_network(true).run(&fetches).unwrap();
        assert_eq!(image.commands().iter().filter(|command| command.network).count(), 1);
    }
}
