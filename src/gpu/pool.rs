//! The buffer pool: one `wgpu::Buffer` per allocation, kept in free lists by size class.
//!
//! wgpu orders dispatches by whole buffers, so two tensors in one buffer would wait for each other: nothing
//! is suballocated here. A buffer goes to the free list as soon as its last owner drops it. The queue runs in
//! order, so recorded commands that still use the buffer run before those of its next owner.

use super::error::{Bytes, GpuError};
use super::faults::Faults;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Storage on the device. Dropping it returns it to its pool.
pub struct Buffer {
    raw: wgpu::Buffer,
    pool: Arc<Pool>,
}

impl Buffer {
    pub(super) fn raw(&self) -> &wgpu::Buffer {
        &self.raw
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.live -= self.raw.size();
        state.free.entry(self.raw.size()).or_default().push(self.raw.clone());
    }
}

/// The memory of a device's pool, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// In live buffers.
    pub live: u64,
    /// The largest value of `live` so far.
    pub peak: u64,
    /// Allocated from the driver: live buffers and free lists.
    pub allocated: u64,
}

pub(super) struct Pool {
    faults: Faults,
    device: wgpu::Device,
    adapter: String,
    max_buffer: u64,
    /// The limit of all allocations together, if the device's memory is known.
    budget: Option<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: BTreeMap<u64, Vec<wgpu::Buffer>>,
    live: u64,
    peak: u64,
    allocated: u64,
}

impl Pool {
    pub(super) fn new(
        faults: Faults,
        device: wgpu::Device,
        adapter: String,
        max_buffer: u64,
        budget: Option<u64>,
    ) -> Arc<Self> {
        Arc::new(Pool { faults, device, adapter, max_buffer, budget, state: Mutex::default() })
    }

    /// A buffer of at least `bytes`, with unspecified contents.
    pub(super) fn allocate(self: &Arc<Self>, bytes: u64) -> Result<Buffer, GpuError> {
        if bytes > self.max_buffer {
            return Err(GpuError::TooLarge {
                what: "one buffer".into(),
                size: Bytes(bytes),
                limit: Bytes(self.max_buffer),
                adapter: self.adapter.clone(),
                verb: "allocate",
            });
        }
        let class = size_class(bytes).min(self.max_buffer & !3);
        let mut state = self.lock();
        let recycled = state.free.get_mut(&class).and_then(Vec::pop);
        let raw = match recycled {
            Some(raw) => raw,
            None => self.create(class, &mut state)?,
        };
        state.live += class;
        state.peak = state.peak.max(state.live);
        Ok(Buffer { raw, pool: self.clone() })
    }

    pub(super) fn usage(&self) -> MemoryUse {
        let state = self.lock();
        MemoryUse { live: state.live, peak: state.peak, allocated: state.allocated }
    }

    /// Restarts the peak at the larger of `at` and the live bytes; returns its previous value.
    pub(super) fn restart_peak(&self, at: u64) -> u64 {
        let mut state = self.lock();
        let peak = at.max(state.live);
        std::mem::replace(&mut state.peak, peak)
    }

    /// A new buffer from the driver; the free lists are emptied first if it would not fit beside them.
    fn create(&self, class: u64, state: &mut State) -> Result<wgpu::Buffer, GpuError> {
        if self.exceeds_budget(state, class) {
            state.allocated -= state.free.values().flatten().map(wgpu::Buffer::size).sum::<u64>();
            state.free.clear();
        }
        let raw = match self.exceeds_budget(state, class) {
            true => None,
            false => self.try_create(class),
        };
        let raw = raw.ok_or(GpuError::OutOfMemory {
            wanted: Bytes(class),
            in_use: Bytes(state.allocated),
            budget: self.budget.map(Bytes),
        })?;
        state.allocated += class;
        Ok(raw)
    }

    fn exceeds_budget(&self, state: &State, class: u64) -> bool {
        self.budget.is_some_and(|budget| state.allocated + class > budget)
    }

    fn try_create(&self, class: u64) -> Option<wgpu::Buffer> {
        let create = || self.create_in_scopes(class);
        self.faults.guard(create).ok().flatten()
    }

    fn create_in_scopes(&self, class: u64) -> Option<wgpu::Buffer> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let raw = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: class,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let failed = [internal, memory].map(|scope| pollster::block_on(scope.pop()).is_some());
        (failed == [false, false]).then_some(raw)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The size of the allocation for a request: the next number with three significant bits, so that requests
/// within a quarter of each other share a free list.
fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let step = (1 << bytes.ilog2()) >> 2;
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_class_fits_and_wastes_less_than_a_quarter() {
        for bytes in (1..5000).chain([1 << 20, (1 << 20) + 1, 3 << 27, (1 << 31) - 1]) {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(4));
            assert!(bytes < 256 || class < bytes + bytes / 4 + 1, "{bytes} -> {class}");
            assert_eq!(size_class(class), class);
        }
    }
}
