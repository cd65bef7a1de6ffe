//! Fuzz targets for every parser of untrusted input.

/// Makes a fuzz target of an expression over its input. Only cargo-fuzz sets `fuzzing` and links libFuzzer, which has a
/// `main`; elsewhere the target only compiles.
#[macro_export]
macro_rules! target {
    (|$input:ident: $type:ty| $check:expr) => {
        fn check($input: $type) {
            $check
        }

        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|input: $type| check(input));

        #[cfg(not(fuzzing))]
        fn main() {
            let _: fn($type) = check;
        }
    };
}
