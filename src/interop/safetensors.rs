//! Weights under the reference's names in a safetensors file: `raw/NAME`, `ema/NAME`, and `fixed/NAME` for
//! frozen parameters. A checkpoint of this program is such a file with Adam's moments `adam.m/NAME` and
//! `adam.v/NAME` and the number of steps.

use super::find::{Leaf, find};
use super::foreign::{FileKind, kind_of};
use super::{Imported, InteropError, Note};
use crate::files::{is_whole, repeated_name};
use crate::nn::{ParameterSpec, Registry, State};
use ::safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::path::Path;

/// Reads the weights of a network with these parameters. If only raw or only averaged weights are present,
/// they serve as both. Names with other beginnings (`NAME`, `module.NAME`) are read, too.
///
/// # Errors
/// If the file is damaged, belongs to another network, or holds averages of only some parameters.
pub fn read_safetensors(path: &Path, registry: &Registry) -> Result<Imported, InteropError> {
    read_safetensors_bytes(&crate::files::read(path)?, registry)
}

/// The tensors in a file's bytes.
///
/// # Errors
/// If it is a known file of another kind, is damaged, or has two tensors of one name.
pub(super) fn open(bytes: &[u8]) -> Result<SafeTensors<'_>, InteropError> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| match kind_of(bytes) {
        FileKind::Foreign(foreign) => InteropError::Foreign(foreign),
        _ => InteropError::Damaged(e.to_string()),
    })?;
    if is_whole(bytes) == Some(false) {
        return Err(InteropError::Damaged("its checksum is not that of its contents".into()));
    }
    match repeated_name(bytes) {
        Some(name) => Err(InteropError::Damaged(format!("it holds two tensors called `{name}`"))),
        None => Ok(file),
    }
}

/// Reads such weights from a file's bytes.
///
/// # Errors
/// Those of [`read_safetensors`].
pub fn read_safetensors_bytes(bytes: &[u8], registry: &Registry) -> Result<Imported, InteropError> {
    let file = open(bytes)?;
    let mut tensors = file.tensors();
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    let leaves: Vec<Leaf<&str>> = tensors
        .iter()
        .map(|(name, view)| Leaf {
            path: name.clone(),
            home: 0,
            listed: false,
            array: !view.shape().is_empty(),
            tensor: true,
            held: &name[..],
        })
        .collect();
    let found = find(&leaves, registry, false)?;
    let read = |names: &[&str], specs: &[ParameterSpec]| {
        specs.iter().zip(names).map(|(spec, name)| values(&file, name, spec)).collect::<Result<Vec<_>, _>>()
    };
    let raw = read(&found.raw, &registry.trainable)?;
    let frozen = read(&found.frozen, &registry.frozen)?;
    let (ema, notes) = match &found.averages {
        Some(_) if found.only_averages => (raw.clone(), vec![Note::OnlyAverages]),
        Some(averages) => (read(averages, &registry.trainable)?, Vec::new()),
        None => (raw.clone(), vec![Note::NoAverages]),
    };
    let moment = |prefix: &str| {
        let names: Vec<String> =
            registry.trainable.iter().map(|spec| format!("{prefix}{}", spec.name)).collect();
        read(&names.iter().map(|name| &name[..]).collect::<Vec<_>>(), &registry.trainable)
    };
    let moments = match tensors.iter().any(|(name, _)| name.starts_with("adam.")) {
        true => Some([moment("adam.m/")?, moment("adam.v/")?]),
        false => None,
    };
    let (step, updates) = steps(bytes)?;
    let updates = if moments.is_some() { updates } else { 0 };
    Ok(Imported { state: State { step, raw, ema, frozen, updates, moments }, notes })
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

/// A parameter's values under a name.
fn values(file: &SafeTensors<'_>, name: &str, spec: &ParameterSpec) -> Result<Vec<f32>, InteropError> {
    let lacks = |_| InteropError::Mismatch(format!("it holds no tensor {name}"));
    let view = file.tensor(name).map_err(lacks)?;
    let expected = spec.layout.file_shape();
    if view.shape() != expected {
        let text = format!("{name} has shape {:?}, the configuration says {expected:?}", view.shape());
        return Err(InteropError::Mismatch(text));
    }
    floats(&view, name)
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
