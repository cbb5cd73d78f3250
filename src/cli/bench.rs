//! `tweedie bench`.
use super::Common;
/// x
#[derive(clap::Args)]
pub(super) struct Args {}
pub(super) fn run(_: &Common, _: &Args) -> anyhow::Result<()> {
    Ok(())
}
