//! Checks of the values of `model`, alone and together.

use super::model::{GROUPS, MAX_CLASSES, MAX_TAPS};
use super::{
    ConfigError, Data, EmbeddingType, MAX_CHANNELS, Model, ModelName, ObjectiveName, SdeName, Training,
    count, fits_f32, refuse, within,
};

impl Model {
    pub(super) fn check(&self, training: &Training, data: &Data) -> Result<(), ConfigError> {
        self.check_process()?;
        self.check_schedule(training)?;
        self.check_network(training, data)
    }

    fn check_process(&self) -> Result<(), ConfigError> {
        within("model.sigma_min", self.sigma_min, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        within(
            "model.sigma_max",
            self.sigma_max,
            self.sigma_min.next_up()..f64::INFINITY,
            "a number above model.sigma_min",
        )?;
        within("model.beta_min", self.beta_min, 0.0..f64::INFINITY, "a number from 0 up")?;
        within(
            "model.beta_max",
            self.beta_max,
            self.beta_min.max(f64::MIN_POSITIVE)..f64::INFINITY,
            "a number above 0, and not below model.beta_min",
        )?;
        within("model.ema_rate", self.ema_rate, 0.0..1.0, "a number from 0 to below 1")?;
        within("model.dropout", self.dropout, 0.0..1.0, "a number from 0 to below 1")?;
        within("model.sigma_data", self.sigma_data, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        within("model.init_scale", self.init_scale, 0.0..f64::INFINITY, "a number from 0 up")?;
        within(
            "model.fourier_scale",
            self.fourier_scale,
            f64::MIN_POSITIVE..f64::INFINITY,
            "a number above 0",
        )?;
        if self.num_scales < 2 {
            return Err(refuse(
                "model.num_scales",
                self.num_scales,
                "a discretisation needs at least 2 steps",
            ));
        }
        count("model.num_scales", self.num_scales as u64, 1_000_000)
    }

    /// Every step of a table adds noise, and leaves something of the image.
    fn check_schedule(&self, training: &Training) -> Result<(), ConfigError> {
        let Some(betas) = self.betas() else { return Ok(()) };
        let schedule = self.beta_schedule;
        if training.sde != SdeName::Vpsde {
            let why = "a schedule of β is a chain of vpsde's; leave it out, or set training.sde = vpsde";
            return Err(refuse("model.beta_schedule", schedule.to_string(), why));
        }
        if betas.iter().all(|beta| *beta > 0.0 && *beta < 1.0) {
            return Ok(());
        }
        let (key, beta) = match betas[0] > 0.0 {
            true => ("model.beta_max", self.beta_max),
            false => ("model.beta_min", self.beta_min),
        };
        let most = self.num_scales;
        let why =
            format!("with model.beta_schedule = {schedule} it must be above 0 and below num_scales = {most}");
        Err(refuse(key, beta, why))
    }

    fn check_network(&self, training: &Training, data: &Data) -> Result<(), ConfigError> {
        count("model.nf", self.nf as u64, MAX_CHANNELS)?;
        if let (Some(named), Some(own)) = (&self.normalization, self.name.normalization())
            && named != own
        {
            return Err(refuse("model.normalization", named, format!("this network has {own}")));
        }
        let classifier = training.objective == ObjectiveName::Classifier;
        if self.name != ModelName::Given && (self.name == ModelName::WideResNet) != classifier {
            let why = "the objective classifier and model.name = wideresnet require each other";
            return Err(refuse("training.objective", training.objective.to_string(), why));
        }
        if self.num_classes > MAX_CLASSES {
            let why = format!("labels are bytes, so there are at most {MAX_CLASSES}");
            return Err(refuse("model.num_classes", self.num_classes, why));
        }
        if self.embedding() == EmbeddingType::Fourier && !training.continuous {
            let why =
                "fourier embeds a continuous noise level; set training.continuous = true, or use positional";
            return Err(refuse("model.embedding_type", "fourier", why));
        }
        match self.name {
            // Its own constructor checks it.
            ModelName::Given => Ok(()),
            ModelName::Ncsnpp | ModelName::Ddpm => self.check_unet(data),
            ModelName::WideResNet => self.check_classifier(data),
            ModelName::Mlp => self.check_mlp(data),
            _ => self.check_refinenet(training, data),
        }
    }

    fn check_classifier(&self, data: &Data) -> Result<(), ConfigError> {
        count("model.blocks_per_group", self.blocks_per_group as u64, 1000)?;
        count("model.embedding_size", self.embedding_size as u64, MAX_CHANNELS)?;
        count("model.channel_multiplier", self.channel_multiplier as u64, MAX_CHANNELS)?;
        let widest = (self.nf as u64 * self.channel_multiplier as u64) << (GROUPS - 1);
        count("model.nf times model.channel_multiplier times 4", widest, MAX_CHANNELS)?;
        if self.num_classes < 2 {
            let why = "a classifier needs at least 2 classes";
            return Err(refuse("model.num_classes", self.num_classes, why));
        }
        if self.embedding_type != EmbeddingType::Fourier || !self.conditional {
            let why = "wideresnet is conditioned on the noise level by fourier features, with model.conditional = true";
            return Err(refuse("model.embedding_type", "positional", why));
        }
        if !data.image_size.can_be_halved(GROUPS - 1) {
            let why = format!(
                "wideresnet halves the image {} times, so its height and width must be divisible by {}",
                GROUPS - 1,
                1 << (GROUPS - 1)
            );
            return Err(refuse("data.image_size", data.image_size, why));
        }
        Ok(())
    }

    fn check_class_conditioning(&self) -> Result<(), ConfigError> {
        within("model.label_dropout", self.label_dropout, 0.0..1.0, "a number from 0 to below 1")?;
        if self.num_classes > 0 && !self.conditional {
            let why = "class conditioning needs the conditioning on time; set model.conditional = true, or 0 classes";
            return Err(refuse("model.num_classes", self.num_classes, why));
        }
        Ok(())
    }

    fn check_mlp(&self, data: &Data) -> Result<(), ConfigError> {
        count("model.num_res_blocks", self.num_res_blocks as u64, 1000)?;
        self.check_class_conditioning()?;
        if !self.nf.is_multiple_of(8) {
            let why = "the time embedding of mlp has nf / 4 sinusoids in pairs; choose a multiple of 8";
            return Err(refuse("model.nf", self.nf, why));
        }
        let sinusoids = 0.0..self.nf as f64 / 8.0;
        if self.embedding() == EmbeddingType::Positional && !sinusoids.contains(&self.freq_shift) {
            let why = "with model.embedding_type = positional it must be from 0 to below model.nf / 8";
            return Err(refuse("model.freq_shift", self.freq_shift, why));
        }
        if data.image_size.pixels() != 1 {
            let why =
                "mlp takes points; set it to 1 for data of 1x1, or choose model.name = ncsnpp for images";
            return Err(refuse("data.image_size", data.image_size, why));
        }
        Ok(())
    }

    fn check_unet(&self, data: &Data) -> Result<(), ConfigError> {
        count("model.num_res_blocks", self.num_res_blocks as u64, 1000)?;
        self.check_class_conditioning()?;
        if self.ch_mult.is_empty() || self.ch_mult.contains(&0) {
            return Err(refuse(
                "model.ch_mult",
                &self.ch_mult,
                "it needs one number from 1 up for each level",
            ));
        }
        let widest =
            self.ch_mult.iter().max().map_or(1, |mult| (*mult as u64).saturating_mul(self.nf as u64));
        count("model.nf times model.ch_mult", widest, MAX_CHANNELS)?;
        let halvings = self.ch_mult.len() - 1;
        if !data.image_size.can_be_halved(halvings) {
            let why = format!(
                "model.ch_mult has {} levels, so height and width must be divisible by 2 to the power {halvings}; \
                 change it or the number of levels",
                self.ch_mult.len()
            );
            return Err(refuse("data.image_size", data.image_size, why));
        }
        let heights: Vec<usize> = (0..=halvings).map(|level| data.image_size.halved(level).height).collect();
        let up = self.attn_resolutions_up.as_deref().unwrap_or(&[]);
        for (key, asked) in
            [("model.attn_resolutions", &self.attn_resolutions[..]), ("model.attn_resolutions_up", up)]
        {
            if let Some(size) = asked.iter().find(|size| !heights.contains(size)) {
                let why = format!("no level has images of that height; the levels have {heights:?}");
                return Err(refuse(key, size, why));
            }
        }
        if self.attention_type != "ddpm" {
            return Err(refuse("model.attention_type", &self.attention_type, "only ddpm is supported"));
        }
        within("model.norm_eps", self.norm_eps, f64::MIN_POSITIVE..1.0, "a number above 0 and below 1")?;
        if self.num_groups.is_some_and(|groups| groups == 0) {
            return Err(refuse("model.num_groups", 0, "it must be at least 1"));
        }
        if self.attn_num_groups.is_some_and(|groups| groups == 0) {
            return Err(refuse("model.attn_num_groups", 0, "it must be at least 1"));
        }
        self.check_heads(data)?;
        if self.downsample_padding > 1 {
            let why = "it must be 0 (below and to the right only) or 1 (on every side)";
            return Err(refuse("model.downsample_padding", self.downsample_padding, why));
        }
        within(
            "model.freq_shift",
            self.freq_shift,
            0.0..(self.nf / 2).max(2) as f64,
            "a number from 0 to below nf / 2",
        )?;
        if self.conv_size != 3 {
            return Err(refuse("model.conv_size", self.conv_size, "only 3 is supported"));
        }
        let taps = self.fir_kernel.len();
        let sum: f64 = self.fir_kernel.iter().sum();
        // Taps are divided by their sum, which is rounding error where they cancel.
        let possible = |tap: &f64| fits_f32(*tap) && (tap / sum).abs() < 1e3;
        if !(2..=MAX_TAPS).contains(&taps) || !self.fir_kernel.iter().all(possible) {
            let why = format!("it needs 2 to {MAX_TAPS} numbers that f32 can hold and that do not cancel");
            return Err(refuse("model.fir_kernel", &self.fir_kernel, why));
        }
        Ok(())
    }

    /// Heads divide the channels of the attention in every level that has some, as the deepest always does.
    fn check_heads(&self, data: &Data) -> Result<(), ConfigError> {
        let (dims, levels) = (&self.attn_head_dim, self.ch_mult.len());
        if ![0, 1, levels].contains(&dims.len()) {
            let why = format!("it needs one number, or one for each of the {levels} levels");
            return Err(refuse("model.attn_head_dim", dims, why));
        }
        let up = self.attn_resolutions_up.as_deref().unwrap_or(&self.attn_resolutions);
        for (level, mult) in self.ch_mult.iter().enumerate() {
            let size = data.image_size.halved(level).height;
            let attends = self.attn_resolutions.contains(&size) || up.contains(&size) || level + 1 == levels;
            let Some(dim) = dims.get(level).or(dims.first()).filter(|_| attends) else { continue };
            let channels = self.nf * mult;
            if *dim == 0 || !channels.is_multiple_of(*dim) {
                let why = format!("it must divide the {channels} channels of the attention at size {size}");
                return Err(refuse("model.attn_head_dim", dims, why));
            }
        }
        Ok(())
    }

    fn check_refinenet(&self, training: &Training, data: &Data) -> Result<(), ConfigError> {
        if self.nf < 2 {
            return Err(refuse("model.nf", self.nf, "InstanceNorm++ compares channels and needs at least 2"));
        }
        if self.name == ModelName::Ncsnv2 && data.image_size.longest() > 256 {
            let why =
                "there is no ncsnv2 for images beyond 256 pixels; set model.name = ncsnv2_256 to try that";
            return Err(refuse("data.image_size", data.image_size, why));
        }
        let halvings = self.name.for_images(data.image_size).halvings();
        if !data.image_size.can_be_halved(halvings) {
            let why = format!(
                "this network halves images, so their height and width must be divisible by {}",
                1 << halvings
            );
            return Err(refuse("data.image_size", data.image_size, why));
        }
        if self.num_classes > 0 {
            let why = "this network has no class conditioning; leave it out, or choose ncsnpp";
            return Err(refuse("model.num_classes", self.num_classes, why));
        }
        if self.name == ModelName::Ncsn && training.continuous {
            let why =
                "ncsn is conditioned on the number of the noise level; set it to false, or choose ncsnv2";
            return Err(refuse("training.continuous", true, why));
        }
        Ok(())
    }
}
