//! The architectures behind one name.

use super::conditioning::{Conditioning, Wanted};
use super::layers::Pass;
use super::ncsnpp::Ncsnpp;
use super::parameters::Registry;
use super::score::Label;
use super::wideresnet::WideResNet;
use crate::autodiff::Engine;
use crate::config::{Config, ConfigError, ModelName};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::tensor::Tensor;

/// A network of any architecture.
#[derive(Debug, Clone)]
pub enum Network {
    /// NCSN++ and DDPM++.
    Ncsnpp(Box<Ncsnpp>),
    /// The noise-conditional classifier.
    WideResNet(Box<WideResNet>),
}

impl Network {
    /// The network that a configuration describes, and its parameters.
    ///
    /// # Errors
    /// If channels do not divide into groups.
    pub fn build(config: &Config) -> std::result::Result<(Network, Registry), ConfigError> {
        match config.model.name {
            ModelName::Ncsnpp => {
                let (network, registry) = Ncsnpp::build(config)?;
                Ok((Network::Ncsnpp(Box::new(network)), registry))
            }
            ModelName::WideResNet => {
                let (network, registry) = WideResNet::build(config)?;
                Ok((Network::WideResNet(Box::new(network)), registry))
            }
        }
    }

    fn wanted(&self) -> Wanted<'_> {
        match self {
            Network::Ncsnpp(network) => network.wanted(),
            Network::WideResNet(network) => network.wanted(),
        }
    }

    /// Classes that it may be told, 0 if it is told none.
    pub fn classes(&self) -> usize {
        self.wanted().classes
    }

    /// Classes of its logits, if it is a classifier.
    pub fn logits(&self) -> Option<usize> {
        match self {
            Network::Ncsnpp(_) => None,
            Network::WideResNet(network) => Some(network.classes()),
        }
    }

    /// The frequencies of the time embedding: those given (Fourier features have them in their checkpoint), else those
    /// of sinusoids.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn frequencies(&self, gpu: &Gpu, fourier: Option<&[f32]>) -> Result<Tensor> {
        self.wanted().time.frequencies(gpu, fourier)
    }

    /// Uploads what the network is told of each sample: its label, and its class or none.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn condition(
        &self,
        frequencies: &Tensor,
        labels: &[Label],
        classes: &[Option<usize>],
    ) -> Result<Conditioning> {
        Conditioning::new(&self.wanted(), frequencies, labels, classes)
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
        match self {
            Network::Ncsnpp(network) => network.forward(pass, x, conditioning),
            Network::WideResNet(network) => network.forward(pass, x, conditioning),
        }
    }
}
