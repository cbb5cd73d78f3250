//! The device, the reference values, and the distance of two vectors.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use tweedie::config::Config;
use tweedie::gpu::Gpu;
use tweedie::nn::{ParameterSpec, Registry, ScoreModel, State};

pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::open(None).expect("an adapter"))
}

/// A file under `../shared`, or `None` and a printed reason.
pub fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not here", path.display());
    None
}

/// An array of a safetensors file, in the file's own order of axes.
#[derive(Clone, Debug)]
pub struct Reference {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

pub fn read_safetensors(path: &PathBuf) -> HashMap<String, Reference> {
    let bytes = std::fs::read(path).expect("a readable file");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let reference = |view: safetensors::tensor::TensorView<'_>| Reference {
        shape: view.shape().to_vec(),
        values: match view.dtype() {
            safetensors::Dtype::F64 => bytemuck::pod_collect_to_vec(view.data()),
            safetensors::Dtype::F32 => {
                bytemuck::pod_collect_to_vec::<u8, f32>(view.data()).into_iter().map(f64::from).collect()
            }
            other => panic!("{other:?} in {}", path.display()),
        },
    };
    file.tensors().into_iter().map(|(name, view)| (name, reference(view))).collect()
}

impl Reference {
    /// The array with its axes in another order: axis `i` of the result is axis `order[i]` of this one.
    pub fn permuted(&self, order: &[usize]) -> Reference {
        let shape: Vec<usize> = order.iter().map(|axis| self.shape[*axis]).collect();
        let mut strides = vec![1; self.shape.len()];
        for axis in (1..self.shape.len()).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        let value = |mut flat: usize| {
            let mut at = 0;
            for axis in (0..shape.len()).rev() {
                at += flat % shape[axis] * strides[order[axis]];
                flat /= shape[axis];
            }
            self.values[at]
        };
        Reference { values: (0..self.values.len()).map(value).collect(), shape }
    }
}

/// ‖a − b‖ / ‖b‖.
pub fn relative_error(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |sum: f64, v: f64| sum + v * v;
    let difference = a.iter().zip(b).map(|(a, b)| f64::from(*a) - b).fold(0.0, square).sqrt();
    let norm = b.iter().copied().fold(0.0, square).sqrt();
    if norm == 0.0 { difference } else { difference / norm }
}

/// A DDPM with a few thousand distinct weights that Hugging Face's layout supports.
pub fn tiny() -> (Config, Registry, State) {
    tiny_with(&[])
}

/// The same with the keys of `set`.
pub fn tiny_with(set: &[&str]) -> (Config, Registry, State) {
    let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
    let text = "[training]\nsde = \"vpsde\"\ncontinuous = false\nbatch_size = 2\nn_iters = 10\n\
                [data]\ndataset = \"imported\"\nimage_size = 8\nnum_channels = 1\ncentered = true\n\
                [model]\nname = \"ddpm\"\nnf = 4\nch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = [4]\n\
                attn_up_each = true\nnum_groups = 2\n";
    let config = Config::from_toml(text, &set).expect("a configuration");
    let registry = ScoreModel::build(&config).expect("a model").registry;
    let mut next = 0u32;
    let mut value = || {
        next += 1;
        (next % 997) as f32 / 997.0 - 0.5
    };
    let mut values = |specs: &[ParameterSpec]| -> Vec<Vec<f32>> {
        specs.iter().map(|spec| (0..spec.layout.len()).map(|_| value()).collect()).collect()
    };
    let raw = values(&registry.trainable);
    let frozen = values(&registry.frozen);
    let state = State { step: 0, ema: raw.clone(), raw, frozen, moments: None, updates: 0 };
    (config, registry, state)
}

/// A checkpoint in the format before checksums, with other values: `change` gets a tensor's name and values.
pub fn format_1(good: &[u8], change: impl Fn(&str, &mut [f32])) -> Vec<u8> {
    let file = safetensors::SafeTensors::deserialize(good).expect("tensors");
    let changed = file.tensors().into_iter().map(|(name, view)| {
        let mut values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
        change(&name, &mut values);
        (name, view.shape().to_vec(), values)
    });
    let changed: Vec<(String, Vec<usize>, Vec<f32>)> = changed.collect();
    let views = changed.iter().map(|(name, shape, values)| {
        let bytes = bytemuck::cast_slice(values);
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name.clone(), view.expect("a tensor"))
    });
    let (_, metadata) = safetensors::SafeTensors::read_metadata(good).expect("a header");
    let header = &metadata.metadata().as_ref().expect("an entry")["tweedie"];
    let mut header: serde_json::Value = serde_json::from_str(header).expect("JSON");
    header.as_object_mut().expect("an object").remove("crc32").expect("a checksum");
    header["format"] = 1.into();
    let entry = [("tweedie".to_string(), header.to_string())].into();
    safetensors::serialize(views, Some(entry)).expect("a file")
}
