//! NCSN++ and DDPM++ (Song 2021, appendix H): one U-Net with the options of the reference's `ncsnpp`; some
//! values of them give its `ddpm` (Ho 2020). Parameters are numbered as in the reference's `all_modules`, so
//! that its checkpoints can be read by name.

use super::blocks::{Attention, ResBlock, Resample, Resampler};
use super::conditioning::{Classes, Conditioning, TimeEmbedding};
use super::layers::{Conv, Norm, Pass, Style};
use super::network::Architecture;
use super::parameters::Registry;
use crate::autodiff::Engine;
use crate::config::{
    Combine, Config, ConfigError, Model, ModelName, Progressive, ProgressiveInput, ResblockType,
};
use crate::kernels::Result;

type Built<T> = std::result::Result<T, ConfigError>;

/// The network. [`Ncsnpp::build`] registers its parameters.
#[derive(Debug, Clone)]
pub struct Ncsnpp {
    time: TimeEmbedding,
    /// The embedding of classes, in a class-conditional network.
    classes: Option<Classes>,
    conv_in: Conv,
    down: Vec<DownLevel>,
    middle: (ResBlock, Attention, ResBlock),
    up: Vec<UpLevel>,
    /// Normalisation and convolution of the output; none if the output is a pyramid of images.
    end: Option<(Norm, Conv)>,
    progressive: Progressive,
    skip: f32,
}

#[derive(Debug, Clone)]
struct DownLevel {
    blocks: Vec<(ResBlock, Option<Attention>)>,
    /// Absent in the last level.
    down: Option<Down>,
}

#[derive(Debug, Clone)]
struct Down {
    step: Step,
    pyramid: InputPyramid,
}

/// From one level to the next.
#[derive(Debug, Clone)]
enum Step {
    Block(Box<ResBlock>),
    Plain(Resampler),
}

#[derive(Debug, Clone)]
enum InputPyramid {
    None,
    /// Downsamples the image and joins a 1 × 1 convolution of it to the features.
    Skip {
        down: Resampler,
        conv: Conv,
        combine: Combine,
    },
    /// Downsamples the features of the pyramid and adds those of the level.
    Residual {
        down: Resampler,
    },
}

#[derive(Debug, Clone)]
struct UpLevel {
    blocks: Vec<(ResBlock, Option<Attention>)>,
    pyramid: OutputPyramid,
    /// Absent in the last level.
    up: Option<Step>,
}

#[derive(Debug, Clone)]
enum OutputPyramid {
    None,
    /// Starts the pyramid with features (`residual`) or an image (`output_skip`).
    Start {
        norm: Norm,
        conv: Conv,
    },
    /// Adds an image of the level to the upsampled image.
    Skip {
        up: Resampler,
        norm: Norm,
        conv: Conv,
    },
    /// Upsamples the features of the pyramid and adds those of the level.
    Residual {
        up: Resampler,
    },
}

/// Builds the network module by module.
struct Builder<'a> {
    config: &'a Config,
    style: Style,
    registry: Registry,
    modules: usize,
}

