//! Networks: an architecture, with the range of its input and the scale of its output, which all
//! architectures share.

use super::conditioning::{Conditioning, TimeEmbedding};
use super::layers::Pass;
use super::mlp::Mlp;
use super::ncsnpp::Ncsnpp;
use super::parameters::Registry;
use super::preconditioning::Label;
use super::refinenet::RefineNet;
use super::wideresnet::WideResNet;
use crate::autodiff::Engine;
use crate::config::{Config, ConfigError, Data, ImageSize, ModelName, refuse};
use crate::gpu::Gpu;
use crate::kernels::{Result, check};
use crate::tensor::{Shape, Tensor};

/// A network's layers and how they are applied, written once for every [`Engine`]: evaluation, gradients and
/// directional derivatives follow. It holds no values; those are in [`Parameters`](super::Parameters).
pub trait Architecture: Clone + 'static {
    /// The name that checkpoints record.
    fn name(&self) -> &str;

    /// The output for images `x` `[n, h, w, c]` in [−1, 1]: images of that shape, or a classifier's logits
    /// `[n, 1, 1, k]`.
    ///
    /// # Errors
    /// If shapes do not fit, or the device fails.
    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: E::Value,
        conditioning: &Conditioning,
    ) -> Result<E::Value>;

    /// The embedding of the noise level, if `forward` uses one.
    fn time(&self) -> Option<&TimeEmbedding> {
        None
    }

    /// Rows of one length for the conditioning values (σ, or a label of the time), which `forward` finds as
    /// [`Conditioning::noise`]. By default the inputs of the embedding or, without one, the values
    /// themselves.
    fn inputs(&self, values: &[f64]) -> Vec<f32> {
        match self.time() {
            Some(time) => time.inputs(values),
            None => values.iter().map(|value| *value as f32).collect(),
        }
    }

    /// Number of classes that it can be conditioned on; 0 without class conditioning.
    fn classes(&self) -> usize {
        0
    }

    /// Number of its logits, if it is a classifier.
    fn logits(&self) -> Option<usize> {
        None
    }
}

/// An architecture that takes images in the data's range and gives outputs in the score's.
#[derive(Debug, Clone)]
pub struct Network<A = BuiltIn> {
    architecture: A,
    size: ImageSize,
    channels: usize,
    centered: bool,
    scale_by_sigma: bool,
}

/// The architectures that a configuration can name.
#[derive(Debug, Clone)]
pub enum BuiltIn {
    /// NCSN++, DDPM++ and DDPM.
    Ncsnpp(Box<Ncsnpp>),
    /// NCSN and NCSNv2.
    RefineNet(Box<RefineNet>),
    /// The noise-conditional classifier.
    WideResNet(Box<WideResNet>),
    /// The network for points.
    Mlp(Box<Mlp>),
}

impl Network {
    /// The network that a configuration describes, and its parameters.
    ///
    /// # Errors
    /// If channels do not divide into groups, or the configuration is of a network that a program gives.
    pub fn build(config: &Config) -> std::result::Result<(Network, Registry), ConfigError> {
        let (architecture, registry, scale_by_sigma) = match config.model.name {
            ModelName::Ncsnpp | ModelName::Ddpm => {
                let (network, registry) = Ncsnpp::build(config)?;
                (BuiltIn::Ncsnpp(Box::new(network)), registry, config.model.scale_by_sigma)
            }
            ModelName::WideResNet => {
                let (network, registry) = WideResNet::build(config)?;
                (BuiltIn::WideResNet(Box::new(network)), registry, false)
            }
            ModelName::Mlp => {
                let (network, registry) = Mlp::build(config);
                (BuiltIn::Mlp(Box::new(network)), registry, config.model.scale_by_sigma)
            }
            ModelName::Given => {
                let why =
                    "only the program that trained this network can build it; it calls Checkpoint::scorer_of";
                return Err(refuse("model.name", "given", why));
            }
            name => {
                let (network, registry) = RefineNet::build(config);
                (BuiltIn::RefineNet(Box::new(network)), registry, name != ModelName::Ncsn)
            }
        };
        // Points are not shifted: they have no range.
        let centered = config.data.centered || config.model.name == ModelName::Mlp;
        let data = Data { centered, ..config.data.clone() };
        Ok((Network::new(architecture, &data, scale_by_sigma), registry))
    }
}

