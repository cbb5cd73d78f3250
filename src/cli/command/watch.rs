//! `tweedie watch`.

use crate::cli::watching::{Guard, Watched, serve};
use crate::cli::{Common, count, note, print};
use anyhow::{Context, anyhow, ensure};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tiny_http::Server;

/// Show runs on a page: moving curves, samples, and the reverse process step by step.
///
/// The page is at the loopback address of this machine. From another one: ssh -L 6116:localhost:6116 MACHINE.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie watch runs/digits --open\n  \
    tweedie watch runs/*")]
pub struct Args {
    /// Run folders, also of runs that have ended
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The port; 0 for any that is free
    #[arg(long, value_name = "P", default_value_t = 6116)]
    port: u16,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
    /// A web page elsewhere that may read the answers, for example https://example.org
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Option<String>,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    args.runs.iter().try_for_each(|folder| check(folder))?;
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => {
                anyhow!(
                    "port {} is in use; choose another with --port, or --port 0 for any that is free",
                    args.port
                )
            }
            _ => anyhow!("port {} cannot be opened ({error}); choose another with --port", args.port),
        })?;
    let port = listener.local_addr().context("the port is not known")?.port();
    let server = Server::from_listener(listener, None)
        .map_err(|error| anyhow!("the server does not start: {error}"))?;
    let address = format!("http://127.0.0.1:{port}/");
    match common.json {
        true => print(serde_json::json!({ "address": address }))?,
        false => print(format!("{} at {address} (Ctrl-C ends)", count(args.runs.len(), "run")))?,
    }
    if args.open && !opened(&address) {
        note(format!("warning: no browser could be started; open {address}"));
    }
    serve(&server, &Guard::new(port, args.allow_origin.clone()), &Watched::new(&args.runs));
    Ok(())
}

/// Checks that a folder holds a run or a part of one.
fn check(folder: &Path) -> anyhow::Result<()> {
    let run = ["config.toml", "metrics.csv"].iter().any(|file| folder.join(file).is_file());
    ensure!(run, "{} holds no run; name the folder that `tweedie train --out` writes to", folder.display());
    Ok(())
}

/// Opens an address in the browser by the system's own program.
fn opened(address: &str) -> bool {
    let (program, before): (&str, &[&str]) = match std::env::consts::OS {
        "macos" => ("open", &[]),
        "windows" => ("cmd", &["/C", "start", ""]),
        _ => ("xdg-open", &[]),
    };
    let mut command = Command::new(program);
    command.args(before).arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}
