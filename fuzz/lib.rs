//! What the targets have in common.

use tweedie::config::Config;
use tweedie::nn::{Registry, ScoreModel};

/// The parameters of a small network, that of the seeds in `corpus`.
pub fn registry() -> &'static Registry {
    static REGISTRY: std::sync::OnceLock<Registry> = std::sync::OnceLock::new();
    REGISTRY.get_or_init(|| {
        let config = Config::from_toml(include_str!("tiny.toml"), &[]).expect("a configuration");
        ScoreModel::build(&config).expect("a model").registry
    })
}

/// A network that a small file describes and a device may well refuse: its parameters are listed, nothing is allocated.
pub fn build(config: &Config) {
    let _ = ScoreModel::build(config);
    assert_eq!(&Config::from_toml(&config.to_toml(), &[]).expect("its own words"), config);
}
