//! One file for each subcommand, and the list of them.

pub mod bench;
pub mod bound;
pub mod colorize;
pub mod completions;
pub mod config;
pub mod configs;
pub mod convert;
pub mod data;
pub mod decode;
pub mod devices;
pub mod encode;
pub mod evaluate;
pub mod field;
pub mod init;
pub mod inpaint;
pub mod interpolate;
pub mod likelihood;
pub mod man;
pub mod noise_scales;
pub mod restore;
pub mod sample;
pub mod score;
pub mod train;
pub mod watch;

use super::Common;

/// Declares the subcommands in the order of help, and dispatches to their modules.
macro_rules! commands {
    ($( $Name:ident: $module:ident, )+) => {
        #[derive(clap::Subcommand)]
        pub enum Command {
            $( $Name($module::Args), )+
        }

        impl Command {
            /// Runs the subcommand.
            pub fn run(&self, common: &Common) -> anyhow::Result<()> {
                match self {
                    $( Command::$Name(args) => $module::run(common, args), )+
                }
            }
        }
    };
}

commands! {
    Devices: devices,
    Config: config,
    Configs: configs,
    Data: data,
    Init: init,
    Train: train,
    Watch: watch,
    Sample: sample,
    Inpaint: inpaint,
    Colorize: colorize,
    Restore: restore,
    Likelihood: likelihood,
    Encode: encode,
    Decode: decode,
    Interpolate: interpolate,
    Evaluate: evaluate,
    Bound: bound,
    Field: field,
    NoiseScales: noise_scales,
    Score: score,
    Convert: convert,
    Bench: bench,
    Completions: completions,
    Man: man,
}
