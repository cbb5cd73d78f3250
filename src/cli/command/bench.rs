//! `tweedie bench`.

use crate::bench::{Case, Ceilings, Work, cases, ceilings, digits, measure};
use crate::cli::{Common, print};
use crate::gpu::{Bytes, Gpu};
use std::time::Instant;

/// Measure the device and the kernels on it.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie bench roofline\n  \
    tweedie bench kernels --only conv2d\n  \
    tweedie bench model --profile")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The device's ceilings: multiply-adds from registers, and a large copy
    ///
    /// With --json one line: `gflops`, and `gbps`, bytes read and written.
    Roofline,
    /// Each kernel's time and rate, and its share of the ceiling
    ///
    /// The ceiling of products is multiply-adds from registers, that of all other kernels a large copy. A share can exceed 100 %:
    /// reading is faster than copying, and a small case stays in the cache.
    ///
    /// With --json a line for each case: its `family` and `case`, `ms`, its `rate` in `unit` (GFLOP/s or GB/s), and the `share` of the
    /// ceiling, 1 for all of it.
    Kernels {
        /// Only cases whose name contains this
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    /// A training step of the digits model, an evaluation, and one with its divergence
    ///
    /// With --json one line: `parameters`, `images` in a batch, compiled `pipelines`, `first_step_s` including
    /// compilation, `step_ms`, `evaluation_ms`, `divergence_ms`, `divergence_time_ratio` and `divergence_memory_ratio` to an
    /// evaluation's, `evaluation_bytes`, and the peak `device_bytes`. With --profile also a line for each `kernel` `of` each: the
    /// number of runs `count`, and `ms` in all.
    Model {
        /// Also the time of each kernel
        #[arg(long)]
        profile: bool,
    },
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
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
    let wanted =
        |case: &Case| only.is_none_or(|text| format!("{} {}", case.family, case.name).contains(text));
    let cases: Vec<Case> = cases(gpu)?.into_iter().filter(wanted).collect();
    anyhow::ensure!(
        !cases.is_empty(),
        "no case contains `{}`; leave --only out to list all",
        only.unwrap_or_default()
    );
    let top = ceilings(gpu)?;
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
    let top = gpu.memory().peak;
    let step = time(gpu, &|| Ok(model.step()?))?;
    // Alternating, so that the machine is in the same state for both.
    let evaluate = || -> anyhow::Result<()> { Ok(model.evaluate()?) };
    let diverge = || -> anyhow::Result<()> { Ok(model.divergence()?) };
    let pairs = [(); 5].map(|()| Ok((time(gpu, &evaluate)?, time(gpu, &diverge)?)));
    let pairs = pairs.into_iter().collect::<anyhow::Result<Vec<(f64, f64)>>>()?;
    let evaluation = median(pairs.iter().map(|(evaluation, _)| *evaluation));
    let divergence = median(pairs.iter().map(|(_, divergence)| *divergence));
    let ratio = median(pairs.iter().map(|(evaluation, divergence)| divergence / evaluation));
    let live = (model.input_bytes() + gpu.peak(evaluate)?) as f64;
    let diverged = gpu.peak(diverge)? as f64;
    let images = model.images() as f64;
    if common.json {
        print(serde_json::json!({
            "parameters": model.parameters(), "images": model.images(), "pipelines": gpu.pipelines(),
            "first_step_s": cold, "step_ms": step * 1e3, "evaluation_ms": evaluation * 1e3,
            "divergence_ms": divergence * 1e3, "divergence_time_ratio": ratio,
            "divergence_memory_ratio": diverged / live, "evaluation_bytes": live, "device_bytes": top,
        }))?;
    } else {
        print(format!("digits model, {} parameters, {} images", model.parameters(), model.images()))?;
        print(format!("first step, {} pipelines compiled  {cold:8.2} s", gpu.pipelines()))?;
        print(format!("training step  {:10.2} ms {:10.0} images/s", step * 1e3, images / step))?;
        print(format!("evaluation     {:10.2} ms {:10.0} images/s", evaluation * 1e3, images / evaluation))?;
        print(format!("with divergence{:10.2} ms {:10.0} images/s", divergence * 1e3, images / divergence))?;
        let memory = diverged / live;
        print(format!("divergence, of evaluations         {ratio:8.2} in time, {memory:.2} in memory"))?;
        print(format!("device memory, at most             {}", Bytes(top)))?;
    }
    if profile {
        kernel_times(common, gpu, "training step", &|| Ok(model.step()?))?;
        kernel_times(common, gpu, "evaluation", &evaluate)?;
        kernel_times(common, gpu, "divergence", &diverge)?;
    }
    Ok(())
}

/// The time of one repetition, in seconds.
fn time(gpu: &Gpu, run: &dyn Fn() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let repetitions = 10;
    run()?;
    gpu.synchronize()?;
    let start = Instant::now();
    for _ in 0..repetitions {
        run()?;
    }
    gpu.synchronize()?;
    Ok(start.elapsed().as_secs_f64() / f64::from(repetitions))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints the time of each kernel.
fn kernel_times(
    common: &Common,
    gpu: &Gpu,
    what: &str,
    run: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if !common.json {
        print(what)?;
    }
    for time in gpu.profile(run)? {
        let ms = time.total.as_secs_f64() * 1e3;
        if common.json {
            print(serde_json::json!({ "of": what, "kernel": time.kernel, "count": time.count, "ms": ms }))?;
        } else {
            print(format!("  {:40} {:5} times {ms:10.3} ms", time.kernel, time.count))?;
        }
    }
    Ok(())
}
