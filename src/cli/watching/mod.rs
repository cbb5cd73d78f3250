//! The page of `tweedie watch`: a server on the loopback address, and its answers.

mod answer;
mod server;

pub use answer::Watched;
pub use server::{Guard, serve};
