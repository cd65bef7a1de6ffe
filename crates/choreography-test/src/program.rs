//! Any program as a child process that can be killed, stopped, paused, and restarted, and never outlives its parent.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::error::{Doing, Error};
use crate::process::{Guard, OnLine, Process};

/// How long a program may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(12);

/// The command line, environment, and output of a program.
#[derive(Clone)]
pub struct ProgramSettings {
    /// The name in error messages.
    pub name: String,
    /// The file to run.
    pub program: PathBuf,
    /// The command-line arguments.
    pub arguments: Vec<String>,
    /// Variables added to the environment.
    pub variables: Vec<(String, String)>,
    /// A callback for each line of output.
    pub on_line: Arc<dyn Fn(&str) + Send + Sync>,
}

/// A program and, while it runs, its process.
pub struct Program {
    settings: ProgramSettings,
    process: Option<Process>,
    guard: Guard,
}

impl Program {
    /// Starts the program.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(settings: ProgramSettings) -> Result<Self, Error> {
        let guard = Guard::new(Signal::SIGTERM, None)?;
        let mut program = Self { settings, process: None, guard };
        program.restart()?;
        Ok(program)
    }

    /// Changes the settings from the next start on; a running process keeps the old ones.
    pub fn change(&mut self, settings: ProgramSettings) {
        self.settings = settings;
    }

    /// Returns the id of the process, if it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Returns the exit status of the process if it ended by itself, once.
    ///
    /// # Errors
    ///
    /// If the operating system does not report it.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let ended = process.ended().doing(|| format!("checking whether {} runs", self.settings.name))?;
        if ended.is_some() {
            self.forget();
        }
        Ok(ended)
    }

    /// Kills the process (SIGKILL), if it runs.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub fn kill(&mut self) -> Result<(), Error> {
        if let Some(process) = &mut self.process {
            process.kill().doing(|| format!("killing {}", self.settings.name))?;
        }
        self.forget();
        Ok(())
    }

    /// Stops the process (SIGTERM) and waits for its end; kills it after 12 s. Returns the exit status, or `None` if
    /// the process did not run or had to be killed.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub async fn stop(&mut self) -> Result<Option<ExitStatus>, Error> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let doing = || format!("stopping {}", self.settings.name);
        // A paused process handles signals only after it is resumed.
        process.signal(Signal::SIGCONT).doing(doing)?;
        process.signal(Signal::SIGTERM).doing(doing)?;
        let ended = process.wait(STOP_TIMEOUT).await.doing(doing)?;
        if ended.is_none() {
            self.kill()?;
        }
        self.forget();
        Ok(ended)
    }

    /// Starts the process, unless it runs.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn restart(&mut self) -> Result<(), Error> {
        if self.process.is_some() {
            return Ok(());
        }
        let mut command = Command::new(&self.settings.program);
        command.args(&self.settings.arguments).envs(self.settings.variables.iter().map(|(n, v)| (n, v)));
        let on_line: OnLine = self.settings.on_line.clone();
        let process = Process::spawn(&self.settings.name, &mut command, &on_line)?;
        self.guard.watch(Some(process.id()));
        self.process = Some(process);
        Ok(())
    }

    /// Pauses the process (SIGSTOP): it keeps its connections and does nothing.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGSTOP)
    }

    /// Resumes a paused process (SIGCONT).
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        match &mut self.process {
            Some(process) => process.signal(signal).doing(|| format!("sending {signal} to {}", self.settings.name)),
            None => Ok(()),
        }
    }

    fn forget(&mut self) {
        self.process = None;
        self.guard.watch(None);
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("name", &self.settings.name).field("id", &self.id()).finish()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(%error, "a program could not be killed");
        }
    }
}
