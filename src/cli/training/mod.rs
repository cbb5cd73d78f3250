//! A training run as the program shows it: progress, pictures, TensorBoard's events.

mod events;
mod record;
mod snapshot;
mod watcher;

pub use watcher::Watcher;
