//! `tweedie bench`.

use super::{Common, print};
use crate::bench::{Case, Ceilings, Work, cases, ceilings, digits, measure};
use crate::gpu::{Bytes, Gpu};
use std::time::Instant;

/// Measure the device and the kernels on it.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie bench roofline\n  \
    tweedie bench kernels --only conv2d\n  \
    tweedie bench model --profile")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The device's ceilings: multiply-adds from registers, and a large copy
    Roofline,
    /// Each kernel's time and rate, and its share of the ceiling
    ///
    /// Products are held against multiply-adds from registers, all else against a large copy. A share above 100 % is no
    /// mistake: reading is faster than copying, and a small case stays in the cache.
    Kernels {
        /// Only those whose name contains this
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    /// A training step and an evaluation of the digits model
    Model {
        /// Also what each kernel of a training step takes
        #[arg(long)]
        profile: bool,
    },
}

pub(super) fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let gpu = common.open()?;
    if !common.json {
        let adapter = gpu.adapter();
        print(format!("{} ({}, {})", adapter.name(), adapter.backend(), adapter.driver()))?;
    }
    match &args.what {
        What::Roofline => roofline(common, &gpu),
        What::Kernels { only } => kernels(common, &gpu, only.as_deref()),
        What::Model { profile } => model(common, &gpu, *profile),
    }
}

fn roofline(common: &Common, gpu: &Gpu) -> anyhow::Result<()> {
    let Ceilings { operations, bytes } = ceilings(gpu)?;
    if common.json {
        return print(serde_json::json!({ "gflops": operations / 1e9, "gbps": bytes / 1e9 }));
    }
    print(format!("multiply-adds from registers  {:10.1} GFLOP/s", operations / 1e9))?;
    print(format!("copy, read and written        {:10.1} GB/s", bytes / 1e9))
}

fn kernels(common: &Common, gpu: &Gpu, only: Option<&str>) -> anyhow::Result<()> {
    let top = ceilings(gpu)?;
    let wanted =
        |case: &Case| only.is_none_or(|text| format!("{} {}", case.family, case.name).contains(text));
    let cases: Vec<Case> = cases(gpu)?.into_iter().filter(wanted).collect();
    anyhow::ensure!(!cases.is_empty(), "no case contains `{}`", only.unwrap_or_default());
    if !common.json {
        print(format!("{:58} {:>12} {:>18} {:>10}", "kernel", "time", "rate", "of ceiling"))?;
    }
    for case in cases {
        let seconds = measure(gpu, &case)?.as_secs_f64();
        let (rate, unit, ceiling) = match case.work {
            Work::Operations(operations) => (operations / seconds, "GFLOP/s", top.operations),
            Work::Bytes(bytes) => (bytes / seconds, "GB/s", top.bytes),
        };
        if common.json {
            print(serde_json::json!({
                "family": case.family, "case": case.name, "ms": seconds * 1e3, "rate": rate / 1e9, "unit": unit,
                "share": rate / ceiling,
            }))?;
            continue;
        }
        let name = format!("{} {}", case.family, case.name);
        let (ms, rate, share) = (seconds * 1e3, rate / 1e9, 100.0 * rate / ceiling);
        print(format!("{name:58} {ms:9.3} ms {rate:10.2} {unit:7} {share:8.1} %"))?;
    }
    Ok(())
}

fn model(common: &Common, gpu: &Gpu, profile: bool) -> anyhow::Result<()> {
    let cold = Instant::now();
    let model = digits(gpu)?;
    model.step()?;
    gpu.synchronize()?;
    let cold = cold.elapsed().as_secs_f64();
    model.evaluate()?;
    let time = |run: &dyn Fn() -> anyhow::Result<()>| -> anyhow::Result<f64> {
        let repetitions = 10;
        gpu.synchronize()?;
        let start = Instant::now();
        for _ in 0..repetitions {
            run()?;
        }
        gpu.synchronize()?;
        Ok(start.elapsed().as_secs_f64() / f64::from(repetitions))
    };
    let step = time(&|| Ok(model.step()?))?;
    let evaluation = time(&|| Ok(model.evaluate()?))?;
    let images = model.images() as f64;
    if common.json {
        print(serde_json::json!({
            "parameters": model.parameters(), "images": model.images(), "pipelines": gpu.pipelines(),
            "first_step_s": cold, "step_ms": step * 1e3, "evaluation_ms": evaluation * 1e3,
            "device_bytes": gpu.memory().peak,
        }))?;
    } else {
        print(format!("digits model, {} parameters, {} images", model.parameters(), model.images()))?;
        print(format!("first step, {} pipelines compiled  {cold:8.2} s", gpu.pipelines()))?;
        print(format!("training step  {:10.2} ms {:10.0} images/s", step * 1e3, images / step))?;
        print(format!("evaluation     {:10.2} ms {:10.0} images/s", evaluation * 1e3, images / evaluation))?;
        print(format!("device memory, at most             {}", Bytes(gpu.memory().peak)))?;
    }
    if profile {
        for time in gpu.profile(|| model.step())? {
            let ms = time.total.as_secs_f64() * 1e3;
            if common.json {
                print(serde_json::json!({ "kernel": time.kernel, "count": time.count, "ms": ms }))?;
            } else {
                print(format!("  {:40} {:5} times {ms:10.3} ms", time.kernel, time.count))?;
            }
        }
    }
    Ok(())
}
