//! The errors that a device reports outside of any call's result, and calls that would panic where it is lost.

use super::error::GpuError;
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

/// Errors that the driver reported outside of any call's result.
#[derive(Default)]
struct Reported {
    lost: Mutex<Option<String>>,
    memory: Mutex<Option<String>>,
    rejected: Mutex<Option<String>>,
}

/// The errors of a device.
#[derive(Clone)]
pub(super) struct Faults {
    reported: Arc<Reported>,
    device: wgpu::Device,
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Returns true inside a call whose panic becomes an error of the device, on this thread. A panic hook that reports bugs
/// may leave such a panic out.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

impl Faults {
    pub(super) fn watch(device: &wgpu::Device) -> Faults {
        let reported = Arc::new(Reported::default());
        let on_loss = reported.clone();
        device.set_device_lost_callback(move |reason, message| {
            // The device reports its own drop too.
            if reason != wgpu::DeviceLostReason::Destroyed {
                note(&on_loss.lost, message);
            }
        });
        let on_error = reported.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| match &error {
            wgpu::Error::OutOfMemory { .. } => note(&on_error.memory, error.to_string()),
            _ => note(&on_error.rejected, error.to_string()),
        }));
        Faults { reported, device: device.clone() }
    }

    /// The first error that was reported, if there is any.
    pub(super) fn check(&self) -> Result<(), GpuError> {
        let read = |cell: &Mutex<Option<String>>| cell.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let Reported { lost, memory, rejected } = &*self.reported;
        let error = match (read(lost), read(memory), read(rejected)) {
            // wgpu gives a device up when a driver's call runs out of memory, with the error's text as the reason.
            (Some(message), ..) if message == wgpu::hal::DeviceError::OutOfMemory.to_string() => {
                GpuError::DriverMemory(message)
            }
            (Some(message), ..) => GpuError::Lost(message),
            (None, Some(message), _) => GpuError::DriverMemory(message),
            (None, None, Some(message)) => GpuError::Rejected(message),
            (None, None, None) => return Ok(()),
        };
        self.keep();
        Err(error)
    }

    /// Makes a call of wgpu, which panics at some errors of a driver: a device that is lost in a wait, memory that
    /// runs out within it.
    pub(super) fn guard<T>(&self, call: impl FnOnce() -> T) -> Result<T, GpuError> {
        guard(call).map_err(|panic| {
            self.keep();
            self.check().err().unwrap_or(GpuError::Lost(panic))
        })
    }

    /// Keeps a device that has failed until the process ends: wgpu panics when it is dropped.
    fn keep(&self) {
        std::mem::forget(self.device.clone());
    }
}

/// Makes a call of wgpu; the error is the message of its panic.
pub(super) fn guard<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(before);
    result.map_err(|panic| text(&*panic))
}

fn note(cell: &Mutex<Option<String>>, message: String) {
    cell.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(message);
}

/// The message of a panic.
fn text(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    literal.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or("it panicked".into())
}
