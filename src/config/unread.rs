//! Keys that nothing reads with the configured process, objective, network or data set.
//!
//! In `[data]` and `[training]` they are refused. Those of `[model]` are only named: the reference's configurations hold them.
//! `[sampling]` has none: `tweedie sample --sampler` reads the options of samplers other than `sampling.method`, too.

use super::ModelName::{Ddpm, Mlp, Ncsn, Ncsnpp, WideResNet};
use super::ObjectiveName::{Classifier, Edm, FdSsm, Ssm, Vlb};
use super::{
    BuiltIn, Config, ConfigError, Data, EmbeddingType, LearningRate, ModelName, ProgressiveInput,
    ResblockType, SdeName, refuse,
};
use crate::choice::Choice;
use crate::sde::BetaSchedule;
use std::sync::LazyLock;
use toml::{Table, Value};

/// A key that only some configurations read.
pub(super) struct Key {
    /// The key, as `section.key`.
    pub key: &'static str,
    /// The settings that read it.
    readers: &'static str,
    read_by: fn(&Config) -> bool,
}

/// Declares the keys: those of a line share their readers, in words and as a predicate.
macro_rules! keys {
    ($( $($key:literal),+: $readers:literal, $read_by:expr; )+) => {
        &[$($( Key { key: $key, readers: $readers, read_by: $read_by }, )+)+]
    };
}

#[rustfmt::skip]
const KEYS: &[Key] = keys! {
    "data.images", "data.test_images", "data.labels": "data.dataset = idx", |c| c.data.dataset == "idx";
    "data.test_labels": "data.dataset = idx and data.test_images",
        |c| c.data.dataset == "idx" && c.data.test_images.is_some();

    "data.distribution": "data.dataset = toy", |c| c.data.dataset == Data::TOY;
    "data.path", "data.test_path": "a data.dataset of files", |c| of_files(&c.data);
    "data.crop", "data.fit", "data.skip_bad", "data.cache": "a data.dataset of pictures in files",
        |c| of_files(&c.data) && !c.data.is_points();

    "training.projection": "training.objective = ssm or fd_ssm", |c| [Ssm, FdSsm].contains(&c.training.objective);
    "training.fd_eps": "training.objective = fd_ssm", |c| c.training.objective == FdSsm;
    "training.posterior_variance": "training.objective = vlb", |c| c.training.objective == Vlb;
    "training.p_mean", "training.p_std": "training.objective = edm", |c| c.training.objective == Edm;

    "training.snapshot_sampler", "training.snapshot_steps": "training.snapshot_sampling = true",
        |c| c.training.snapshot_sampling;

    "optim.schedule_steps": "optim.schedule = linear or cosine", |c| c.optim.schedule != LearningRate::Constant;

    // The reference divides the noise prediction of its other processes by these levels as well.
    "model.sigma_min", "model.sigma_max": "training.sde = vesde",
        |c| c.training.sde == SdeName::Vesde || c.model.scale_by_sigma;
    "model.beta_min", "model.beta_max":
        "training.sde = vpsde or subvpsde and a model.beta_schedule other than squaredcos_cap_v2",
        |c| c.training.sde != SdeName::Vesde && c.model.beta_schedule != BetaSchedule::Cosine;

    "model.num_res_blocks": "model.name = ncsnpp, ddpm or mlp", |c| named(c, &[Ncsnpp, Ddpm, Mlp]);
    "model.ch_mult", "model.attn_resolutions", "model.attn_resolutions_up",
    "model.attn_up_each", "model.attn_num_groups", "model.attn_head_dim", "model.attention_type",
    "model.downsample_padding", "model.conv_size": "model.name = ncsnpp or ddpm", |c| named(c, &[Ncsnpp, Ddpm]);
    "model.dropout", "model.num_groups", "model.norm_eps":
        "model.name = ncsnpp, ddpm or wideresnet", |c| named(c, &[Ncsnpp, Ddpm, WideResNet]);
    "model.conditional": "model.name = ncsnpp, ddpm, wideresnet or mlp", |c| named(c, &[Ncsnpp, Ddpm, WideResNet, Mlp]);
    "model.skip_rescale", "model.init_scale": "model.name = ncsnpp, wideresnet or mlp",
        |c| named(c, &[Ncsnpp, WideResNet, Mlp]);
    "model.fir", "model.progressive", "model.progressive_input", "model.resblock_type": "model.name = ncsnpp",
        |c| named(c, &[Ncsnpp]);
    "model.fir_kernel": "model.name = ncsnpp and model.fir = true", |c| named(c, &[Ncsnpp]) && c.model.fir;
    "model.progressive_combine": "model.name = ncsnpp and model.progressive_input = input_skip",
        |c| named(c, &[Ncsnpp]) && c.model.progressive_input == ProgressiveInput::InputSkip;
    "model.resamp_with_conv": "model.name = ddpm, or ncsnpp with model.resblock_type = ddpm",
        |c| named(c, &[Ddpm]) || named(c, &[Ncsnpp]) && c.model.resblock_type == ResblockType::Ddpm;
    "model.embedding_type": "model.name = ncsnpp, wideresnet or mlp", |c| named(c, &[Ncsnpp, WideResNet, Mlp]);
    "model.fourier_scale": "model.name = ncsnpp, wideresnet or mlp and model.embedding_type = fourier",
        |c| named(c, &[Ncsnpp, WideResNet, Mlp]) && c.model.embedding() == EmbeddingType::Fourier;
    "model.freq_shift": "model.name = ncsnpp, ddpm or mlp and model.embedding_type = positional",
        |c| named(c, &[Ncsnpp, Ddpm, Mlp]) && c.model.embedding() == EmbeddingType::Positional;
    "model.scale_by_sigma": "a model.name other than ncsn and wideresnet", |c| !named(c, &[Ncsn, WideResNet]);
    "model.label_dropout": "model.num_classes in a network with a score",
        |c| c.model.num_classes > 0 && c.training.objective != Classifier;
    "model.blocks_per_group", "model.channel_multiplier", "model.embedding_size": "model.name = wideresnet",
        |c| named(c, &[WideResNet]);
};

