//! Disks that can be full: one in memory for each SQLite database, shrunk to what is on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use demo::Component;

/// How large a disk is while it is not full.
const SIZE: &str = "512m";

/// A disk for each service that keeps a database.
#[derive(Debug)]
pub struct Disks {
    data: PathBuf,
}

/// Tries whether a disk can be made in this folder.
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
    /// Makes the disks, each where a service's database will be.
    ///
    /// # Errors
    ///
    /// Where that is not allowed.
    pub fn make(data: &Path) -> anyhow::Result<Self> {
        let disks = Self { data: data.to_owned() };
        for component in Component::WITH_DATABASE {
            let folder = disks.folder(component);
            std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            mount(&folder, &format!("size={SIZE}"))?;
            // SQLite follows the link, also for the files beside the database.
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

    /// Fills a service's disk: leaves no room beside what is there.
    pub(super) fn fill(&self, component: Component) -> anyhow::Result<()> {
        let folder = self.folder(component);
        // What is written between looking and shrinking makes that impossible; then it is looked again.
        for _ in 0..20 {
            let output =
                Command::new("df").args(["-k", "--output=used"]).arg(&folder).output().context("asking df")?;
            let used = String::from_utf8_lossy(&output.stdout);
            let used: u64 =
                used.lines().nth(1).unwrap_or_default().trim().parse().context("reading what df says")?;
            if mount(&folder, &format!("remount,size={}k", used.max(4))).is_ok() {
                return Ok(());
            }
        }
        bail!("{} is written to faster than it can be filled", folder.display())
    }

    /// Makes room on a service's disk.
    pub(super) fn free(&self, component: Component) -> anyhow::Result<()> {
        mount(&self.folder(component), &format!("remount,size={SIZE}"))
    }
}

impl Drop for Disks {
    /// Takes the disks away; what is on them is kept where it was linked.
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
