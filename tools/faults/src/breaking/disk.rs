//! Disks that can be filled: a tmpfs per SQLite database, shrunk to its used size.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use demo::Component;

/// The size of a disk that is not full.
const SIZE: &str = "512m";

/// The disks of all services with a database.
#[derive(Debug)]
pub struct Disks {
    data: PathBuf,
}

/// Returns whether a disk can be mounted in this folder.
pub(super) fn can_mount(data: &Path) -> bool {
    let folder = data.join("disk-trial");
    let tried = std::fs::create_dir_all(&folder).is_ok() && mount(&folder, "size=64k").is_ok();
    if tried {
        let _ = run(Command::new("umount").arg(&folder));
    }
    let _ = std::fs::remove_dir(&folder);
    tried
}

impl Disks {
    /// Mounts the disks at the places of the databases.
    ///
    /// # Errors
    ///
    /// If mounting is not permitted.
    pub fn make(data: &Path) -> anyhow::Result<Self> {
        let disks = Self { data: data.to_owned() };
        for component in Component::WITH_DATABASE {
            let folder = disks.folder(component);
            std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            mount(&folder, &format!("size={SIZE}"))?;
            // SQLite follows the link, also for the files next to the database.
            let file = format!("{component}.sqlite");
            let link = data.join(&file);
            std::os::unix::fs::symlink(folder.join(&file), &link)
                .with_context(|| format!("linking {}", link.display()))?;
        }
        Ok(disks)
    }

    fn folder(&self, component: Component) -> PathBuf {
        self.data.join(format!("disk-{component}"))
    }

    /// Fills a service's disk: shrinks it to its used size.
    pub(super) fn fill(&self, component: Component) -> anyhow::Result<()> {
        let folder = self.folder(component);
        // A write between reading the size and shrinking makes shrinking fail; then both are repeated.
        for _ in 0..20 {
            let output =
                Command::new("df").args(["-k", "--output=used"]).arg(&folder).output().context("running df")?;
            let used = String::from_utf8_lossy(&output.stdout);
            let used: u64 =
                used.lines().nth(1).unwrap_or_default().trim().parse().context("reading the output of df")?;
            if mount(&folder, &format!("remount,size={}k", used.max(4))).is_ok() {
                return Ok(());
            }
        }
        bail!("{} grows faster than it can be filled", folder.display())
    }

    /// Restores the size of a service's disk.
    pub(super) fn free(&self, component: Component) -> anyhow::Result<()> {
        mount(&self.folder(component), &format!("remount,size={SIZE}"))
    }
}

impl Drop for Disks {
    /// Unmounts the disks; their files are kept at the places of the links.
    fn drop(&mut self) {
        for component in Component::WITH_DATABASE {
            let folder = self.folder(component);
            for suffix in ["", "-wal", "-shm"] {
                let name = format!("{component}.sqlite{suffix}");
                let (from, to) = (folder.join(&name), self.data.join(&name));
                if from.is_file() {
                    let _ = std::fs::remove_file(&to);
                    let _ = std::fs::copy(&from, &to);
                }
            }
            let _ = run(Command::new("umount").arg("--lazy").arg(&folder));
            let _ = std::fs::remove_dir(&folder);
        }
    }
}

fn mount(folder: &Path, options: &str) -> anyhow::Result<()> {
    run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
