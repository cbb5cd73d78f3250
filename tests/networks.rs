//! Every shipped configuration's network, against the parameter counts of the reference.

use std::path::{Path, PathBuf};
use tweedie::config::Config;
use tweedie::nn::ScoreModel;

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

fn load(name: &str) -> Config {
    let text = std::fs::read_to_string(configs().join(format!("{name}.toml"))).expect(name);
    Config::from_toml(&text, &[]).expect(name)
}

#[test]
fn published_networks_have_the_published_number_of_parameters() {
    // `score_sde_facts.md`, section 1.2, and section 3.1 for the number of tensors.
    for (name, parameters, tensors) in [
        ("ve/cifar10_ncsnpp_continuous", 62_758_787, 570),
        ("ve/cifar10_ncsnpp_deep_continuous", 107_586_947, 962),
        ("ve/cifar10_ncsnpp", 62_693_251, 570),
        ("vp/cifar10_ddpmpp_continuous", 61_804_419, 564),
        ("vp/cifar10_ddpmpp", 61_804_419, 564),
        ("subvp/cifar10_ddpmpp_deep_continuous", 106_632_579, 956),
        ("ve/church_ncsnpp_continuous", 65_574_421, 644),
        ("ve/ffhq_256_ncsnpp_continuous", 65_574_421, 644),
        ("ve/ffhq_ncsnpp_continuous", 105_785_880, 552),
        ("ve/celebahq_ncsnpp_continuous", 105_785_880, 552),
    ] {
        let registry = ScoreModel::build(&load(name)).expect(name).registry;
        assert_eq!(registry.count(), parameters, "{name}");
        assert_eq!(registry.trainable.len(), tensors, "{name}");
    }
}
