//! The networks by name, and what is the same for all of them: the range of the input and the scale of the output.

use super::layers::Pass;
use super::ncsnpp::Ncsnpp;
use super::parameters::Registry;
use super::score::Label;
use crate::autodiff::Engine;
use crate::config::{Config, ConfigError};
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
}

/// What a network is told of each sample's time.
#[derive(Clone)]
pub struct Conditioning {
    /// What the architecture reads of the label, `[n, 1, 1, ..]`.
    pub(super) told: Tensor,
    /// Frequencies of the embedding.
    pub(super) frequencies: Tensor,
    /// Factors of the input `[n, 1, 1, 1]`, if it is scaled.
    input: Option<Tensor>,
    /// 1 / σ `[n, 1, 1, 1]`, if the output is divided by it.
    inverse_sigma: Option<Tensor>,
}

impl Network {
    /// The network that a configuration describes, and its parameters.
    ///
    /// # Errors
    /// If channels do not divide into groups.
    pub fn build(config: &Config) -> std::result::Result<(Network, Registry), ConfigError> {
        let (ncsnpp, registry) = Ncsnpp::build(config)?;
        let network = Network {
            architecture: Architecture::Ncsnpp(Box::new(ncsnpp)),
            channels: config.data.num_channels,
            centered: config.data.centered,
            scale_by_sigma: config.model.scale_by_sigma,
        };
        Ok((network, registry))
    }

    /// Channels of the images it takes and gives.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The frequencies of the time embedding: those given (Fourier features have them in their checkpoint), else those
    /// of sinusoids.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn frequencies(&self, gpu: &Gpu, fourier: Option<&[f32]>) -> Result<Tensor> {
        match &self.architecture {
            Architecture::Ncsnpp(network) => network.frequencies(gpu, fourier),
        }
    }

    /// Uploads what the network is told of each sample's time: its label, and the factors of input and output.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn condition(&self, gpu: &Gpu, frequencies: &Tensor, labels: &[Label]) -> Result<Conditioning> {
        let rows = |values: Vec<f32>| {
            Tensor::from_slice(gpu, Shape::new(labels.len(), 1, 1, values.len() / labels.len()), &values)
        };
        let inverse = || rows(labels.iter().map(|label| (1.0 / label.sigma) as f32).collect());
        let inverse_sigma = self.scale_by_sigma.then(inverse).transpose()?;
        let scaled = labels.iter().any(|label| label.input != 1.0);
        let input = || rows(labels.iter().map(|label| label.input as f32).collect());
        let input = scaled.then(input).transpose()?;
        let told = match &self.architecture {
            Architecture::Ncsnpp(network) => network.told(labels),
        };
        Ok(Conditioning { told: rows(told)?, frequencies: frequencies.clone(), input, inverse_sigma })
    }

    /// The network's output for `x` `[n, h, w, c]` in the data's range.
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
        };
        match &conditioning.inverse_sigma {
            Some(inverse) => pass.engine.scale_samples(&h, inverse),
            None => Ok(h),
        }
    }
}
