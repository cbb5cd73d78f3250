//! Timing and profiles.

use super::stream::Profile;
use super::{Gpu, GpuError};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The most dispatches of one profile: a query set has 4,096 queries, two for each.
const PROFILED: usize = 2048;

/// The time of one kernel in a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelTime {
    /// File and entry point.
    pub kernel: String,
    /// The number of its dispatches.
    pub count: usize,
    /// The device's time for all of them.
    pub total: Duration,
}

impl Gpu {
    /// The device's time for the commands that `work` records, by timestamps if the adapter has them, else by
    /// the wall clock from submission to completion.
    ///
    /// # Errors
    /// Errors of `work`, and those that the device reported.
    pub fn time<E: From<GpuError>>(&self, work: impl FnOnce() -> Result<(), E>) -> Result<Duration, E> {
        self.synchronize()?;
        if !self.0.timestamps {
            let start = Instant::now();
            work()?;
            self.synchronize()?;
            return Ok(start.elapsed());
        }
        let queries = self.queries(2);
        self.stream().encode(|encoder| encoder.write_timestamp(&queries, 0));
        work()?;
        self.stream().encode(|encoder| encoder.write_timestamp(&queries, 1));
        let ticks = self.resolve(&queries, 2)?;
        Ok(self.duration(ticks[0], ticks[1]))
    }

    /// The device's time for each kernel of `work`, longest first, over the first 2,048 dispatches. Each
    /// dispatch runs in a pass of its own, which adds a little: compare kernels with each other, not their
    /// sum with an unprofiled run. Empty if the adapter has no timestamps.
    ///
    /// # Errors
    /// Errors of `work`, and those that the device reported.
    pub fn profile<E: From<GpuError>>(
        &self,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Vec<KernelTime>, E> {
        if !self.0.timestamps {
            work()?;
            return Ok(Vec::new());
        }
        let queries = self.queries(2 * PROFILED as u32);
        self.stream().profile = Some(Profile { queries, labels: Vec::new(), capacity: PROFILED });
        let result = work();
        let profile = self.stream().profile.take();
        result?;
        let Some(Profile { queries, labels, .. }) = profile.filter(|profile| !profile.labels.is_empty())
        else {
            return Ok(Vec::new());
        };
        let ticks = self.resolve(&queries, 2 * labels.len() as u32)?;
        let mut kernels: BTreeMap<String, (usize, Duration)> = BTreeMap::new();
        for (label, pair) in labels.into_iter().zip(ticks.chunks_exact(2)) {
            let (count, total) = kernels.entry(label).or_default();
            *count += 1;
            *total += self.duration(pair[0], pair[1]);
        }
        let time = |(kernel, (count, total))| KernelTime { kernel, count, total };
        let mut times: Vec<KernelTime> = kernels.into_iter().map(time).collect();
        times.sort_by_key(|time| std::cmp::Reverse(time.total));
        Ok(times)
    }

    fn queries(&self, count: u32) -> wgpu::QuerySet {
        let ty = wgpu::QueryType::Timestamp;
        self.0.device.create_query_set(&wgpu::QuerySetDescriptor { label: Some("time"), ty, count })
    }

    fn duration(&self, from: u64, to: u64) -> Duration {
        let nanoseconds = to.saturating_sub(from) as f64 * f64::from(self.0.queue.get_timestamp_period());
        Duration::from_nanos(nanoseconds as u64)
    }

    fn resolve(&self, queries: &wgpu::QuerySet, count: u32) -> Result<Vec<u64>, GpuError> {
        let size = 8 * u64::from(count);
        let staging = |usage| {
            let label = Some("timestamps");
            self.0.device.create_buffer(&wgpu::BufferDescriptor {
                label,
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let resolved = staging(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let read = staging(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ);
        let mut stream = self.stream();
        stream.encode(|encoder| {
            encoder.resolve_query_set(queries, 0..count, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &read, 0, size);
        });
        stream.flush()?;
        read.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        stream.synchronize()?;
        let mapped = read.slice(..).get_mapped_range().map_err(|e| GpuError::Lost(e.to_string()))?;
        Ok(bytemuck::pod_collect_to_vec(&mapped[..]))
    }
}
