//! Checkpoints and configurations of the reference's PyTorch implementation (`score_sde_pytorch`).
//!
//! `model` holds the weights under `module.NAME`; `ema.shadow_params` lists the averages of the trained
//! weights in order, without names; `optimizer.state` holds the moments by parameter number, frozen
//! parameters included.

use super::InteropError;
use super::pickle::{Node, Object, Strided};
use super::torch::TorchFile;
use crate::config::Config;
use crate::nn::{ParameterSpec, Registry, State};
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

/// Reads a checkpoint of the reference for a network with these parameters.
///
/// # Errors
/// If the file is damaged, requires running code, or belongs to another network.
pub fn read_score_sde(path: &Path, registry: &Registry) -> Result<State, InteropError> {
    state(&TorchFile::open(path)?, registry)
}

/// Reads such a checkpoint from any source of bytes.
///
/// # Errors
/// If it is damaged, requires running code, or belongs to another network.
pub fn read_score_sde_from(
    source: impl Read + Seek + 'static,
    registry: &Registry,
) -> Result<State, InteropError> {
    state(&TorchFile::read(source)?, registry)
}

fn state(file: &TorchFile, registry: &Registry) -> Result<State, InteropError> {
    let root = file.root();
    let model = root.get("model").ok_or_else(|| {
        let what =
            "it holds no `model`; a checkpoint of score_sde_pytorch holds model, ema, optimizer and step";
        InteropError::Unknown(what.into())
    })?;
    let raw = named(file, model, &registry.trainable)?;
    let frozen = named(file, model, &registry.frozen)?;
    refuse_unknown(model, registry)?;
    let ema = match root.get("ema").and_then(|ema| ema.get("shadow_params")) {
        Some(shadow) => listed(file, shadow, &registry.trainable)?,
        None => raw.clone(),
    };
    let step = root.get("step").map_or(Ok(0), |node| steps(file, node))?;
    let (moments, updates) = match root.get("optimizer").and_then(|optimizer| optimizer.get("state")) {
        Some(state) if state.pairs().next().is_some() => {
            let own = state.pairs().find_map(|(_, entry)| entry.get("step"));
            (Some(moments(file, state, registry)?), own.map_or(Ok(step), |node| steps(file, node))?)
        }
        _ => (None, 0),
    };
    Ok(State { step, raw, ema, frozen, moments, updates })
}

/// A parameter's values, checked against its shape.
fn values(
    file: &TorchFile,
    spec: &ParameterSpec,
    tensor: Option<&Strided>,
    what: &str,
) -> Result<Vec<f32>, InteropError> {
    let expected = spec.layout.file_shape();
    let Some(tensor) = tensor else {
        let text = format!("it holds no {what} {}; does the configuration match the training?", spec.name);
        return Err(InteropError::Mismatch(text));
    };
    if tensor.shape != expected {
        let text =
            format!("{what} {} has shape {:?}, the configuration says {expected:?}", spec.name, tensor.shape);
        return Err(InteropError::Mismatch(text));
    }
    let values = file.values(tensor)?;
    match values.iter().all(|v| v.is_finite()) {
        true => Ok(values),
        false => Err(InteropError::Damaged(format!("{what} {} has values that are not finite", spec.name))),
    }
}

fn named(file: &TorchFile, model: Node<'_>, specs: &[ParameterSpec]) -> Result<Vec<Vec<f32>>, InteropError> {
    let find = |spec: &ParameterSpec| {
        let wrapped = format!("module.{}", spec.name);
        let node = model.get(&wrapped).or_else(|| model.get(&spec.name));
        values(file, spec, node.and_then(Node::tensor), "weight")
    };
    specs.iter().map(find).collect()
}

/// Refuses tensors that the network does not have, so that none is dropped silently.
fn refuse_unknown(model: Node<'_>, registry: &Registry) -> Result<(), InteropError> {
    for (key, _) in model.pairs() {
        let name = key.text().unwrap_or_default();
        let name = name.strip_prefix("module.").unwrap_or(name);
        let known = registry.trainable.iter().chain(&registry.frozen).any(|spec| spec.name == name);
        if !known && name != "sigmas" {
            let text = format!("it holds {name}, which the configuration's network does not have");
            return Err(InteropError::Mismatch(text));
        }
    }
    Ok(())
}

fn listed(file: &TorchFile, list: Node<'_>, specs: &[ParameterSpec]) -> Result<Vec<Vec<f32>>, InteropError> {
    let items: Vec<Node<'_>> = list.items().collect();
    if items.len() != specs.len() {
        let text =
            format!("ema.shadow_params holds {} tensors, the network trains {}", items.len(), specs.len());
        return Err(InteropError::Mismatch(text));
    }
    specs.iter().zip(items).map(|(spec, node)| values(file, spec, node.tensor(), "average")).collect()
}

/// A number of steps, the checkpoint's or Adam's. Later releases of PyTorch store the latter as a tensor.
fn steps(file: &TorchFile, node: Node<'_>) -> Result<u64, InteropError> {
    let tensor = node.tensor().map(|tensor| file.values(tensor)).transpose()?;
    let only = tensor.filter(|values| values.len() == 1 && values[0].fract() == 0.0).map(|values| values[0]);
    let number = node.int().or(only.map(|step| step as i64)).and_then(|step| u32::try_from(step).ok());
    let why = "`step` must be a whole number from 0 to 2³² − 1";
    number.map(u64::from).ok_or_else(|| InteropError::Damaged(why.into()))
}

/// Adam's moments by parameter number; the frozen parameters come first and have no moments.
fn moments(
    file: &TorchFile,
    state: Node<'_>,
    registry: &Registry,
) -> Result<[Vec<Vec<f32>>; 2], InteropError> {
    let of = |index: usize| {
        let number = (registry.frozen.len() + index) as i64;
        state
            .pairs()
            .find(|(key, _)| matches!(key.object(), Object::Int(key) if *key == number))
            .map(|(_, v)| v)
    };
    let read = |name: &str| {
        let one = |(index, spec): (usize, &ParameterSpec)| {
            let tensor = of(index).and_then(|entry| entry.get(name)).and_then(Node::tensor);
            values(file, spec, tensor, name)
        };
        registry.trainable.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()
    };
    Ok([read("exp_avg")?, read("exp_avg_sq")?])
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
