//! `tweedie devices`.

use super::{Common, print};
use crate::gpu::{Adapter, Bytes, GpuError, adapters, choose};

/// List the adapters, best first, and say which one would be used.
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn run(common: &Common, _: &Args) -> anyhow::Result<()> {
    let all = adapters();
    if all.is_empty() {
        return Err(GpuError::NoAdapter.into());
    }
    let chosen = choose(common.adapter.as_deref())?;
    let is_chosen = |a: &Adapter| (a.name(), a.backend()) == (chosen.name(), chosen.backend());
    if common.json {
        let list: Vec<serde_json::Value> = all
            .iter()
            .enumerate()
            .map(|(index, a)| {
                serde_json::json!({
                    "index": index,
                    "name": a.name(),
                    "kind": a.kind(),
                    "backend": a.backend(),
                    "driver": a.driver(),
                    "memory_bytes": a.memory(),
                    "max_binding_bytes": a.max_binding(),
                    "f16": a.has_f16(),
                    "chosen": is_chosen(a),
                })
            })
            .collect();
        return print(serde_json::to_string_pretty(&list)?);
    }
    for (index, a) in all.iter().enumerate() {
        let memory = a.memory().map_or("unknown".into(), |bytes| Bytes(bytes).to_string());
        let binding = Bytes(a.max_binding());
        let mark = if is_chosen(a) { "*" } else { " " };
        print(format!("{mark} {index}: {} ({}, {})", a.name(), a.kind(), a.backend()))?;
        print(format!(
            "     driver {}, memory {memory}, {binding} a binding, f16 {}",
            a.driver(),
            a.has_f16()
        ))?;
    }
    print("* is used; choose another with --adapter NAME|INDEX or WGPU_ADAPTER_NAME")
}
