//! `cargo bench`: criterion over every kernel family and over the digits model. `cargo bench -- conv2d` runs
//! one family.
//!
//! The cases are in the other files of this folder, one per family, which are modules of `src/bench`;
//! `tweedie bench kernels` runs the same ones.

use criterion::{Criterion, Throughput};
use std::time::{Duration, Instant};
use tweedie::bench::{Work, cases, digits};
use tweedie::gpu::Gpu;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let gpu = Gpu::open(None)?;
    println!("on {} ({})", gpu.adapter().name(), gpu.adapter().backend());
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(10)
        .configure_from_args();
    for case in cases(&gpu)? {
        let throughput = match case.work {
            Work::Operations(operations) => Throughput::Elements(operations as u64),
            Work::Bytes(bytes) => Throughput::Bytes(bytes as u64),
        };
        run(&mut criterion, &gpu, (case.family, &case.name), throughput, &|| Ok((case.run)()?));
    }
    let model = digits(&gpu)?;
    let images = Throughput::Elements(model.images() as u64);
    run(&mut criterion, &gpu, ("model", "training step"), images.clone(), &|| Ok(model.step()?));
    run(&mut criterion, &gpu, ("model", "evaluation"), images.clone(), &|| Ok(model.evaluate()?));
    run(&mut criterion, &gpu, ("model", "divergence, one probe"), images, &|| Ok(model.divergence()?));
    criterion.final_summary();
    Ok(())
}

/// Elements are operations for products and images for the model.
fn run(
    criterion: &mut Criterion,
    gpu: &Gpu,
    (group, name): (&str, &str),
    throughput: Throughput,
    work: &dyn Fn() -> Result<(), Error>,
) {
    let mut group = criterion.benchmark_group(group);
    group.throughput(throughput);
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            for _ in 0..iterations {
                work().expect("a case that runs");
            }
            gpu.synchronize().expect("a device");
            start.elapsed()
        });
    });
    group.finish();
}
