//! `tweedie devices`.

use crate::cli::{Common, print, with_adapter};
use crate::gpu::{Adapter, Bytes, adapters, choose_among};

/// List the adapters, best first, and mark the one that is used.
///
/// Discrete GPUs come first, then integrated ones, then others, and software drivers last.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie devices\n  \
    tweedie devices --adapter 1\n  \
    WGPU_ADAPTER_NAME=radeon tweedie train digits_ve --out runs/digits")]
pub struct Args {}

pub fn run(common: &Common, _: &Args) -> anyhow::Result<()> {
    let all = adapters();
    let chosen = choose_among(&all, common.adapter.as_deref()).map_err(with_adapter)?;
    if common.json {
        let entry = |(index, a): (usize, &Adapter)| {
            serde_json::json!({
                "index": index, "name": a.name(), "kind": a.kind(), "backend": a.backend(), "driver": a.driver(),
                "memory_bytes": a.memory(), "max_binding_bytes": a.max_binding(), "f16": a.has_f16(),
                "chosen": index == chosen,
            })
        };
        let list: Vec<_> = all.iter().enumerate().map(entry).collect();
        return print(serde_json::to_string_pretty(&list)?);
    }
    for (index, a) in all.iter().enumerate() {
        let memory = a.memory().map_or("unknown".into(), |bytes| Bytes(bytes).to_string());
        let binding = Bytes(a.max_binding());
        let mark = if index == chosen { "*" } else { " " };
        print(format!("{mark} {index}: {} ({}, {})", a.name(), a.kind(), a.backend()))?;
        print(format!(
            "     driver {}, memory {memory}, {binding} a binding, f16 {}",
            a.driver(),
            a.has_f16()
        ))?;
    }
    print("* is used; choose another with --adapter NAME|INDEX or WGPU_ADAPTER_NAME")
}
