//! The reference's configuration, as JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(config) = tweedie::interop::reference_config(text, &[]) {
        tweedie_fuzz::build(&config);
    }
});