impl Builder<'_> {
    /// The name of the next module.
    fn module(&mut self) -> String {
        self.modules += 1;
        format!("all_modules.{}", self.modules - 1)
    }

    fn block(&mut self, c_in: usize, c_out: usize, resample: Resample) -> Built<ResBlock> {
        self.block_of_groups([c_in, c_out], resample, None)
    }

    fn block_of_groups(
        &mut self,
        channels: [usize; 2],
        resample: Resample,
        groups: Option<usize>,
    ) -> Built<ResBlock> {
        let name = self.module();
        ResBlock::of_groups(&mut self.registry, &name, channels, resample, groups, &self.style)
    }

    fn attention(&mut self, level: usize, channels: usize, groups: Option<usize>) -> Built<Attention> {
        let name = self.module();
        let attention = Attention::of_groups(&mut self.registry, &name, channels, groups, &self.style)?;
        Ok(attention.with_heads(self.config.model.heads(level)))
    }

    /// Attention in a level whose images have one of these heights.
    fn attention_at(&mut self, level: usize, sizes: &[usize], channels: usize) -> Built<Option<Attention>> {
        let wanted = sizes.contains(&(self.config.data.image_size.halved(level).height));
        wanted.then(|| self.attention(level, channels, self.config.model.attn_num_groups)).transpose()
    }

    fn norm(&mut self, channels: usize) -> Built<Norm> {
        let name = self.module();
        Norm::new(&mut self.registry, &name, channels, &self.style, self.style.act)
    }

    fn conv(&mut self, c_in: usize, c_out: usize, scale: f64) -> Conv {
        let name = self.module();
        Conv::three(&mut self.registry, &name, c_in, c_out, scale)
    }

    fn resampler_with_conv(&mut self, c_in: usize, c_out: usize, up: bool) -> Resampler {
        let name = self.module();
        Resampler::with_conv(&mut self.registry, &name, [c_in, c_out], up, &self.style)
    }

    /// DDPM's resampling between levels, a block that resamples for BigGAN.
    fn step(&mut self, channels: usize, up: bool) -> Built<Step> {
        match self.style.block {
            ResblockType::Biggan => {
                let resample = if up { Resample::Up } else { Resample::Down };
                Ok(Step::Block(Box::new(self.block(channels, channels, resample)?)))
            }
            ResblockType::Ddpm if self.config.model.resamp_with_conv => {
                Ok(Step::Plain(self.resampler_with_conv(channels, channels, up)))
            }
            ResblockType::Ddpm => {
                self.module();
                Ok(Step::Plain(Resampler::plain(up, &self.style)))
            }
        }
    }

    fn time(&mut self) -> TimeEmbedding {
        let (model, modules) = (&self.config.model, &mut self.modules);
        let name = || {
            *modules += 1;
            format!("all_modules.{}", *modules - 1)
        };
        TimeEmbedding::new(&mut self.registry, name, model, model.nf, self.style.act)
    }

    /// The encoder, and the channels of its feature maps for the skip connections.
    fn down(&mut self) -> Built<(Vec<DownLevel>, Vec<usize>)> {
        let model = &self.config.model;
        let mut channels = model.nf;
        let mut pyramid_channels = self.config.data.num_channels;
        let mut skips = vec![channels];
        let mut levels = Vec::new();
        for (level, mult) in model.ch_mult.iter().enumerate() {
            let mut blocks = Vec::new();
            for _ in 0..model.num_res_blocks {
                let block = self.block(channels, model.nf * mult, Resample::Keep)?;
                channels = model.nf * mult;
                blocks.push((block, self.attention_at(level, &model.attn_resolutions, channels)?));
                skips.push(channels);
            }
            let mut down = None;
            if level + 1 < model.ch_mult.len() {
                let step = self.step(channels, false)?;
                let pyramid = match model.progressive_input {
                    ProgressiveInput::None => InputPyramid::None,
                    ProgressiveInput::InputSkip => {
                        let name = format!("{}.Conv_0", self.module());
                        let conv = Conv::one(&mut self.registry, &name, pyramid_channels, channels);
                        let combine = model.progressive_combine;
                        if combine == Combine::Cat {
                            channels *= 2;
                        }
                        InputPyramid::Skip { down: Resampler::plain(false, &self.style), conv, combine }
                    }
                    ProgressiveInput::Residual => {
                        let down = self.resampler_with_conv(pyramid_channels, channels, false);
                        pyramid_channels = channels;
                        InputPyramid::Residual { down }
                    }
                };
                down = Some(Down { step, pyramid });
                skips.push(channels);
            }
            levels.push(DownLevel { blocks, down });
        }
        Ok((levels, skips))
    }

    /// The decoder, and the channels of its output.
    fn up(&mut self, mut skips: Vec<usize>) -> Built<(Vec<UpLevel>, usize)> {
        let model = &self.config.model;
        let mut channels = *skips.last().unwrap_or(&model.nf);
        let mut pyramid_channels = 0;
        let mut levels = Vec::new();
        for (level, mult) in model.ch_mult.iter().enumerate().rev() {
            let mut blocks = Vec::new();
            let sizes = model.attn_resolutions_up.as_ref().unwrap_or(&model.attn_resolutions);
            let attending = sizes.contains(&(self.config.data.image_size.halved(level).height));
            let groups = model.attn_num_groups.filter(|_| attending);
            for i in 0..=model.num_res_blocks {
                let skip = skips.pop().unwrap_or_default();
                let widths = [channels + skip, model.nf * mult];
                let block = self.block_of_groups(widths, Resample::Keep, groups)?;
                channels = model.nf * mult;
                let attends = model.attn_up_each || i == model.num_res_blocks;
                let attention = if attends { self.attention_at(level, sizes, channels)? } else { None };
                blocks.push((block, attention));
            }
            let first = level + 1 == model.ch_mult.len();
            let pyramid = self.output_pyramid(first, channels, &mut pyramid_channels)?;
            let up = (level > 0).then(|| self.step(channels, true)).transpose()?;
            levels.push(UpLevel { blocks, pyramid, up });
        }
        Ok((levels, channels))
    }

    fn output_pyramid(&mut self, first: bool, channels: usize, pyramid: &mut usize) -> Built<OutputPyramid> {
        let image = self.config.data.num_channels;
        let init_scale = self.style.init_scale;
        let made = match (self.config.model.progressive, first) {
            (Progressive::None, _) => return Ok(OutputPyramid::None),
            (Progressive::OutputSkip, true) => OutputPyramid::Start {
                norm: self.norm(channels)?,
                conv: self.conv(channels, image, init_scale),
            },
            (Progressive::OutputSkip, false) => {
                let up = Resampler::plain(true, &self.style);
                OutputPyramid::Skip {
                    up,
                    norm: self.norm(channels)?,
                    conv: self.conv(channels, image, init_scale),
                }
            }
            (Progressive::Residual, true) => {
                OutputPyramid::Start { norm: self.norm(channels)?, conv: self.conv(channels, channels, 1.0) }
            }
            (Progressive::Residual, false) => {
                OutputPyramid::Residual { up: self.resampler_with_conv(*pyramid, channels, true) }
            }
        };
        *pyramid = channels;
        Ok(made)
    }
}

