//! A child process, its output, and the guard that ends it with its parent.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::error::{Doing, Error};

/// A callback for each line of a server's output.
pub(crate) type OnLine = Arc<dyn Fn(&str) + Send + Sync>;

/// The number of last lines that are kept for error messages.
const KEPT_LINES: usize = 30;

/// A running server in a separate process group, so that Ctrl-C in a terminal reaches only the parent.
///
/// It is a child of `std`, not of tokio, because it may outlive its runtime: several `#[tokio::test]`s share a server.
pub(crate) struct Process {
    child: Child,
    last_lines: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn spawn(server: &str, command: &mut Command, on_line: &OnLine) -> Result<Self, Error> {
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .doing(|| format!("starting {server} ({})", command.get_program().display()))?;

        let last_lines = Arc::new(Mutex::new(VecDeque::new()));
        let mut readers = Vec::new();
        if let Some(output) = child.stdout.take() {
            readers.push(read_lines(output, &last_lines, on_line));
        }
        if let Some(output) = child.stderr.take() {
            readers.push(read_lines(output, &last_lines, on_line));
        }
        Ok(Self { child, last_lines, readers })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status of the process, if it has ended.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until the process ends; returns `None` if it still runs after `limit`.
    pub(crate) async fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            let status = self.ended()?;
            if status.is_some() || start.elapsed() > limit {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        // The id is not reused until `try_wait` has returned the exit status, even if the child has ended by now.
        if self.ended()?.is_none() {
            signal::kill(Pid::from_raw(self.child.id().cast_signed()), signal)?;
        }
        Ok(())
    }

    /// Pauses the process (SIGSTOP). On Linux, returns when all of its threads are stopped.
    pub(crate) fn pause(&mut self) -> io::Result<()> {
        self.signal(Signal::SIGSTOP)?;
        #[cfg(target_os = "linux")]
        {
            use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
            // Waits only for the stop: waiting for the exit would reap the process, which `child` must do.
            let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
            let id = Pid::from_raw(self.child.id().cast_signed());
            let start = Instant::now();
            while self.ended()?.is_none() && start.elapsed() < Duration::from_secs(1) {
                if let WaitStatus::Stopped(..) = waitid(Id::Pid(id), flags)? {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Kills the process (SIGKILL) and waits for its end.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Returns the last lines of output, which are complete only after the end of the process.
    pub(crate) fn last_lines(&mut self) -> String {
        if matches!(self.ended(), Ok(Some(_))) {
            for reader in self.readers.drain(..) {
                // A reader ends with its pipe; its only possible error is a panic of the caller's callback.
                let _ = reader.join();
            }
        }
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

fn read_lines(
    output: impl Read + Send + 'static,
    last_lines: &Arc<Mutex<VecDeque<String>>>,
    on_line: &OnLine,
) -> JoinHandle<()> {
    let last_lines = Arc::clone(last_lines);
    let on_line = Arc::clone(on_line);
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            on_line(&line);
            let mut lines = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == KEPT_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    })
}

/// Ends a server and removes its temporary folder if this process ends without doing so itself.
///
/// A `static` is never dropped, and a killed process drops nothing. So a shell reads from a pipe, which the operating
/// system closes when this process ends, however it ends. Each line is the id of the running server, or empty.
#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
}

/// The script of the guard. `$1`: the signal that ends the server; `$2`: the folder to remove, or empty.
const GUARD_SCRIPT: &str = r#"
trap '' HUP INT TERM
server=
while read -r line; do server=$line; done
if [ -n "$server" ]; then
    kill -CONT "$server"
    kill -"$1" "$server"
    tries=0
    while kill -0 "$server" && [ "$tries" -lt 100 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    kill -KILL "$server"
fi
if [ -n "$2" ]; then rm -rf -- "$2"; fi
"#;

impl Guard {
    pub(crate) fn new(signal: Signal, folder: Option<&Path>) -> Result<Self, Error> {
        let signal = signal.as_str().trim_start_matches("SIG");
        let shell = Command::new("/bin/sh")
            .args(["-c", GUARD_SCRIPT, "local-servers-guard", signal])
            .arg(folder.unwrap_or(Path::new("")))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .doing(|| "starting the shell that ends orphaned servers".to_owned())?;
        Ok(Self { shell })
    }

    /// Sets the process to end. To be called as soon as a server has started or ended.
    pub(crate) fn watch(&mut self, server: Option<u32>) {
        let line = server.map_or_else(String::new, |id| id.to_string());
        let written = self.shell.stdin.as_mut().map(|pipe| writeln!(pipe, "{line}"));
        if let Some(Err(error)) = written {
            tracing::warn!(%error, "the guard of a server failed; the server may outlive this process");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Closing the pipe ends the shell, at once because there is no server to end.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
