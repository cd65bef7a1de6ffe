//! Parameters of paths, queries, and headers: each reads the same again, or is refused with a reason.
#![no_main]

use api_gateway::outside::PARAMETERS;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for (name, read) in PARAMETERS {
        match read(text) {
            // Headers that may be passed over.
            Ok(written) if written.is_empty() => assert!(["traceparent", "Prefer"].contains(&name), "{name}"),
            Ok(written) => assert_eq!(read(&written), Ok(written), "{name}"),
            Err(refused) => assert!(refused.starts_with("must "), "{name}: {refused}"),
        }
    }
});
