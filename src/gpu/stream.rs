//! The command stream: many dispatches in one compute pass, few passes in a submission, and bounds on the
//! work of a submission and on the submissions in flight.

use super::error::GpuError;
use super::faults::Faults;
use super::pipeline::Pipeline;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The most dispatches in one submission.
const MAX_DISPATCHES: u32 = 1024;
/// The most submissions that wait for the device.
const MAX_IN_FLIGHT: usize = 3;
/// The length of one wait, after which a lost device is noticed.
const SLICE: Duration = Duration::from_secs(5);

pub(super) struct Stream {
    device: wgpu::Device,
    queue: wgpu::Queue,
    faults: Faults,
    // The pass must end before its encoder: fields drop in this order.
    pass: Option<wgpu::ComputePass<'static>>,
    encoder: Option<wgpu::CommandEncoder>,
    /// The address of the current pipeline of the open pass; pipelines live as long as the device.
    current: Option<usize>,
    dispatches: u32,
    work: u64,
    max_work: u64,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    /// Present while each dispatch is timed.
    pub(super) profile: Option<Profile>,
}

/// Timestamps before and after each dispatch.
pub(super) struct Profile {
    pub queries: wgpu::QuerySet,
    /// The pipeline's label of each dispatch; dispatches beyond the queries go untimed.
    pub labels: Vec<String>,
    pub capacity: usize,
}

impl Stream {
    /// `max_work`: the most floating-point operations in one submission, so that a watchdog never resets a
    /// slow device.
    pub(super) fn new(device: wgpu::Device, queue: wgpu::Queue, faults: Faults, max_work: u64) -> Self {
        Stream {
            device,
            queue,
            faults,
            pass: None,
            encoder: None,
            current: None,
            dispatches: 0,
            work: 0,
            max_work,
            in_flight: VecDeque::new(),
            profile: None,
        }
    }

    pub(super) fn dispatch(
        &mut self,
        pipeline: &Arc<Pipeline>,
        bindings: &wgpu::BindGroup,
        immediates: &[u8],
        groups: [u32; 2],
        work: u64,
    ) -> Result<(), GpuError> {
        if self.dispatches > 0 && (self.work + work > self.max_work || self.dispatches >= MAX_DISPATCHES) {
            self.flush()?;
        }
        let query = self.begin_timing(pipeline);
        let encoder =
            self.encoder.get_or_insert_with(|| self.device.create_command_encoder(&Default::default()));
        let pass = self
            .pass
            .get_or_insert_with(|| encoder.begin_compute_pass(&Default::default()).forget_lifetime());
        let identity = Some(Arc::as_ptr(pipeline) as usize);
        if self.current != identity {
            pass.set_pipeline(&pipeline.raw);
            self.current = identity;
        }
        pass.set_bind_group(0, bindings, &[]);
        if !immediates.is_empty() {
            pass.set_immediates(0, immediates);
        }
        pass.dispatch_workgroups(groups[0], groups[1], 1);
        self.dispatches += 1;
        self.work += work;
        if let Some(query) = query {
            self.timestamp(query + 1);
        }
        Ok(())
    }

    /// During a profile, the first of the two queries of a dispatch.
    fn begin_timing(&mut self, pipeline: &Pipeline) -> Option<u32> {
        let profile = self.profile.as_mut().filter(|profile| profile.labels.len() < profile.capacity)?;
        profile.labels.push(pipeline.label.clone());
        let query = 2 * (profile.labels.len() as u32 - 1);
        self.timestamp(query);
        Some(query)
    }

    fn timestamp(&mut self, query: u32) {
        let Some(queries) = self.profile.as_ref().map(|profile| profile.queries.clone()) else { return };
        self.encode(|encoder| encoder.write_timestamp(&queries, query));
    }

    /// Records something other than a dispatch: a copy, a timestamp.
    pub(super) fn encode(&mut self, record: impl FnOnce(&mut wgpu::CommandEncoder)) {
        self.end_pass();
        record(self.encoder.get_or_insert_with(|| self.device.create_command_encoder(&Default::default())));
    }

    /// Submits the recorded commands.
    pub(super) fn flush(&mut self) -> Result<(), GpuError> {
        self.end_pass();
        if let Some(encoder) = self.encoder.take() {
            (self.dispatches, self.work) = (0, 0);
            let submission = self.faults.guard(|| self.queue.submit([encoder.finish()]))?;
            self.in_flight.push_back(submission);
        }
        while self.in_flight.len() > MAX_IN_FLIGHT {
            let oldest = self.in_flight.pop_front();
            self.wait(oldest)?;
        }
        self.faults.check()
    }

    /// Submits the recorded commands and waits for the device.
    pub(super) fn synchronize(&mut self) -> Result<(), GpuError> {
        self.flush()?;
        self.in_flight.clear();
        self.wait(None)
    }

    fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), GpuError> {
        loop {
            let wait = wgpu::PollType::Wait { submission_index: submission.clone(), timeout: Some(SLICE) };
            match self.faults.guard(|| self.device.poll(wait))? {
                Err(wgpu::PollError::Timeout) => self.faults.check()?,
                Err(error) => return Err(GpuError::Lost(error.to_string())),
                Ok(_) => return self.faults.check(),
            }
        }
    }

    fn end_pass(&mut self) {
        self.pass = None;
        self.current = None;
    }
}
