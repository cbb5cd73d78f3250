//! One file for each subcommand.

pub mod bench;
pub mod bound;
pub mod colorize;
pub mod convert;
pub mod decode;
pub mod devices;
pub mod encode;
pub mod evaluate;
pub mod inpaint;
pub mod interpolate;
pub mod likelihood;
pub mod noise_scales;
pub mod restore;
pub mod sample;
pub mod score;
pub mod train;
