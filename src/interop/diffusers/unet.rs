//! The configuration of `UNet2DModel`, read as one of this crate's networks.

use super::python::settings;
use super::scheduler::{Described, Scheduler};
use crate::config::{Config, ImageSize};
use crate::interop::{InteropError, Note};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The keys of `unet/config.json` that matter here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Unet {
    #[serde(rename = "_class_name", default)]
    pub(super) class_name: String,
    #[serde(default)]
    pub(super) sample_size: serde_json::Value,
    pub(super) in_channels: usize,
    pub(super) out_channels: usize,
    #[serde(default)]
    pub(super) center_input_sample: bool,
    #[serde(default = "positional")]
    pub(super) time_embedding_type: String,
    #[serde(default)]
    pub(super) freq_shift: f64,
    #[serde(default = "yes")]
    pub(super) flip_sin_to_cos: bool,
    pub(super) down_block_types: Vec<String>,
    #[serde(default = "middle")]
    pub(super) mid_block_type: Option<String>,
    pub(super) up_block_types: Vec<String>,
    pub(super) block_out_channels: Vec<usize>,
    pub(super) layers_per_block: usize,
    #[serde(default = "one")]
    pub(super) mid_block_scale_factor: f64,
    #[serde(default = "one_pad")]
    pub(super) downsample_padding: usize,
    #[serde(default = "silu")]
    pub(super) act_fn: String,
    #[serde(default = "head_dim")]
    pub(super) attention_head_dim: serde_json::Value,
    #[serde(default = "groups")]
    pub(super) norm_num_groups: Option<usize>,
    #[serde(default)]
    pub(super) attn_norm_num_groups: Option<usize>,
    #[serde(default = "eps")]
    pub(super) norm_eps: f64,
    #[serde(default)]
    pub(super) dropout: f64,
    #[serde(default = "default_shift")]
    pub(super) resnet_time_scale_shift: String,
    #[serde(default = "yes")]
    pub(super) add_attention: bool,
    #[serde(default)]
    pub(super) class_embed_type: Option<String>,
    #[serde(default)]
    pub(super) num_class_embeds: Option<usize>,
    #[serde(default)]
    pub(super) time_embedding_dim: Option<usize>,
    #[serde(default = "conv")]
    pub(super) downsample_type: String,
    #[serde(default = "conv")]
    pub(super) upsample_type: String,
    /// Keys of other releases.
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

pub(super) fn positional() -> String {
    "positional".into()
}
pub(super) fn middle() -> Option<String> {
    Some("UNetMidBlock2D".into())
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
pub(super) fn silu() -> String {
    "silu".into()
}
fn head_dim() -> serde_json::Value {
    json!(8)
}
fn groups() -> Option<usize> {
    Some(32)
}
fn eps() -> f64 {
    1e-5
}
pub(super) fn default_shift() -> String {
    "default".into()
}
pub(super) fn conv() -> String {
    "conv".into()
}

/// The two families of blocks that this crate's networks support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// NCSN++ with input and output skips.
    Skip,
    /// DDPM.
    Plain,
}

impl Unet {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// If the text is not such a file, or describes another network.
    pub fn parse(text: &str) -> Result<Unet, InteropError> {
        let value = super::python::read("config.json", text)?;
        // Check the class first: another network would fail at a missing key, which says less.
        match value.get("_class_name").and_then(|name| name.as_str()) {
            None | Some("UNet2DModel") => {}
            Some(other) => {
                let text = format!("its network is a {other}; only UNet2DModel can be imported");
                return Err(InteropError::Unknown(text));
            }
        }
        let mut unet: Unet = super::python::typed("config.json", value)?;
        // The blocks' names in the first releases.
        for name in unet.down_block_types.iter_mut().chain(&mut unet.up_block_types) {
            if let Some(rest) = name.strip_prefix("UNetRes") {
                *name = rest.to_string();
            }
        }
        Ok(unet)
    }

    /// Returns true if cosines precede sines in the embedding.
    pub fn flipped(&self) -> bool {
        self.time_embedding_type == "positional" && self.flip_sin_to_cos
    }

    /// The family of all blocks. A block of no family or of the other one is refused by name.
    fn form(&self) -> Result<Form, InteropError> {
        let form = match self.time_embedding_type.as_str() {
            "fourier" => Form::Skip,
            "positional" => Form::Plain,
            other => {
                let text = format!("time_embedding_type {other} cannot be expressed");
                return Err(InteropError::Unknown(text));
            }
        };
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

    /// Refuses every setting without a counterpart in this crate's networks.
    fn check(&self, form: Form) -> Result<(), InteropError> {
        let refuse = |what: String| Err(InteropError::Unknown(format!("{what} cannot be expressed")));
        self.check_channels()?;
        if !matches!(self.act_fn.as_str(), "silu" | "swish") {
            return refuse(format!("act_fn {}", self.act_fn));
        }
        if self.resnet_time_scale_shift != "default" {
            return refuse(format!("resnet_time_scale_shift {}", self.resnet_time_scale_shift));
        }
        match self.mid_block_type.as_deref() {
            Some("UNetMidBlock2D") if self.add_attention => {}
            Some("UNetMidBlock2D") => {
                return refuse("a middle block without attention (add_attention false)".into());
            }
            other => return refuse(format!("mid_block_type {}", other.unwrap_or("null"))),
        }
        if let Some(kind) = &self.class_embed_type {
            return refuse(format!("class_embed_type {kind}"));
        }
        if self.num_class_embeds.is_some() {
            return refuse("num_class_embeds".into());
        }
        for (key, kind) in
            [("downsample_type", &self.downsample_type), ("upsample_type", &self.upsample_type)]
        {
            if kind != "conv" {
                return refuse(format!("{key} {kind}"));
            }
        }
        let scale = if form == Form::Skip { std::f64::consts::SQRT_2 } else { 1.0 };
        if (self.mid_block_scale_factor - scale).abs() > 1e-6 {
            return refuse(format!("mid_block_scale_factor {}", self.mid_block_scale_factor));
        }
        self.check_groups(form)
    }

    fn check_channels(&self) -> Result<(), InteropError> {
        let levels = self.block_out_channels.len();
        let refuse = |what: String| Err(InteropError::Unknown(format!("{what} cannot be expressed")));
        let width = self.block_out_channels.first().copied().unwrap_or_default();
        // The image size is halved from level to level.
        if levels >= usize::BITS as usize || width == 0 {
            return refuse(format!("block_out_channels {:?}", self.block_out_channels));
        }
        if self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            return refuse("a number of blocks other than that of block_out_channels".into());
        }
        if self.in_channels != self.out_channels {
            return refuse(format!(
                "out_channels {} with in_channels {}",
                self.out_channels, self.in_channels
            ));
        }
        if self.time_embedding_dim.is_some_and(|dim| width.checked_mul(4) != Some(dim)) {
            return refuse("time_embedding_dim other than four times the first block's channels".into());
        }
        if self.block_out_channels.iter().any(|channels| *channels == 0 || channels % width != 0) {
            return refuse("block_out_channels that are not multiples of the first".into());
        }
        Ok(())
    }

    /// Skip blocks compute their own number of groups, and `norm_num_groups` applies to the middle and the
    /// output only; `attn_norm_num_groups` applies to the middle's attention only, not to the levels'.
    fn check_groups(&self, form: Form) -> Result<(), InteropError> {
        let refuse = |what: String| Err(InteropError::Unknown(format!("{what} cannot be expressed")));
        let [first, last] = [self.block_out_channels.first(), self.block_out_channels.last()];
        let own = [first, last].map(|channels| channels.map_or(0, |channels| (channels / 4).min(32)));
        let groups = match (form, self.norm_num_groups) {
            (Form::Plain, Some(groups)) => groups,
            (Form::Plain, None) => {
                return refuse("norm_num_groups null with blocks that need it".into());
            }
            (Form::Skip, Some(groups)) if own != [groups; 2] => {
                return refuse(format!(
                    "norm_num_groups {groups} with Skip blocks of another number of groups"
                ));
            }
            (Form::Skip, _) => own[1],
        };
        // The first norms of an AttnSkipUpBlock2D have one group per channel of the features below, at most
        // 32.
        let narrow = |(i, name): (usize, &String)| {
            let below = self.block_out_channels.iter().rev().nth(i.saturating_sub(1));
            name == "AttnSkipUpBlock2D" && below.is_some_and(|channels| *channels < 32)
        };
        if self.up_block_types.iter().enumerate().any(narrow) {
            return refuse("AttnSkipUpBlock2D above a block of fewer than 32 channels".into());
        }
        if let Some(other) = self.attn_norm_num_groups.filter(|other| *other != groups) {
            return refuse(format!("attn_norm_num_groups {other} where other norms have {groups} groups"));
        }
        if form == Form::Skip && self.in_channels != 3 && self.block_out_channels.len() > 1 {
            return refuse(format!("in_channels {} with Skip blocks, which take 3,", self.in_channels));
        }
        Ok(())
    }

    /// The channels of an attention head: none for one head, one number, or one for each level.
    fn head_dims(&self) -> Result<Vec<usize>, InteropError> {
        use serde_json::Value;
        let refuse = |what: String| Err(InteropError::Unknown(format!("{what} cannot be expressed")));
        let given = &self.attention_head_dim;
        let dim = |value: &Value, channels: usize| match value {
            Value::Null => Some(channels),
            value => value.as_u64().map(|dim| dim as usize),
        };
        let widths = &self.block_out_channels;
        let dims = match given {
            Value::Null => return Ok(Vec::new()),
            Value::Array(all) if all.len() != widths.len() => {
                return refuse(format!("attention_head_dim {given} with {} blocks", widths.len()));
            }
            Value::Array(all) => all.iter().zip(widths).map(|(value, width)| dim(value, *width)).collect(),
            value => dim(value, 0).map(|dim| vec![dim]),
        };
        let Some(dims) = dims else { return refuse(format!("attention_head_dim {given}")) };
        let [down, up] = [&self.down_block_types, &self.up_block_types].map(|blocks| self.attending(blocks));
        for (level, width) in widths.iter().enumerate() {
            let attends = down[level] || up[widths.len() - 1 - level] || level + 1 == widths.len();
            let dim = dims.get(level).or(dims.first()).copied().unwrap_or(*width);
            if attends && (dim == 0 || width % dim != 0) {
                return refuse(format!("attention_head_dim {dim}, which does not divide {width} channels,"));
            }
        }
        Ok(dims)
    }

    /// For each block, true if it has attention.
    fn attending(&self, blocks: &[String]) -> Vec<bool> {
        blocks.iter().map(|name| name.starts_with("Attn")).collect()
    }

    /// The size of its images.
    fn size(&self) -> Result<ImageSize, InteropError> {
        use serde_json::Value;
        match &self.sample_size {
            Value::Null => Err(InteropError::Unknown(
                "its sample_size is null: it does not say how large images are; give --set data.image_size=N"
                    .into(),
            )),
            // A number, or [height, width].
            size => serde_json::from_value(size.clone())
                .map_err(|e| InteropError::Unknown(format!("sample_size {size} cannot be expressed ({e})"))),
        }
    }

    /// The image heights of the blocks with attention on one path (encoder or decoder).
    fn resolutions(&self, size: ImageSize, attending: impl Iterator<Item = bool>) -> Vec<usize> {
        attending
            .enumerate()
            .filter(|(_, attends)| *attends)
            .map(|(level, _)| size.halved(level).height)
            .collect()
    }
}

/// The configuration of a model in Hugging Face's layout, with notes for the user. `asked` is the size of its
/// images, if other than its own.
pub(super) fn configuration(
    unet: &Unet,
    scheduler: &Scheduler,
    asked: Option<ImageSize>,
) -> Result<(Config, Vec<Note>), InteropError> {
    let form = unet.form()?;
    unet.check(form)?;
    let skip = form == Form::Skip;
    let Described { sde, continuous, model: process, sampling, mut notes } = scheduler.describe(skip)?;
    let unread = settings(&unet.rest);
    if !unread.is_empty() {
        notes.push(Note::Unread { file: "config.json", settings: unread });
    }
    let size = asked.map_or_else(|| unet.size(), Ok)?;
    let width = unet.block_out_channels[0];
    let attends = unet.attending(&unet.down_block_types);
    let attends_up = unet.attending(&unet.up_block_types);
    let mut model = json!({
        "nf": width,
        "ch_mult": unet.block_out_channels.iter().map(|channels| channels / width).collect::<Vec<_>>(),
        "num_res_blocks": unet.layers_per_block,
        "attn_resolutions": unet.resolutions(size, attends.into_iter()),
        "attn_resolutions_up": unet.resolutions(size, attends_up.into_iter().rev()),
        "attn_head_dim": unet.head_dims()?,
        "norm_eps": unet.norm_eps,
        "dropout": unet.dropout,
        "ema_rate": if skip { 0.999 } else { 0.9999 },
    });
    let map = model.as_object_mut().ok_or_else(|| InteropError::Unknown("no model".into()))?;
    map.extend(process);
    let mut set = |key: &str, value: serde_json::Value| map.insert(key.to_string(), value);
    match form {
        Form::Skip => {
            set("name", json!("ncsnpp"));
            set("fir", json!(true));
            set("progressive", json!("output_skip"));
            set("progressive_input", json!("input_skip"));
            set("embedding_type", json!("fourier"));
            set("scale_by_sigma", json!(true));
            set("attn_num_groups", json!(32));
        }
        Form::Plain => {
            set("name", json!("ddpm"));
            set("num_groups", json!(unet.norm_num_groups));
            set("attn_up_each", json!(true));
            set("downsample_padding", json!(unet.downsample_padding));
            set("freq_shift", json!(unet.freq_shift));
        }
    }
    let all = json!({
        "training": {
            "sde": sde, "continuous": continuous, "batch_size": 64, "n_iters": 1_000_000, "reduce_mean": !skip,
        },
        "sampling": sampling,
        // The network either rescales [0, 1] itself or takes [−1, 1].
        "data": {
            "dataset": "imported", "image_size": size, "num_channels": unet.in_channels,
            "centered": !unet.center_input_sample,
        },
        "model": model,
    });
    let table = toml::Table::try_from(&all).map_err(|e| InteropError::Unknown(e.to_string()))?;
    Ok((Config::from_table(table, &[])?, notes))
}
