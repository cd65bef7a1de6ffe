//! Another time for one process.

use std::process::Command;

use faults::breaking::Clock;

/// libfaketime is asked for the time by whatever a process does first, its allocator included: one that asks for the time
/// before it is ready falls at the start.
#[test]
fn a_service_starts_under_another_clock() {
    let Some(clock) = Clock::find() else {
        eprintln!("libfaketime is not installed: there is no other clock to start a service under");
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