impl Ncsnpp {
    /// The network that a configuration describes, and its parameters.
    ///
    /// # Errors
    /// If channels do not divide into groups.
    pub fn build(config: &Config) -> Built<(Ncsnpp, Registry)> {
        match config.model.name {
            ModelName::Ddpm => Self::with(&Config { model: plain(&config.model), ..config.clone() }),
            _ => Self::with(config),
        }
    }

    fn with(config: &Config) -> Built<(Ncsnpp, Registry)> {
        let style = Style::new(&config.model);
        let mut b = Builder { config, style, registry: Registry::default(), modules: 0 };
        let channels = config.data.num_channels;
        let time = b.time();
        let conv_in = b.conv(channels, config.model.nf, 1.0);
        let (down, skips) = b.down()?;
        let deepest = *skips.last().unwrap_or(&config.model.nf);
        let middle = (
            b.block(deepest, deepest, Resample::Keep)?,
            b.attention(config.model.ch_mult.len() - 1, deepest, None)?,
            b.block(deepest, deepest, Resample::Keep)?,
        );
        let (up, last) = b.up(skips)?;
        let progressive = config.model.progressive;
        let end = match progressive {
            Progressive::OutputSkip => None,
            _ => Some((b.norm(last)?, b.conv(last, channels, b.style.init_scale))),
        };
        // Last, so that the reference's parameters keep their numbers.
        let count = config.model.num_classes;
        let classes = (count > 0).then(|| Classes::new(&mut b.registry, count, b.style.time_features));
        let skip = b.style.skip;
        Ok((Ncsnpp { time, classes, conv_in, down, middle, up, end, progressive, skip }, b.registry))
    }

