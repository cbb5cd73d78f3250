//! `tweedie completions`.

use crate::cli::{Common, whole_command};
use clap_complete::{Shell, generate};
use std::io::Write;

/// Print the completions of a shell.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie completions bash > ~/.local/share/bash-completion/completions/tweedie\n  \
    tweedie completions zsh > ~/.zfunc/_tweedie\n  \
    tweedie completions fish > ~/.config/fish/completions/tweedie.fish")]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(_: &Common, args: &Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut whole_command(), "tweedie", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}
