//! Networks: parameters, initialisation, layers, and the architectures, written once against
//! [`Engine`](crate::autodiff::Engine).

mod layers;
mod ncsnpp;
mod network;
mod parameters;
mod score;

pub use layers::{Dropout, Pass};
pub use ncsnpp::Ncsnpp;
pub use network::{Conditioning, Network};
pub use parameters::{Arena, Init, Layout, ParameterId, ParameterSpec, Parameters, Registry, State};
pub use score::{Combination, Label, ScoreModel, Scorer};
