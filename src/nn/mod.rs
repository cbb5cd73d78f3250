//! Networks: parameters, initialisation, layers, and the architectures, written once against
//! [`Engine`](crate::autodiff::Engine).

mod classifier;
mod conditioning;
mod instance_norm;
mod layers;
mod ncsnpp;
mod network;
mod parameters;
mod preconditioning;
mod refinenet;
mod score;
mod wideresnet;

pub use classifier::Classifier;
pub use conditioning::Conditioning;
pub use layers::{Dropout, Pass};
pub use ncsnpp::Ncsnpp;
pub use network::Network;
pub use parameters::{Arena, Init, Layout, ParameterId, ParameterSpec, Parameters, Registry, State};
pub(crate) use preconditioning::Label;
pub use preconditioning::Preconditioning;
pub use refinenet::RefineNet;
pub use score::{ScoreModel, Scorer};
pub use wideresnet::WideResNet;
