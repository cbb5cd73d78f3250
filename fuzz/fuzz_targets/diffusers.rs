//! `unet/config.json` and, after a line of three dashes, `scheduler/scheduler_config.json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (unet, scheduler) =
        text.split_once("\n---\n").map_or((text, None), |(unet, rest)| (unet, Some(rest)));
    if let Ok(config) = tweedie::interop::diffusers_config(unet, scheduler) {
        tweedie_fuzz::build(&config);
    }
});
