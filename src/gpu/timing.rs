//! How long the device takes.

use super::{Gpu, GpuError};
use std::time::{Duration, Instant};

impl Gpu {
    /// The device's own time for what `work` records, by timestamps where the adapter has them, else by the
    /// wall clock from submission to completion.
    ///
    /// # Errors
    /// Those of `work`, and what the device reported.
    pub fn time<E: From<GpuError>>(&self, work: impl FnOnce() -> Result<(), E>) -> Result<Duration, E> {
        self.synchronize()?;
        if !self.0.timestamps {
            let start = Instant::now();
            work()?;
            self.synchronize()?;
            return Ok(start.elapsed());
        }
        let queries = self.0.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("time"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        self.stream().encode(|encoder| encoder.write_timestamp(&queries, 0));
        work()?;
        let resolved = self.resolve(&queries)?;
        let ticks = resolved[1].saturating_sub(resolved[0]);
        let nanoseconds = ticks as f64 * f64::from(self.0.queue.get_timestamp_period());
        Ok(Duration::from_nanos(nanoseconds as u64))
    }

    fn resolve(&self, queries: &wgpu::QuerySet) -> Result<[u64; 2], GpuError> {
        let staging = |usage| {
            self.0.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: 16,
                usage,
                mapped_at_creation: false,
            })
        };
        let resolve = staging(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let read = staging(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ);
        let mut stream = self.stream();
        stream.encode(|encoder| {
            encoder.write_timestamp(queries, 1);
            encoder.resolve_query_set(queries, 0..2, &resolve, 0);
            encoder.copy_buffer_to_buffer(&resolve, 0, &read, 0, 16);
        });
        stream.flush()?;
        read.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        stream.synchronize()?;
        let mapped = read.slice(..).get_mapped_range().map_err(|e| GpuError::Lost(e.to_string()))?;
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&mapped[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Ok([word(0), word(8)])
    }
}
