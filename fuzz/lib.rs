//! Functions shared by the targets.

use tweedie::config::Config;
use tweedie::nn::{Registry, ScoreModel};

/// The parameters of the small network of the seeds in `corpus`.
pub fn registry() -> &'static Registry {
    static REGISTRY: std::sync::OnceLock<Registry> = std::sync::OnceLock::new();
    REGISTRY.get_or_init(|| {
        let config = Config::from_toml(include_str!("tiny.toml"), &[]).expect("a configuration");
        ScoreModel::build(&config).expect("a model").registry
    })
}

/// Lists the parameters of a configuration's network, and writes and reads the configuration. Nothing is
/// allocated: the network may be too large for a device.
pub fn build(config: &Config) {
    let _ = ScoreModel::build(config);
    assert_eq!(&Config::from_toml(&config.to_toml(), &[]).expect("its own words"), config);
}