impl<A: Architecture> Network<A> {
    /// An architecture for images as `data` describes them, whose output is divided by σ if `scale_by_sigma`
    /// is set.
    pub fn new(architecture: A, data: &Data, scale_by_sigma: bool) -> Network<A> {
        let Data { image_size: size, num_channels: channels, centered, .. } = *data;
        Network { architecture, size, channels, centered, scale_by_sigma }
    }

    /// The architecture.
    pub fn architecture(&self) -> &A {
        &self.architecture
    }

    /// Channels of the images it takes, and gives if it is no classifier.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Number of classes that it can be conditioned on; 0 without class conditioning.
    pub fn classes(&self) -> usize {
        self.architecture.classes()
    }

    /// Number of its logits, if it is a classifier.
    pub fn logits(&self) -> Option<usize> {
        self.architecture.logits()
    }

    /// The frequencies of the time embedding: those given (Fourier features have them in their checkpoint),
    /// else those of sinusoids; a single 0 without an embedding.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn frequencies(&self, gpu: &Gpu, fourier: Option<&[f32]>) -> Result<Tensor> {
        match self.architecture.time() {
            Some(time) => time.frequencies(gpu, fourier),
            None => Ok(Tensor::zeros(gpu, Shape::vector(1))?),
        }
    }

    /// Uploads the conditioning of each sample: its label, the factors of input and output, and its class or
    /// none.
    ///
    /// # Errors
    /// If the device has no room.
    pub(crate) fn condition(
        &self,
        frequencies: &Tensor,
        labels: &[Label],
        classes: &[Option<usize>],
    ) -> Result<Conditioning> {
        let values: Vec<f64> = labels.iter().map(|label| label.conditioning).collect();
        let inputs = self.architecture.inputs(&values);
        let conditioning = Conditioning::new(frequencies, inputs, labels, self.scale_by_sigma)?;
        match self.classes() {
            0 => Ok(conditioning),
            count => conditioning.with_classes(classes, count),
        }
    }

    /// The network's output for `x` `[n, h, w, c]` in the data's range: an image, or a classifier's logits
    /// `[n, 1, 1, k]`.
    ///
    /// # Errors
    /// If the images have another size or number of channels than the network's.
    pub fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: &E::Value,
        conditioning: &Conditioning,
    ) -> Result<E::Value> {
        let shape = pass.engine.shape(x);
        let own = Shape::new(shape.n(), self.size.height, self.size.width, self.channels);
        check("network", shape == own, || format!("images {shape}, and the network takes {own}"))?;
        let x = match &conditioning.input {
            Some(factors) => pass.engine.scale_samples(x, factors)?,
            None => x.clone(),
        };
        let x = match self.centered {
            true => x,
            false => pass.engine.affine(&x, 2.0, -1.0)?,
        };
        let h = self.architecture.forward(pass, x, conditioning)?;
        match &conditioning.inverse_sigma {
            Some(inverse) => pass.engine.scale_samples(&h, inverse),
            None => Ok(h),
        }
    }
}

/// Calls the same method of whichever architecture it is.
macro_rules! each {
    ($built_in:expr, $network:ident => $call:expr) => {
        match $built_in {
            BuiltIn::Ncsnpp($network) => $call,
            BuiltIn::RefineNet($network) => $call,
            BuiltIn::WideResNet($network) => $call,
            BuiltIn::Mlp($network) => $call,
        }
    };
}

impl Architecture for BuiltIn {
    fn name(&self) -> &str {
        each!(self, network => network.name())
    }

    fn forward<E: Engine>(
        &self,
        pass: &mut Pass<'_, E>,
        x: E::Value,
        conditioning: &Conditioning,
    ) -> Result<E::Value> {
        each!(self, network => network.forward(pass, x, conditioning))
    }

    fn time(&self) -> Option<&TimeEmbedding> {
        each!(self, network => network.time())
    }

    fn inputs(&self, values: &[f64]) -> Vec<f32> {
        each!(self, network => network.inputs(values))
    }

    fn classes(&self) -> usize {
        each!(self, network => network.classes())
    }

    fn logits(&self) -> Option<usize> {
        each!(self, network => network.logits())
    }
}
