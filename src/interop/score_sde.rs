//! Checkpoints and configurations of the reference's PyTorch implementation (`score_sde_pytorch`).
//!
//! `model` holds the weights under `module.NAME`; `ema.shadow_params` lists the averages of the trained
//! weights in order, without names; `optimizer.state` holds the moments by parameter number, frozen
//! parameters included.

use super::InteropError;
use super::torch::TorchFile;
use super::weights::{Imported, state};
use crate::config::Config;
use crate::nn::Registry;
use serde_json::{Map, Value};
use std::io::{Read, Seek};
use std::path::Path;

/// Keys of the reference's configurations without a counterpart here, by section.
const FOREIGN: &[(&str, &[&str])] = &[
    ("", &["device", "eval", "sde", "tpu", "workdir"]),
    ("training", &["eval_freq", "snapshot_freq_for_preemption", "n_jitted_steps", "loss", "continuouse"]),
    ("sampling", &[]),
    ("data", &["tfrecords_path", "category", "channels"]),
    ("model", &["interpolation", "sigma_begin"]),
    ("optim", &["amsgrad"]),
];

/// Converts a configuration of the reference, as JSON, and applies `section.key=value` assignments.
///
/// # Errors
/// If the text is not JSON, or not a configuration.
pub fn reference_config(json: &str, assignments: &[String]) -> Result<Config, InteropError> {
    let unknown = |what: String| InteropError::Unknown(what);
    let value: Value = serde_json::from_str(json).map_err(|e| unknown(format!("it is not JSON ({e})")))?;
    let Value::Object(mut sections) = value else { return Err(unknown("it is not a JSON object".into())) };
    for (section, keys) in FOREIGN {
        let map = match *section {
            "" => Some(&mut sections),
            name => sections.get_mut(name).and_then(Value::as_object_mut),
        };
        if let Some(map) = map {
            drop_keys(map, keys);
        }
    }
    let table =
        toml::Table::try_from(&sections).map_err(|e| unknown(format!("it is not a configuration ({e})")))?;
    Ok(Config::from_table(table, assignments)?)
}

/// Drops `keys`, and keys with the value null, which TOML does not have.
fn drop_keys(map: &mut Map<String, Value>, keys: &[&str]) {
    map.retain(|key, value| !keys.contains(&key.as_str()) && !value.is_null());
    for value in map.values_mut() {
        if let Value::Object(inner) = value {
            inner.retain(|_, value| !value.is_null());
        }
    }
}

/// Reads a checkpoint of the reference, or of another program in PyTorch, for a network with these parameters:
/// weights, averages, moments and steps are found wherever they are in the file.
///
/// # Errors
/// If the file is damaged, requires running code, belongs to another network, or holds averages of only some
/// parameters.
pub fn read_score_sde(path: &Path, registry: &Registry) -> Result<Imported, InteropError> {
    state(&TorchFile::open(path)?, registry)
}

/// Reads such a checkpoint from any source of bytes.
///
/// # Errors
/// Those of [`read_score_sde`].
pub fn read_score_sde_from(
    source: impl Read + Seek + 'static,
    registry: &Registry,
) -> Result<Imported, InteropError> {
    state(&TorchFile::read(source)?, registry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A configuration in the reference's format, with one more key in `model`.
    fn printed(key: &str) -> String {
        let mut config = json!({
            "device": "cpu", "eval": { "batch_size": 8 },
            "training": { "sde": "vesde", "continuous": false, "batch_size": 8, "n_iters": 10, "eval_freq": 100 },
            "data": { "dataset": "CIFAR10", "image_size": 8, "num_channels": 3, "centered": false, "category": null },
            "model": { "name": "ncsn", "nf": 8, "num_scales": 10 },
        });
        config["model"][key] = json!("bilinear");
        config.to_string()
    }

    #[test]
    fn keys_without_a_counterpart_are_dropped_and_unknown_keys_are_named() {
        for key in ["interpolation", "sigma_begin"] {
            reference_config(&printed(key), &[]).unwrap();
        }
        let message = reference_config(&printed("interpolations"), &[]).unwrap_err().to_string();
        assert!(message.starts_with("model.interpolations: unknown key"), "{message}");
    }
}
