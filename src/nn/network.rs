//! The networks by name, and what is the same for all of them: the range of the input and the scale of the output.

use super::conditioning::Conditioning;
use super::layers::Pass;
use super::ncsnpp::Ncsnpp;
use super::parameters::Registry;
use super::preconditioning::Label;
use super::refinenet::RefineNet;
use super::wideresnet::WideResNet;
use crate::autodiff::Engine;
use crate::config::{Config, ConfigError, ModelName};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::tensor::{Shape, Tensor};

/// A network. [`Network::build`] registers its parameters; [`Network::forward`] runs it on any engine.
#[derive(Debug, Clone)]
pub struct Network {
    architecture: Architecture,
    channels: usize,
    centered: bool,
    scale_by_sigma: bool,
}

/// The architectures.
#[derive(Debug, Clone)]
enum Architecture {
    /// NCSN++, DDPM++ and DDPM.
    Ncsnpp(Box<Ncsnpp>),
    /// NCSN and NCSNv2.
    RefineNet(Box<RefineNet>),
    /// The noise-conditional classifier.
    WideResNet(Box<WideResNet>),
}

impl Network {
    /// The network that a configuration describes, and its parameters.
    ///
    /// # Errors
    /// If channels do not divide into groups.
    pub fn build(config: &Config) -> std::result::Result<(Network, Registry), ConfigError> {
        let (architecture, registry, scale_by_sigma) = match config.model.name {
            ModelName::Ncsnpp | ModelName::Ddpm => {
                let (network, registry) = Ncsnpp::build(config)?;
                (Architecture::Ncsnpp(Box::new(network)), registry, config.model.scale_by_sigma)
            }
            ModelName::WideResNet => {
                let (network, registry) = WideResNet::build(config)?;
                (Architecture::WideResNet(Box::new(network)), registry, false)
            }
            name => {
                let (network, registry) = RefineNet::build(config);
                (Architecture::RefineNet(Box::new(network)), registry, name != ModelName::Ncsn)
            }
        };
        let (channels, centered) = (config.data.num_channels, config.data.centered);
        Ok((Network { architecture, channels, centered, scale_by_sigma }, registry))
    }

    /// Channels of the images it takes, and gives if it is no classifier.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Classes that it may be told, 0 if it is told none.
    pub fn classes(&self) -> usize {
        match &self.architecture {
            Architecture::Ncsnpp(network) => network.classes(),
            Architecture::RefineNet(_) | Architecture::WideResNet(_) => 0,
        }
    }

    /// Classes of its logits, if it is a classifier.
    pub fn logits(&self) -> Option<usize> {
        match &self.architecture {
            Architecture::WideResNet(network) => Some(network.classes()),
            Architecture::Ncsnpp(_) | Architecture::RefineNet(_) => None,
        }
    }

    /// The frequencies of the time embedding: those given (Fourier features have them in their checkpoint), else those
    /// of sinusoids; a single 0 without an embedding.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn frequencies(&self, gpu: &Gpu, fourier: Option<&[f32]>) -> Result<Tensor> {
        match &self.architecture {
            Architecture::Ncsnpp(network) => network.time().frequencies(gpu, fourier),
            Architecture::WideResNet(network) => network.time().frequencies(gpu, fourier),
            Architecture::RefineNet(_) => Ok(Tensor::zeros(gpu, Shape::vector(1))?),
        }
    }

    /// Uploads what the network is told of each sample: its label, the factors of input and output, and its class or none.
    ///
    /// # Errors
    /// If the device refuses.
    pub(crate) fn condition(
        &self,
        frequencies: &Tensor,
        labels: &[Label],
        classes: &[Option<usize>],
    ) -> Result<Conditioning> {
        let told = match &self.architecture {
            Architecture::Ncsnpp(network) => network.time().told(labels),
            Architecture::WideResNet(network) => network.time().told(labels),
            Architecture::RefineNet(network) => network.told(labels),
        };
        let conditioning = Conditioning::new(frequencies, told, labels, self.scale_by_sigma)?;
        match self.classes() {
            0 => Ok(conditioning),
            count => conditioning.with_classes(classes, count),
        }
    }

    /// The network's output for `x` `[n, h, w, c]` in the data's range: an image, or a classifier's logits `[n, 1, 1, k]`.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: &E::Value,
        conditioning: &Conditioning,
    ) -> Result<E::Value> {
        let x = match &conditioning.input {
            Some(factors) => pass.engine.scale_samples(x, factors)?,
            None => x.clone(),
        };
        let x = match self.centered {
            true => x,
            false => pass.engine.affine(&x, 2.0, -1.0)?,
        };
        let h = match &self.architecture {
            Architecture::Ncsnpp(network) => network.forward(pass, x, conditioning)?,
            Architecture::RefineNet(network) => network.forward(pass, x, conditioning)?,
            Architecture::WideResNet(network) => network.forward(pass, x, conditioning)?,
        };
        match &conditioning.inverse_sigma {
            Some(inverse) => pass.engine.scale_samples(&h, inverse),
            None => Ok(h),
        }
    }
}
