//! The comparison of the configurations of a run that was stopped and is resumed.

use crate::config::{Config, Data, Training};

/// The first key in which `a` differs from `b` and that the trained weights depend on, with its value in `b`
/// as TOML. The names of the data sets are compared if they are all that is known of the images.
pub(super) fn difference(a: &Config, b: &Config, named: bool) -> Option<(String, String)> {
    let table = |config: &Config| {
        let mut config = config.clone();
        // The weights after a step do not depend on these; on the parts of a batch only to rounding.
        let falls = config.optim.schedule_end(config.training.n_iters);
        config.optim.schedule_steps = falls.unwrap_or(0);
        let training = &mut config.training;
        (training.accumulate, training.fit_memory) = (1, false);
        (training.n_iters, training.snapshot_freq, training.log_freq, training.eval_freq) = (1, 1, 1, 0);
        (training.snapshot_minutes, training.keep_last, training.keep_every) = (0.0, 0, 0);
        let Training { snapshot_sampling, snapshot_sampler, snapshot_steps, .. } = Training::default();
        training.snapshot_sampling = snapshot_sampling;
        (training.snapshot_sampler, training.snapshot_steps) = (snapshot_sampler, snapshot_steps);
        config.sampling = Default::default();
        let dataset = named.then(|| config.data.dataset.clone());
        config.data = Data { dataset: dataset.unwrap_or_default(), ..config.data.given() };
        toml::Table::try_from(&config).unwrap_or_default()
    };
    let (a, b) = (table(a), table(b));
    let shown = |value: Option<&toml::Value>| value.map_or("nothing".into(), toml::Value::to_string);
    for (section, value) in &a {
        let other = b.get(section);
        match (value.as_table(), other.and_then(toml::Value::as_table)) {
            (Some(keys), Some(others)) => {
                let differs = |key: &&String| keys.get(*key) != others.get(*key);
                if let Some(key) = keys.keys().chain(others.keys()).find(differs) {
                    return Some((format!("{section}.{key}"), shown(others.get(key))));
                }
            }
            _ if other != Some(value) => return Some((section.clone(), shown(other))),
            _ => {}
        }
    }
    None
}
