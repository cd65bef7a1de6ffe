//! CPU time and memory of processes, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Context;

/// The unit of CPU times in `/proc`: Linux reports 100 ticks per second on all common architectures.
const TICKS_PER_SECOND: u64 = 100;
/// The index, after the name, of the CPU times of a process itself.
const OWN: usize = 11;
/// The index, after the name, of the CPU times of its children that have ended and were waited for.
const ENDED_CHILDREN: usize = 13;

/// The CPU time and memory of a process, or of a process tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The CPU time since the start, summed over all processors.
    pub cpu: Duration,
    /// The peak memory in bytes; for a tree the sum, which counts shared pages more than once.
    pub peak_memory: u64,
    /// Memory now, in bytes.
    pub memory: u64,
}

/// A process to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The process alone.
    Alone(u32),
    /// The process with all its descendants, ended ones included, such as the backends of PostgreSQL.
    Family(u32),
}

/// Processes by display name.
pub type Processes = BTreeMap<String, Counted>;

/// Returns the usage of each process so far.
///
/// # Errors
///
/// If a process has ended.
pub fn of_all(processes: &Processes) -> anyhow::Result<BTreeMap<String, Usage>> {
    let read = |counted: &Counted| match counted {
        Counted::Alone(id) => of(*id),
        Counted::Family(root) => of_family(*root),
    };
    processes.iter().map(|(name, counted)| Ok((name.clone(), read(counted)?))).collect()
}

fn of_family(root: u32) -> anyhow::Result<Usage> {
    let mut sum = of(root)?;
    let stat =
        fs::read_to_string(format!("/proc/{root}/stat")).with_context(|| format!("process {root} is gone"))?;
    sum.cpu += times(&stat, ENDED_CHILDREN).context("reading the CPU time of ended children")?;
    // A process that ends meanwhile is counted among the ended ones in the next reading.
    for usage in family(root)?.into_iter().skip(1).filter_map(|id| of(id).ok()) {
        sum.cpu += usage.cpu;
        sum.peak_memory += usage.peak_memory;
        sum.memory += usage.memory;
    }
    Ok(sum)
}

/// Returns a process and all its descendants.
fn family(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process that has ended meanwhile is left out.
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        if let Some(parent) = fields(&stat).nth(1).and_then(|parent| parent.parse::<u32>().ok()) {
            parents.push((id, parent));
        }
    }
    let mut family = vec![root];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    Ok(family)
}

fn of(id: u32) -> anyhow::Result<Usage> {
    let read = |file: &str| {
        fs::read_to_string(format!("/proc/{id}/{file}")).with_context(|| format!("process {id} is gone"))
    };
    let cpu = times(&read("stat")?, OWN).with_context(|| format!("reading the CPU time of process {id}"))?;
    let status = read("status")?;
    Ok(Usage { cpu, peak_memory: memory(&status, "VmHWM:"), memory: memory(&status, "VmRSS:") })
}

/// Returns the sum of user and system time, the two fields from index `first` on.
fn times(stat: &str, first: usize) -> Option<Duration> {
    let mut times = fields(stat).skip(first);
    let (user, system): (u64, u64) = (times.next()?.parse().ok()?, times.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

/// Returns the fields after the name, which is in parentheses and may contain anything; the first field is the state.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace()
}

fn memory(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_after_a_name_with_parentheses() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194560 100 0 0 0 250 50 100 0 20 0 1 0 100 0 0";
        assert_eq!(times(stat, OWN), Some(Duration::from_secs(3)));
        assert_eq!(times(stat, ENDED_CHILDREN), Some(Duration::from_secs(1)));
        assert_eq!(fields(stat).nth(1), Some("7"));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(memory("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\n", "VmHWM:"), 2 * 1024 * 1024);
        assert_eq!(memory("", "VmHWM:"), 0);
    }

    #[test]
    fn this_process_uses_memory_and_belongs_to_its_own_family() {
        let id = std::process::id();
        assert!(of(id).unwrap().memory > 0);
        assert!(family(id).unwrap().contains(&id));
    }

    #[test]
    fn the_cpu_time_of_an_ended_child_is_counted() {
        let id = std::process::id();
        let before = of_family(id).unwrap().cpu;
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        assert!(std::process::Command::new("sh").args(["-c", busy]).status().unwrap().success());
        assert!(of_family(id).unwrap().cpu >= before + Duration::from_millis(50));
    }
}
