//! Conversion of the configurations of `UNet2DModel` and its scheduler from and to this crate's.

use super::python::settings;
use super::scheduler::{Described, Scheduler};
use crate::config::{
    Combine, Config, EmbeddingType, ModelName, Nonlinearity, Prediction, PredictorName, Progressive,
    ProgressiveInput, ResblockType, SdeName,
};
use crate::interop::{InteropError, Note};
use crate::sde::PosteriorVariance;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The keys of `unet/config.json` that matter here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Unet {
    #[serde(rename = "_class_name", default)]
    class_name: String,
    #[serde(default)]
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
    #[serde(default = "middle")]
    mid_block_type: Option<String>,
    up_block_types: Vec<String>,
    block_out_channels: Vec<usize>,
    layers_per_block: usize,
    #[serde(default = "one")]
    mid_block_scale_factor: f64,
    #[serde(default = "one_pad")]
    downsample_padding: usize,
    #[serde(default = "silu")]
    act_fn: String,
    #[serde(default = "head_dim")]
    attention_head_dim: serde_json::Value,
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
    /// Keys of other releases.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn positional() -> String {
    "positional".into()
}
fn middle() -> Option<String> {
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
fn silu() -> String {
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
fn default_shift() -> String {
    "default".into()
}
fn conv() -> String {
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
        let wrong = |e: serde_json::Error| InteropError::Unknown(format!("config.json: {e}"));
        let value = super::python::read("config.json", text)?;
        // Check the class first: another network would fail at a missing key, which says less.
        match value.get("_class_name").and_then(|name| name.as_str()) {
            None | Some("UNet2DModel") => {}
            Some(other) => {
                let text = format!("its network is a {other}; only UNet2DModel can be imported");
                return Err(InteropError::Unknown(text));
            }
        }
        let mut unet: Unet = serde_json::from_value(value).map_err(wrong)?;
        // The blocks' names in the first releases.
        for name in unet.down_block_types.iter_mut().chain(&mut unet.up_block_types) {
            if let Some(rest) = name.strip_prefix("UNetRes") {
                *name = rest.to_string();
            }
        }
        Ok(unet)
    }

    /// Whether sinusoids come with their cosines first.
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
    fn size(&self) -> Result<usize, InteropError> {
        use serde_json::Value;
        let size = match &self.sample_size {
            Value::Null => {
                return Err(InteropError::Unknown(
                    "its sample_size is null: it does not say how large images are; give --set data.image_size=N"
                        .into(),
                ));
            }
            Value::Array(both) if both.len() == 2 && both[0] == both[1] => both[0].as_u64(),
            Value::Array(both) if both.len() == 2 => {
                let text = format!("sample_size {}: images that are not square", self.sample_size);
                return Err(InteropError::Unknown(format!("{text} cannot be expressed")));
            }
            value => value.as_u64(),
        };
        let wrong = || InteropError::Unknown(format!("sample_size {} cannot be expressed", self.sample_size));
        size.map(|size| size as usize).ok_or_else(wrong)
    }

    /// The image sizes of the blocks with attention on one path (encoder or decoder).
    fn resolutions(&self, size: usize, attending: impl Iterator<Item = bool>) -> Vec<usize> {
        attending.enumerate().filter(|(_, attends)| *attends).map(|(level, _)| size >> level).collect()
    }
}

/// The configuration of a model in Hugging Face's layout, with notes for the user. `asked` is the size of its
/// images, if other than its own.
pub(super) fn configuration(
    unet: &Unet,
    scheduler: &Scheduler,
    asked: Option<usize>,
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

/// The `UNet2DModel` configuration of one of this crate's networks.
pub(super) fn unet_of(config: &Config) -> Result<Unet, InteropError> {
    let model = &config.model;
    let refuse = |what: &str| InteropError::Unknown(format!("UNet2DModel has no block for {what}"));
    let skip = match model.name {
        ModelName::Ncsnpp => true,
        ModelName::Ddpm => false,
        _ => return Err(refuse("this network; only ncsnpp and ddpm can be exported")),
    };
    let process = if skip { SdeName::Vesde } else { SdeName::Vpsde };
    let known = match config.prediction() {
        Prediction::Score => skip,
        Prediction::Eps | Prediction::X0 | Prediction::V => !skip,
        Prediction::Edm => false,
    };
    if config.training.sde != process || !known {
        return Err(refuse(
            "this process or prediction; ncsnpp needs vesde and score, ddpm needs vpsde and eps, x0 or v",
        ));
    }
    let levels = model.ch_mult.len();
    let sizes_up = model.attn_resolutions_up.as_ref().unwrap_or(&model.attn_resolutions);
    let attends = |sizes: &[usize], level: usize| sizes.contains(&(config.data.image_size >> level));
    if model.nonlinearity != Nonlinearity::Swish || !model.conditional {
        return Err(refuse("a nonlinearity other than swish, or a network without conditioning"));
    }
    if skip {
        let skips = model.progressive == Progressive::OutputSkip
            && model.progressive_input == ProgressiveInput::InputSkip
            && model.progressive_combine == Combine::Sum;
        let blocks = model.resblock_type == ResblockType::Biggan && model.skip_rescale && model.fir;
        let embedding = model.embedding_type == EmbeddingType::Fourier && model.scale_by_sigma;
        if !(skips && blocks && embedding && model.fir_kernel == [1.0, 3.0, 3.0, 1.0]) {
            return Err(refuse(
                "this network; ncsnpp must have output_skip with input_skip (sum), fir [1, 3, 3, 1], biggan, \
                 skip_rescale, fourier and scale_by_sigma",
            ));
        }
        let own = |level: usize| {
            let channels = model.nf * model.ch_mult[level];
            model.attn_num_groups.unwrap_or((channels / 4).min(32))
        };
        let attended = |level: &usize| attends(&model.attn_resolutions, *level) || attends(sizes_up, *level);
        if (0..levels).filter(attended).any(|level| own(level) != 32) || model.attn_up_each {
            return Err(refuse(
                "attention with a norm of other than 32 groups, or after each block of the decoder path",
            ));
        }
        if model.num_groups.is_some() || config.data.num_channels != 3 {
            return Err(refuse(
                "an explicit number of groups (model.num_groups), or images of other than 3 channels",
            ));
        }
    } else if !model.resamp_with_conv || model.scale_by_sigma {
        return Err(refuse("resampling without a convolution, or division by sigma, in ddpm"));
    } else if model.attn_num_groups.is_some() {
        return Err(refuse("attention with its own number of groups (model.attn_num_groups)"));
    } else if !model.attn_up_each && (0..levels).any(|level| attends(sizes_up, level)) {
        return Err(refuse("attention once per level of the decoder path (model.attn_up_each = false)"));
    }
    let block = |attends: bool, way: &str| {
        format!("{}{}{way}Block2D", if attends { "Attn" } else { "" }, if skip { "Skip" } else { "" })
    };
    Ok(Unet {
        class_name: "UNet2DModel".into(),
        sample_size: json!(config.data.image_size),
        in_channels: config.data.num_channels,
        out_channels: config.data.num_channels,
        center_input_sample: !config.data.centered,
        time_embedding_type: if skip { "fourier".into() } else { positional() },
        freq_shift: if skip { 0.0 } else { model.freq_shift },
        flip_sin_to_cos: skip,
        down_block_types: (0..levels)
            .map(|level| block(attends(&model.attn_resolutions, level), "Down"))
            .collect(),
        mid_block_type: middle(),
        up_block_types: (0..levels).rev().map(|level| block(attends(sizes_up, level), "Up")).collect(),
        block_out_channels: model.ch_mult.iter().map(|mult| model.nf * mult).collect(),
        layers_per_block: model.num_res_blocks,
        mid_block_scale_factor: if skip { std::f64::consts::SQRT_2 } else { 1.0 },
        downsample_padding: if skip { 1 } else { model.downsample_padding },
        act_fn: silu(),
        attention_head_dim: match &model.attn_head_dim[..] {
            [] => json!(null),
            [one] => json!(one),
            all => json!(all),
        },
        norm_num_groups: (!skip).then(|| model.num_groups.unwrap_or(32)),
        attn_norm_num_groups: None,
        norm_eps: model.norm_eps,
        dropout: model.dropout,
        resnet_time_scale_shift: default_shift(),
        add_attention: true,
        class_embed_type: None,
        num_class_embeds: None,
        time_embedding_dim: None,
        downsample_type: conv(),
        upsample_type: conv(),
        rest: Map::new(),
    })
}

/// The scheduler of a configuration, and the pipeline's name.
pub(super) fn scheduler_of(config: &Config) -> (serde_json::Value, &'static str) {
    let model = &config.model;
    let steps = model.num_scales;
    match model.name {
        ModelName::Ncsnpp => {
            let scheduler = json!({
                "_class_name": "ScoreSdeVeScheduler", "num_train_timesteps": steps, "snr": config.sampling.snr,
                "sigma_min": model.sigma_min, "sigma_max": model.sigma_max, "sampling_eps": 1e-5,
                "correct_steps": config.sampling.n_steps_each,
            });
            (scheduler, "ScoreSdeVePipeline")
        }
        _ => {
            let prediction = match config.prediction() {
                Prediction::X0 => "sample",
                Prediction::V => "v_prediction",
                _ => "epsilon",
            };
            // Another sampler leaves them open: diffusers' own.
            let sampling = &config.sampling;
            let ancestral = sampling.predictor == PredictorName::AncestralSampling;
            let large = ancestral && sampling.posterior_variance == PosteriorVariance::Beta;
            let clip = if ancestral { sampling.clip_denoised } else { Some(1.0) };
            let scheduler = json!({
                "_class_name": "DDPMScheduler", "num_train_timesteps": steps, "beta_schedule": model.beta_schedule.to_string(),
                "beta_start": model.beta_min / steps as f64, "beta_end": model.beta_max / steps as f64,
                "prediction_type": prediction,
                "variance_type": if large { "fixed_large" } else { "fixed_small" },
                "clip_sample": clip.is_some(), "clip_sample_range": clip.unwrap_or(1.0),
            });
            (scheduler, "DDPMPipeline")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_networks_are_exported_as_published_and_read_back() {
        let config = |text: &str| Config::from_toml(text, &[]).unwrap();
        let church = config(include_str!("../../../configs/ve/church_ncsnpp_continuous.toml"));
        let unet = unet_of(&church).unwrap();
        let blocks = |ends: [usize; 2], way: &str| {
            let [before, after] = ends.map(|n| vec![format!("Skip{way}Block2D"); n]);
            [before, vec![format!("AttnSkip{way}Block2D")], after].concat()
        };
        assert_eq!(unet.down_block_types, blocks([4, 2], "Down"));
        assert_eq!(unet.up_block_types, blocks([2, 4], "Up"));
        assert_eq!(unet.block_out_channels, [128, 128, 256, 256, 256, 256, 256]);
        assert!(unet.center_input_sample && unet.norm_num_groups.is_none());
        let (scheduler, pipeline) = scheduler_of(&church);
        assert_eq!((scheduler["sigma_max"].as_f64(), pipeline), (Some(380.0), "ScoreSdeVePipeline"));
        let scheduler = Scheduler::parse(&scheduler.to_string()).unwrap();
        let (again, notes) = configuration(&unet, &scheduler, None).unwrap();
        assert_eq!(notes, []);
        assert_eq!((again.model.sigma_max, again.model.num_scales, again.sampling.snr), (380.0, 2000, 0.075));

        // The configurations in `configs/` are the reference's, with attention once per level of the decoder
        // path.
        let cifar = config(include_str!("../../../configs/vp/ddpm/cifar10.toml"));
        assert!(unet_of(&cifar).is_err());
        let model = crate::config::Model { attn_up_each: true, ..cifar.model.clone() };
        let unet = unet_of(&Config { model, ..cifar }).unwrap();
        assert_eq!(unet.down_block_types, ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"]);
        assert_eq!(unet.up_block_types, ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"]);
        assert_eq!((unet.norm_num_groups, unet.downsample_padding, unet.freq_shift), (Some(32), 0, 1.0));
    }
}
