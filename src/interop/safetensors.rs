//! Weights under the reference's names in a safetensors file: `raw/NAME`, `ema/NAME`, and `fixed/NAME` for
//! frozen parameters. A checkpoint of this program is such a file with Adam's moments `adam.m/NAME` and
//! `adam.v/NAME` and the number of steps.

use super::InteropError;
use crate::nn::{ParameterSpec, Registry, State};
use ::safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

/// Reads the weights of a network with these parameters. If only raw or only averaged weights are present,
/// they serve as both. Names without a kind (`NAME`, `module.NAME`) are accepted too.
///
/// # Errors
/// If the file is damaged, or belongs to another network.
pub fn read_safetensors(path: &Path, registry: &Registry) -> Result<State, InteropError> {
    read_safetensors_bytes(&std::fs::read(path)?, registry)
}

/// Reads such weights from a file's bytes.
///
/// # Errors
/// If the bytes are damaged, or belong to another network.
pub fn read_safetensors_bytes(bytes: &[u8], registry: &Registry) -> Result<State, InteropError> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| InteropError::Damaged(e.to_string()))?;
    let read = |kinds: &[&str], specs: &[ParameterSpec]| -> Result<Vec<Vec<f32>>, InteropError> {
        specs.iter().map(|spec| values(&file, kinds, spec)).collect()
    };
    let raw = read(&["raw/", "module.", "", "ema/"], &registry.trainable)?;
    let ema = read(&["ema/", "raw/", "module.", ""], &registry.trainable)?;
    let frozen = read(&["fixed/", "module.", ""], &registry.frozen)?;
    refuse_unknown(&file, registry)?;
    let moments = match file.names().iter().any(|name| name.starts_with("adam.")) {
        true => Some([read(&["adam.m/"], &registry.trainable)?, read(&["adam.v/"], &registry.trainable)?]),
        false => None,
    };
    let (step, updates) = steps(bytes)?;
    Ok(State { step, raw, ema, frozen, updates: if moments.is_some() { updates } else { 0 }, moments })
}

/// The steps of training and Adam's own count of steps; 0 unless the file is a checkpoint of this program.
fn steps(bytes: &[u8]) -> Result<(u64, u64), InteropError> {
    let (_, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|e| InteropError::Damaged(e.to_string()))?;
    let Some(header) = metadata.metadata().as_ref().and_then(|entries| entries.get("tweedie")) else {
        return Ok((0, 0));
    };
    let header: Value =
        serde_json::from_str(header).map_err(|e| InteropError::Damaged(format!("its header: {e}")))?;
    let count = |key: &str| header.get(key).and_then(Value::as_u64);
    let step = count("step").unwrap_or(0);
    Ok((step, count("updates").unwrap_or(step)))
}

/// Refuses tensors that the network does not have, so that none is dropped silently.
fn refuse_unknown(file: &SafeTensors<'_>, registry: &Registry) -> Result<(), InteropError> {
    let known: HashSet<&str> = registry
        .trainable
        .iter()
        .chain(&registry.frozen)
        .map(|spec| &spec.name[..])
        .chain(["sigmas"])
        .collect();
    let kinds = ["raw/", "ema/", "fixed/", "adam.m/", "adam.v/", "module."];
    for name in file.names() {
        let bare = kinds.iter().find_map(|kind| name.strip_prefix(kind)).unwrap_or(name);
        if !known.contains(bare) {
            let text = format!("it holds {name}, which the configuration's network does not have");
            return Err(InteropError::Mismatch(text));
        }
    }
    Ok(())
}

/// A parameter's values, under the first prefix that the file has.
fn values(file: &SafeTensors<'_>, prefixes: &[&str], spec: &ParameterSpec) -> Result<Vec<f32>, InteropError> {
    let found = prefixes.iter().find_map(|prefix| file.tensor(&format!("{prefix}{}", spec.name)).ok());
    let Some(view) = found else {
        let text = format!("it holds no tensor {}; does the configuration match the training?", spec.name);
        return Err(InteropError::Mismatch(text));
    };
    let expected = spec.layout.file_shape();
    if view.shape() != expected {
        let text = format!("{} has shape {:?}, the configuration says {expected:?}", spec.name, view.shape());
        return Err(InteropError::Mismatch(text));
    }
    floats(&view, &spec.name)
}

/// A tensor's values as f32.
pub(super) fn floats(
    view: &::safetensors::tensor::TensorView<'_>,
    name: &str,
) -> Result<Vec<f32>, InteropError> {
    let data = view.data();
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => bytemuck::pod_collect_to_vec(data),
        Dtype::F64 => bytemuck::pod_collect_to_vec::<u8, f64>(data).into_iter().map(|v| v as f32).collect(),
        Dtype::F16 => {
            bytemuck::pod_collect_to_vec::<u8, half::f16>(data).iter().map(|v| v.to_f32()).collect()
        }
        Dtype::BF16 => {
            bytemuck::pod_collect_to_vec::<u8, half::bf16>(data).iter().map(|v| v.to_f32()).collect()
        }
        other => {
            return Err(InteropError::Unknown(format!(
                "{name} holds {other:?}; only floating-point numbers are read"
            )));
        }
    };
    match values.iter().all(|v| v.is_finite()) {
        true => Ok(values),
        false => Err(InteropError::Damaged(format!("{name} has values that are not finite"))),
    }
}