    /// The encoder: the feature maps for the skip connections.
    fn descend<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: E::Value,
        time: Option<&E::Value>,
    ) -> Result<Vec<E::Value>> {
        let mut h = self.conv_in.forward(pass, &x)?;
        let mut skips = vec![h.clone()];
        let mut pyramid = x;
        for level in &self.down {
            for (block, attention) in &level.blocks {
                h = block.forward(pass, &h, time)?;
                if let Some(attention) = attention {
                    h = attention.forward(pass, &h)?;
                }
                skips.push(h.clone());
            }
            let Some(Down { step, pyramid: input }) = &level.down else { continue };
            h = step.forward(pass, &h, time)?;
            match input {
                InputPyramid::None => {}
                InputPyramid::Skip { down, conv, combine } => {
                    pyramid = down.forward(pass, &pyramid)?;
                    let image = conv.forward(pass, &pyramid)?;
                    h = match combine {
                        Combine::Cat => pass.engine.concat(&image, &h)?,
                        Combine::Sum => pass.engine.blend(&image, 1.0, &h, 1.0)?,
                    };
                }
                InputPyramid::Residual { down } => {
                    pyramid = down.forward(pass, &pyramid)?;
                    pyramid = pass.engine.blend(&pyramid, self.skip, &h, self.skip)?;
                    h = pyramid.clone();
                }
            }
            skips.push(h.clone());
        }
        Ok(skips)
    }

    /// The decoder: features, or the image if the output is a pyramid of images.
    fn ascend<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        mut h: E::Value,
        skips: &mut Vec<E::Value>,
        time: Option<&E::Value>,
    ) -> Result<E::Value> {
        let mut pyramid: Option<E::Value> = None;
        for level in &self.up {
            for (block, attention) in &level.blocks {
                let skip = skips.pop().expect("a feature map for each block of the decoder");
                h = pass.engine.concat(&h, &skip)?;
                drop(skip);
                h = block.forward(pass, &h, time)?;
                if let Some(attention) = attention {
                    h = attention.forward(pass, &h)?;
                }
            }
            pyramid = match (&level.pyramid, pyramid) {
                (OutputPyramid::None, _) => None,
                (OutputPyramid::Start { norm, conv }, _) => {
                    let active = norm.forward(pass, &h)?;
                    Some(conv.forward(pass, &active)?)
                }
                (OutputPyramid::Skip { up, norm, conv }, below) => {
                    let active = norm.forward(pass, &h)?;
                    let image = conv.forward(pass, &active)?;
                    match below {
                        Some(below) => {
                            let below = up.forward(pass, &below)?;
                            Some(pass.engine.blend(&below, 1.0, &image, 1.0)?)
                        }
                        None => Some(image),
                    }
                }
                (OutputPyramid::Residual { up }, below) => {
                    if let Some(below) = below {
                        let below = up.forward(pass, &below)?;
                        h = pass.engine.blend(&below, self.skip, &h, self.skip)?;
                    }
                    Some(h.clone())
                }
            };
            if let Some(step) = &level.up {
                h = step.forward(pass, &h, time)?;
            }
        }
        Ok(match (self.progressive, pyramid) {
            (Progressive::OutputSkip, Some(image)) => image,
            _ => h,
        })
    }
}

impl Architecture for Ncsnpp {
    fn name(&self) -> &str {
        "ncsnpp"
    }

    fn time(&self) -> Option<&TimeEmbedding> {
        Some(&self.time)
    }

    fn classes(&self) -> usize {
        self.classes.as_ref().map_or(0, |classes| classes.count)
    }

    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: E::Value,
        conditioning: &Conditioning,
    ) -> Result<E::Value> {
        let mut time = self.time.forward(pass, conditioning)?;
        if let (Some(classes), Some(embedded)) = (&self.classes, &time) {
            time = Some(classes.forward(pass, embedded, conditioning)?);
        }
        let time = time.as_ref();
        let mut skips = self.descend(pass, x, time)?;
        let (first, attention, second) = &self.middle;
        // The last feature map has two uses: the middle block, and the first skip connection.
        let mut h = skips.last().expect("the encoder has at least one feature map").clone();
        h = first.forward(pass, &h, time)?;
        h = attention.forward(pass, &h)?;
        h = second.forward(pass, &h, time)?;
        h = self.ascend(pass, h, &mut skips, time)?;
        if let Some((norm, conv)) = &self.end {
            h = norm.forward(pass, &h)?;
            h = conv.forward(pass, &h)?;
        }
        Ok(h)
    }
}

impl Step {
    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: &E::Value,
        time: Option<&E::Value>,
    ) -> Result<E::Value> {
        match self {
            Step::Block(block) => block.forward(pass, x, time),
            Step::Plain(resampler) => resampler.forward(pass, x),
        }
    }
}

/// The options of DDPM's U-Net: its residual blocks, plain resampling, and sums that are not divided by √2.
fn plain(model: &Model) -> Model {
    Model {
        resblock_type: ResblockType::Ddpm,
        fir: false,
        skip_rescale: false,
        progressive: Progressive::None,
        progressive_input: ProgressiveInput::None,
        init_scale: 0.0,
        ..model.clone()
    }
}
