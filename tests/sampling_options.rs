//! The samplers' options as data, and the table made of them in `docs/samplers.md`.

use std::path::Path;
use tweedie::choice::Choice;
use tweedie::config::sampling::{OPTIONS, SamplingOption, Value};
use tweedie::config::{CorrectorName, Method, PredictorName, Sampling};

/// The samplers that read an option, with some predictor and corrector.
fn readers(option: &SamplingOption) -> Vec<&'static str> {
    let reads = |method: Method| {
        let with = |predictor, corrector| Sampling { method, predictor, corrector, ..Sampling::default() };
        let reads = |predictor, corrector| option.is_read_by(&with(predictor, corrector));
        PredictorName::ALL.iter().any(|p| CorrectorName::ALL.iter().any(|c| reads(*p, *c)))
    };
    Method::ALL.iter().filter(|method| reads(**method)).map(|method| method.name()).collect()
}

fn table() -> String {
    let mut lines = vec![
        "| key of `[sampling]` | flag | values | default | read by |".to_string(),
        "| --- | --- | --- | --- | --- |".to_string(),
    ];
    for option in OPTIONS {
        let key = option.key.trim_start_matches("sampling.");
        let flag = option.flag.map_or(String::new(), |flag| format!("`--{flag}`"));
        let default = option.get(&Sampling::default()).map_or("unset".into(), |value| value.to_string());
        let readers = match readers(option) {
            all if all.len() == Method::ALL.len() => "all".to_string(),
            some => some.join(", "),
        };
        let help = option.help.trim();
        lines.push(format!("| `{key}`: {help} | {flag} | {} | {default} | {readers} |", option.values));
    }
    lines.join("\n")
}

#[test]
fn the_documentation_lists_every_option_as_the_program_has_it() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/samplers.md");
    let text = std::fs::read_to_string(page).expect("the page");
    let table = table();
    assert!(text.contains(&table), "docs/samplers.md must contain this table:\n{table}");
}

#[test]
fn every_option_is_read_by_a_sampler_and_its_default_is_among_its_values() {
    for option in OPTIONS {
        assert!(!readers(option).is_empty(), "{}", option.key);
        let value = option.get(&Sampling::default());
        assert!(value.is_none_or(|value| option.values.contain(value)), "{}: {value:?}", option.key);
    }
}

#[test]
fn a_sampler_reads_at_most_one_of_the_options_that_share_a_flag() {
    for method in Method::ALL {
        let sampling = Sampling { method: *method, ..Sampling::default() };
        let read: Vec<&str> = OPTIONS
            .iter()
            .filter(|option| option.is_read_by(&sampling))
            .filter_map(|option| option.flag)
            .collect();
        for flag in &read {
            assert_eq!(read.iter().filter(|other| *other == flag).count(), 1, "{method}: --{flag}");
        }
    }
}

#[test]
fn an_option_is_set_by_its_text_and_read_back() {
    for (key, text, value) in [
        ("sampling.eta", "1.5", Value::Number(1.5)),
        ("sampling.steps", "20", Value::Count(20)),
        ("sampling.method", "dpmpp_2m", Value::Name("dpmpp_2m")),
        ("sampling.sigma_min", "0.01", Value::Number(0.01)),
        ("sampling.noise_removal", "false", Value::Switch(false)),
    ] {
        let option = OPTIONS.iter().find(|option| option.key == key).expect(key);
        let mut sampling = Sampling::default();
        option.set(&mut sampling, option.values.parse(text).expect(text));
        assert_eq!(option.get(&sampling), Some(value), "{key}");
    }
    for (key, text) in [("sampling.eta", "2.1"), ("sampling.steps", "0"), ("sampling.rtol", "0")] {
        let option = OPTIONS.iter().find(|option| option.key == key).expect(key);
        assert_eq!(option.values.parse(text), None, "{key} {text}");
    }
}
