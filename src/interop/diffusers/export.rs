//! The configurations of `UNet2DModel` and its scheduler for this crate's networks.

use super::unet::{Unet, conv, default_shift, middle, positional, silu};
use crate::config::{
    Combine, Config, EmbeddingType, ModelName, Nonlinearity, Prediction, PredictorName, Progressive,
    ProgressiveInput, ResblockType, SdeName,
};
use crate::interop::InteropError;
use crate::sde::PosteriorVariance;
use serde_json::{Map, json};

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
    let attends =
        |sizes: &[usize], level: usize| sizes.contains(&(config.data.image_size.halved(level).height));
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
    use super::super::scheduler::Scheduler;
    use super::super::unet::configuration;
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
