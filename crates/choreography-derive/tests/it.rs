//! The errors that the derive macros report, as the compiler prints them.
//!
//! The cases are compiled against `ui/stub.rs` and not against `choreography`, whose dependencies would be built once more
//! for this. `TRYBUILD=overwrite` writes the expected texts.

#[test]
fn each_mistake_has_an_error_that_names_the_remedy() {
    trybuild::TestCases::new().compile_fail("tests/ui/*/*.rs");
}
