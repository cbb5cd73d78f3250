//! A configuration, as TOML.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(config) = tweedie::config::Config::from_toml(text, &[]) {
        tweedie_fuzz::build(&config);
    }
});