/// Returns true if the images or points are those of a path.
fn of_files(data: &Data) -> bool {
    BuiltIn::named(&data.dataset).is_none() && ![Data::GIVEN, Data::TOY].contains(&&*data.dataset)
}

/// Returns true if the network has one of these names; a network that the program gives may read every key.
fn named(config: &Config, names: &[ModelName]) -> bool {
    config.model.name == ModelName::Given || names.contains(&config.model.name)
}

impl Key {
    fn section_and_name(&self) -> (&str, &str) {
        self.key.split_once('.').unwrap_or(("", self.key))
    }

    fn value<'a>(&self, table: &'a Table) -> Option<&'a Value> {
        let (section, name) = self.section_and_name();
        table.get(section)?.get(name)
    }

    /// Returns true if it is a key of `[model]`.
    pub fn is_of_model(&self) -> bool {
        self.section_and_name().0 == "model"
    }

    /// The refusal of its value in a configuration.
    pub fn refuse(&self, config: &Config) -> ConfigError {
        let value = self.value(&config.to_table()).map(Value::to_string).unwrap_or_default();
        let value = value.trim_matches('"');
        let why = format!("nothing reads it without {}; set that, or leave the key out", self.readers);
        refuse(self.key, value, why)
    }
}

/// The keys of a configuration that nothing reads and that differ from their defaults, those of a file and those of
/// [`Config::default`]: a default is no choice, as a written configuration has every key.
pub(super) fn keys(config: &Config) -> Vec<&'static Key> {
    static DEFAULTS: LazyLock<[Table; 2]> = LazyLock::new(|| {
        let default = Config::default();
        let of_files = without(&default, KEYS.iter()).expect("each of these keys has a default");
        [default.to_table(), of_files.to_table()]
    });
    let own = config.to_table();
    let chosen = |key: &&Key| DEFAULTS.iter().all(|default| key.value(&own) != key.value(default));
    KEYS.iter().filter(|key| !(key.read_by)(config)).filter(chosen).collect()
}

/// The same configuration with the defaults of these keys.
pub(super) fn without<'a>(
    config: &Config,
    keys: impl IntoIterator<Item = &'a Key>,
) -> Result<Config, ConfigError> {
    let mut table = config.to_table();
    for key in keys {
        let (section, name) = key.section_and_name();
        if let Some(section) = table.get_mut(section).and_then(Value::as_table_mut) {
            section.remove(name);
        }
    }
    super::read::read("", table.into())
}
