//! Networks: parameters, initialisation, layers, and the architectures, written once against
//! [`Engine`](crate::autodiff::Engine).

mod classifier;
mod conditioning;
mod layers;
mod ncsnpp;
mod network;
mod parameters;
mod score;
mod wideresnet;

pub use classifier::Classifier;
pub use conditioning::Conditioning;
pub use layers::{Dropout, Pass};
pub use ncsnpp::Ncsnpp;
pub use network::Network;
pub use parameters::{Arena, Init, Layout, ParameterId, ParameterSpec, Parameters, Registry};
pub use score::{Combination, Label, ScoreModel, Scorer};
pub use wideresnet::WideResNet;
