//! Networks: parameters, initialisation, layers, and the architectures, written once against
//! [`Engine`](crate::autodiff::Engine).

mod blocks;
mod classifier;
mod conditioning;
mod inception;
mod instance_norm;
mod layers;
mod mlp;
mod ncsnpp;
mod network;
mod parameters;
mod preconditioning;
mod refinenet;
mod score;
mod wideresnet;

pub use blocks::{Attention, ResBlock, Resample};
pub use classifier::Classifier;
pub use conditioning::{Conditioning, TimeEmbedding};
pub use inception::{Inception, Input, Outputs, TensorReader};
pub use layers::{Conv, Norm, Pass, Style};
pub use mlp::Mlp;
pub use ncsnpp::Ncsnpp;
pub use network::{Architecture, BuiltIn, Network};
pub use parameters::{Arena, Init, Layout, ParameterId, ParameterSpec, Parameters, Registry, State};
pub(crate) use preconditioning::Label;
pub use preconditioning::Preconditioning;
pub use refinenet::RefineNet;
pub use score::{ScoreModel, Scorer};
pub use wideresnet::WideResNet;
