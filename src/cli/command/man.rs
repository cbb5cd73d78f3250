//! `tweedie man`.

use crate::cli::report::say;
use crate::cli::{Common, paths, whole_command};
use anyhow::Context;
use std::path::PathBuf;

/// Write the manual pages: tweedie.1, and one for each command.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    tweedie man ~/.local/share/man/man1")]
pub struct Args {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub fn run(_: &Common, args: &Args) -> anyhow::Result<()> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let mut command = whole_command();
    command.build();
    let own = command.clone();
    let pages = std::iter::once(("tweedie".to_string(), own)).chain(
        command
            .get_subcommands()
            .filter(|command| command.get_name() != "help")
            .map(|command| (format!("tweedie-{}", command.get_name()), command.clone())),
    );
    let mut count = 0;
    for (name, command) in pages {
        let mut page = Vec::new();
        clap_mangen::Man::new(command.name(name.clone())).render(&mut page)?;
        paths::written(&folder.join(format!("{name}.1")), &page)?;
        count += 1;
    }
    say(format!("{}: {count} pages", folder.display()));
    Ok(())
}
