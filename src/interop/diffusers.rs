//! Hugging Face's `UNet2DModel`, in its NCSN++ form (Skip blocks, Fourier embedding) and in its DDPM form, in and out.
//!
//! A model is a folder: `model_index.json`, `unet/config.json`, `unet/diffusion_pytorch_model.safetensors`,
//! `scheduler/scheduler_config.json`; or just the contents of `unet`.

use super::InteropError;
use super::safetensors::floats;
use crate::config::{Config, ModelName};
use crate::files::atomically;
use crate::nn::{Layout, ParameterSpec, Registry, ScoreModel, State};
use ::safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};

/// `unet/config.json`, as far as it matters here.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Unet {
    #[serde(rename = "_class_name", default)]
    class_name: String,
    sample_size: serde_json::Value,
    in_channels: usize,
    out_channels: usize,
    #[serde(default)]
    center_input_sample: bool,
    #[serde(default = "positional")]
    time_embedding_type: String,
    #[serde(default)]
    freq_shift: f64,
    #[serde(default = "yes")]
    flip_sin_to_cos: bool,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    block_out_channels: Vec<usize>,
    layers_per_block: usize,
    #[serde(default = "one")]
    mid_block_scale_factor: f64,
    #[serde(default = "one_pad")]
    downsample_padding: usize,
    #[serde(default = "silu")]
    act_fn: String,
    #[serde(default = "one_head")]
    attention_head_dim: Option<usize>,
    #[serde(default = "groups")]
    norm_num_groups: Option<usize>,
    #[serde(default)]
    attn_norm_num_groups: Option<usize>,
    #[serde(default = "eps")]
    norm_eps: f64,
    #[serde(default)]
    dropout: f64,
    #[serde(default = "default_shift")]
    resnet_time_scale_shift: String,
    #[serde(default = "yes")]
    add_attention: bool,
    #[serde(default)]
    class_embed_type: Option<String>,
    #[serde(default)]
    num_class_embeds: Option<usize>,
    #[serde(default)]
    time_embedding_dim: Option<usize>,
    #[serde(default = "conv")]
    downsample_type: String,
    #[serde(default = "conv")]
    upsample_type: String,
}

fn positional() -> String {
    "positional".into()
}
fn yes() -> bool {
    true
}
fn one() -> f64 {
    1.0
}
fn one_pad() -> usize {
    1
}
fn silu() -> String {
    "silu".into()
}
fn one_head() -> Option<usize> {
    Some(8)
}
fn groups() -> Option<usize> {
    Some(32)
}
fn eps() -> f64 {
    1e-5
}
fn default_shift() -> String {
    "default".into()
}
fn conv() -> String {
    "conv".into()
}

/// The two families of blocks that a network of ours can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// NCSN++ with input and output skips.
    Skip,
    /// DDPM.
    Plain,
}

impl Unet {
    fn read(folder: &Path) -> Result<Unet, InteropError> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|e| InteropError::Unknown(format!("{}: {e}", path.display())))?;
        let unet: Unet = serde_json::from_str(&text)
            .map_err(|e| InteropError::Unknown(format!("{}: {e}", path.display())))?;
        match unet.class_name.as_str() {
            "" | "UNet2DModel" => Ok(unet),
            other => Err(InteropError::Unknown(format!("its network is a {other}; only UNet2DModel can be imported"))),
        }
    }

    /// Which family all blocks are of; a block of neither, or of the other, is refused by name.
    fn form(&self) -> Result<Form, InteropError> {
        let form = if self.time_embedding_type == "fourier" { Form::Skip } else { Form::Plain };
        let known: [&str; 4] = match form {
            Form::Skip => ["SkipDownBlock2D", "AttnSkipDownBlock2D", "SkipUpBlock2D", "AttnSkipUpBlock2D"],
            Form::Plain => ["DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D"],
        };
        let blocks = self.down_block_types.iter().map(|name| (name, &known[..2]));
        for (name, known) in blocks.chain(self.up_block_types.iter().map(|name| (name, &known[2..]))) {
            if !known.contains(&name.as_str()) {
                let family = match form {
                    Form::Skip => "with a Fourier embedding",
                    Form::Plain => "with a positional embedding",
                };
                return Err(InteropError::Unknown(format!(
                    "block {name} cannot be expressed; a network {family} is made of {} and {} here",
                    known[0], known[1]
                )));
            }
        }
        Ok(form)
    }

    /// Refuses every setting that no network of ours has.
    fn check(&self, form: Form) -> Result<(), InteropError> {
        let levels = self.block_out_channels.len();
        let refuse = |what: String| Err(InteropError::Unknown(format!("{what} cannot be expressed")));
        if self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            return refuse("a number of blocks other than that of block_out_channels".into());
        }
        if self.in_channels != self.out_channels {
            return refuse(format!("out_channels {} with in_channels {}", self.out_channels, self.in_channels));
        }
        if !matches!(self.act_fn.as_str(), "silu" | "swish") {
            return refuse(format!("act_fn {}", self.act_fn));
        }
        if self.resnet_time_scale_shift != "default" {
            return refuse(format!("resnet_time_scale_shift {}", self.resnet_time_scale_shift));
        }
        if !self.add_attention {
            return refuse("a middle without attention (add_attention false)".into());
        }
        if let Some(kind) = &self.class_embed_type {
            return refuse(format!("class_embed_type {kind}"));
        }
        if self.num_class_embeds.is_some() {
            return refuse("num_class_embeds".into());
        }
        if (&self.downsample_type[..], &self.upsample_type[..]) != ("conv", "conv") {
            return refuse("downsample_type or upsample_type other than conv".into());
        }
        let width = self.block_out_channels[0];
        if self.time_embedding_dim.is_some_and(|dim| dim != 4 * width) {
            return refuse("time_embedding_dim other than four times the first block's channels".into());
        }
        if self.attention_head_dim.is_some_and(|dim| {
            let attending = self.attending(&self.down_block_types);
            let last = *self.block_out_channels.last().unwrap_or(&width);
            let channels = self.block_out_channels.iter().zip(attending).filter(|(_, a)| *a).map(|(c, _)| *c);
            channels.chain([last]).any(|channels| channels != dim)
        }) {
            return refuse("attention with several heads (attention_head_dim)".into());
        }
        if self.block_out_channels.iter().any(|channels| channels % width != 0) {
            return refuse("block_out_channels that are no multiples of the first".into());
        }
        let scale = if form == Form::Skip { std::f64::consts::SQRT_2 } else { 1.0 };
        if (self.mid_block_scale_factor - scale).abs() > 1e-6 {
            return refuse(format!("mid_block_scale_factor {}", self.mid_block_scale_factor));
        }
        Ok(())
    }

    /// Which blocks have attention.
    fn attending(&self, blocks: &[String]) -> Vec<bool> {
        blocks.iter().map(|name| name.starts_with("Attn")).collect()
    }

    fn size(&self) -> Result<usize, InteropError> {
        let size = match &self.sample_size {
            serde_json::Value::Array(both) if both.len() == 2 && both[0] == both[1] => both[0].as_u64(),
            value => value.as_u64(),
        };
        let wrong = || InteropError::Unknown(format!("sample_size {} cannot be expressed", self.sample_size));
        size.map(|size| size as usize).ok_or_else(wrong)
    }

    /// Image sizes at which some blocks of one way have attention.
    fn resolutions(&self, size: usize, attending: impl Iterator<Item = bool>) -> Vec<usize> {
        attending.enumerate().filter(|(_, a)| *a).map(|(level, _)| size >> level).collect()
    }
}
