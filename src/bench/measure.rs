//! Timing: the median of several stretches of repetitions.

use super::Case;
use crate::gpu::{Element, Gpu};
use crate::kernels::{Result, roofline};
use crate::tensor::{Shape, Tensor};
use std::time::{Duration, Instant};

/// The measured ceilings of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// Operations per second, of multiply-adds from registers.
    pub operations: f64,
    /// Bytes per second, read and written, of a large copy.
    pub bytes: f64,
}

/// Measures the ceilings.
///
/// # Errors
/// Any error of the device.
pub fn ceilings(gpu: &Gpu) -> Result<Ceilings> {
    let cpu = gpu.adapter().is_cpu();
    let (invocations, rounds) = if cpu { (4096, 2000) } else { (1 << 20, 4000) };
    let fma = median(gpu, &|| roofline::multiply_adds(gpu, invocations, rounds))?;
    let copied = if cpu { 64 << 20 } else { (512 << 20).min(gpu.max_binding() as usize / 2) };
    let vector = Shape::vector(copied / 4);
    let (x, y) = (Tensor::empty(gpu, vector, Element::F32)?, Tensor::empty(gpu, vector, Element::F32)?);
    let copy = median(gpu, &|| roofline::copy(&x, &y))?;
    Ok(Ceilings {
        operations: (invocations * rounds * roofline::OPERATIONS) as f64 / fma.as_secs_f64(),
        bytes: 2.0 * copied as f64 / copy.as_secs_f64(),
    })
}

/// The time of one run of a case: the median of five stretches of 60 ms.
///
/// # Errors
/// Those of the case.
pub fn measure(gpu: &Gpu, case: &Case) -> Result<Duration> {
    median(gpu, &*case.run)
}

/// The approximate length of one timed stretch.
const STRETCH: Duration = Duration::from_millis(60);

fn median(gpu: &Gpu, run: &dyn Fn() -> Result<()>) -> Result<Duration> {
    let time = |repetitions: u32| -> Result<Duration> {
        gpu.synchronize()?;
        let start = Instant::now();
        for _ in 0..repetitions {
            run()?;
        }
        gpu.synchronize()?;
        Ok(start.elapsed() / repetitions)
    };
    // The first run compiles the kernels; the second one determines the number of repetitions.
    time(1)?;
    let once = time(1)?.max(Duration::from_micros(1));
    let repetitions = (STRETCH.as_secs_f64() / once.as_secs_f64()).ceil().clamp(1.0, 1000.0) as u32;
    let mut times = (0..5).map(|_| time(repetitions)).collect::<Result<Vec<Duration>>>()?;
    times.sort_unstable();
    Ok(times[2])
}
