//! A shifted clock for one process.

use std::process::Command;

use faults::breaking::Clock;

/// The first code of a process, such as its allocator, may read the clock: a libfaketime that is not initialised then
/// crashes the process at its start.
#[test]
fn a_service_starts_with_a_shifted_clock() {
    let Some(clock) = Clock::find() else {
        eprintln!("libfaketime is not installed: the clock of a service cannot be shifted");
        return;
    };
    for ahead in [-3600, 3600] {
        for service in ["order-service", "inventory-service", "notification-service"] {
            let ended = Command::new(env!("CARGO_BIN_EXE_faults"))
                .args([service, "--help"])
                .envs(clock.variables(ahead))
                .output()
                .unwrap();
            assert!(ended.status.success(), "{service}, {ahead} s: {ended:?}");
            assert!(String::from_utf8_lossy(&ended.stdout).contains("--nats-url"), "{service}: {ended:?}");
        }
    }
}
