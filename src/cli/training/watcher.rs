//! The events of a training run on a terminal, in lines, and in the files of its folder.

use super::events::Events;
use super::snapshot::{self, Cost};
use crate::choice::Choice;
use crate::cli::io::plot;
use crate::cli::progress::{QUIET, style};
use crate::cli::report::{chain, count, evaluations, extend, is_quiet, say};
use crate::cli::{note, print};
use crate::gpu::{Bytes, Gpu};
use crate::train::{Event, LEVELS, Metrics, Run, TrainError, Trainer};
use anyhow::Context;
use indicatif::ProgressBar;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

/// Shows the progress of training: a bar on a terminal, occasional lines elsewhere, JSON lines with --json.
/// Draws pictures and
/// writes TensorBoard's events.
pub struct Watcher<'a> {
    gpu: &'a Gpu,
    run: &'a Run,
    json: bool,
    bar: ProgressBar,
    terminal: bool,
    first: u64,
    steps: u64,
    started: Instant,
    spoken: Option<Instant>,
    /// The step from which on the learning rate is 0.
    falls_until: Option<u64>,
    noise_levels: [f64; LEVELS + 1],
    /// The event file, once there is a row; none after a failure.
    events: Option<Events>,
    events_failed: bool,
    /// When the last pictures were drawn.
    drawn: Instant,
    /// The cost of samples has been said.
    priced: bool,
    /// The last row, for people.
    last: Option<String>,
    /// A row could not be printed, and that was said.
    unprinted: bool,
}

/// The samples of a checkpoint may take as long as the training since the last one, and at least this.
const SHORTEST_BUDGET: Duration = Duration::from_secs(60);

impl<'a> Watcher<'a> {
    /// `falls_until` is the step from which on the learning rate is 0, if there is one.
    pub fn new(json: bool, gpu: &'a Gpu, run: &'a Run, falls_until: Option<u64>) -> Self {
        let now = Instant::now();
        Watcher {
            gpu,
            run,
            json,
            bar: ProgressBar::hidden(),
            terminal: std::io::stderr().is_terminal() && !is_quiet(),
            first: 0,
            steps: 0,
            started: now,
            spoken: None,
            falls_until,
            noise_levels: [0.0; LEVELS + 1],
            events: None,
            events_failed: false,
            drawn: now,
            priced: false,
            last: None,
            unprinted: false,
        }
    }

    /// Ends the bar.
    pub fn finish(&self) {
        self.bar.finish();
    }

    /// The last row, for people; none if no step was made.
    pub fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    pub fn see(&mut self, event: Event<'_>) -> Result<(), TrainError> {
        match event {
            Event::SetAside { path, what } => {
                note(format!("a checkpoint was left out: {what}; it is now {}", path.display()));
            }
            Event::Rows { path, what } => note(format!("{}: {what}", path.display())),
            Event::Anew => note("the run was stopped before its first checkpoint; it begins again at step 0"),
            Event::Skipped(skipped) => note(format!("left out of the data: {}", some_of(skipped))),
            Event::Initialised { taken, others } => {
                let rest = if others.is_empty() {
                    String::new()
                } else {
                    format!("; not taken: {}", some_of(others))
                };
                note(format!("begins with {} of the other model{rest}", count(taken, "tensor")));
            }
            Event::Divided(parts) => {
                let line =
                    format!("a batch does not fit into the device's memory; it is computed in {parts} parts");
                self.bar.suspend(|| note(line));
            }
            Event::Start { step, steps, parameters, images, held_out, noise_levels } => {
                self.noise_levels = noise_levels;
                let held = if held_out > 0 { format!(", {held_out} held out") } else { String::new() };
                self.start(step, steps, &format!("{parameters} parameters on {images} images{held}"));
            }
            Event::First { loss, images_per_second } => {
                // The remaining time does not depend on the time of compilation.
                self.bar.set_style(style("{bar:30} {pos}/{len} {msg} ETA {eta}"));
                self.bar.set_message(shown(loss, images_per_second));
                self.bar.reset_eta();
            }
            Event::Step(step) => self.bar.set_position(step),
            Event::Row(row) => self.row(row),
            Event::Saved { trainer, path } => self.saved(trainer, path),
        }
        Ok(())
    }

    fn start(&mut self, step: u64, steps: u64, what: &str) {
        (self.first, self.steps) = (step, steps);
        if let Some(end) = self.falls_until.filter(|end| *end < steps) {
            note(format!(
                "warning: the learning rate is 0 from step {end} on; set optim.schedule_steps to another"
            ));
        }
        self.started = Instant::now();
        let adapter = self.gpu.adapter();
        let from = if step > 0 { format!(" from step {step}") } else { String::new() };
        let device = format!("{} ({})", adapter.name(), adapter.backend());
        say(format!("training{from} to step {steps}: {what}, {device}; compiling the kernels"));
        if self.terminal {
            self.bar = ProgressBar::new(steps).with_style(style("{bar:30} {pos}/{len} {msg}"));
            self.bar.set_position(step);
            self.bar.set_message("compiling the kernels");
        }
    }

    fn row(&mut self, row: Metrics) {
        let shown = shown(row.loss, row.images_per_second);
        self.last = Some(format!("step {}, loss {:.4}", row.step, row.loss));
        let noise_levels = self.noise_levels;
        self.record(|events| events.row(&row, &noise_levels));
        self.bar.set_message(shown.clone());
        if self.json {
            let memory = Bytes(row.device_bytes).0;
            let mut line = serde_json::json!({
                "step": row.step, "loss": row.loss, "grad_norm": row.grad_norm,
                "learning_rate": row.learning_rate, "images_per_second": row.images_per_second,
                "device_bytes": memory, "process_bytes": row.process_bytes,
            });
            if let Some(loss) = row.held_out_loss {
                let levels = row.held_out_levels;
                extend(&mut line, serde_json::json!({ "held_out_loss": loss, "held_out_levels": levels }));
            }
            let printed = print(line);
            // Training continues if standard output is closed or full.
            if let Err(error) = printed
                && !std::mem::replace(&mut self.unprinted, true)
            {
                note(format!("warning: rows cannot be printed: {}; training continues", chain(&error)));
            }
        } else if !self.terminal && self.spoken.is_none_or(|spoken| spoken.elapsed() > QUIET) {
            self.spoken = Some(Instant::now());
            let made = row.step.saturating_sub(self.first).max(1);
            let left = self.started.elapsed().as_secs_f64() / made as f64 * (self.steps - row.step) as f64;
            say(format!("step {}/{} {shown} ETA {left:.0}s", row.step, self.steps));
        }
    }

    /// Draws the pictures of a checkpoint. Training continues without those that fail.
    fn saved(&mut self, trainer: &Trainer, path: &Path) {
        let trained = self.drawn.elapsed();
        let warn = |e: anyhow::Error| note(format!("warning: {}; training continues", chain(&e)));
        plot::curves(&self.run.metrics(), &self.run.folder().join("loss.png")).unwrap_or_else(warn);
        let training = &trainer.config.training;
        if training.snapshot_sampling && !trainer.config.is_classifier() {
            let drawn = snapshot::draw(self.run, trainer, SHORTEST_BUDGET.max(trained));
            match drawn.context("no samples are drawn") {
                Err(error) => warn(error),
                Ok(cost) => {
                    self.price(training.snapshot_sampler.name(), &cost, trained);
                    let (run, step) = (self.run, trainer.step);
                    self.record(|events| events.picture(step, "samples", &run.samples(step)));
                    // Points have no strip.
                    if !trainer.config.data.is_points() {
                        self.record(|events| events.picture(step, "process", &run.process(step)));
                    }
                }
            }
        }
        self.drawn = Instant::now();
        if self.terminal {
            self.bar.println(format!("wrote {}", path.display()));
        }
    }

    /// Says once what the samples of a checkpoint cost.
    fn price(&mut self, sampler: &str, cost: &Cost, trained: Duration) {
        if std::mem::replace(&mut self.priced, true) {
            return;
        }
        let (seconds, since) = (cost.time.as_secs_f64(), trained.as_secs_f64());
        let line = format!(
            "{} with every checkpoint: {sampler}, {}, {seconds:.1} s after {since:.0} s of training",
            count(cost.samples, "sample"),
            evaluations(cost.evaluations)
        );
        self.bar.suspend(|| say(line));
    }

    /// Adds to the event file. Training continues without it if that fails.
    fn record(&mut self, add: impl FnOnce(&mut Events) -> anyhow::Result<()>) {
        if self.events_failed {
            return;
        }
        let added = match &mut self.events {
            Some(events) => add(events),
            none => Events::begin(self.run, self.first).and_then(|events| add(none.insert(events))),
        };
        if let Err(error) = added {
            self.events_failed = true;
            note(format!("warning: TensorBoard's events end here: {}; training continues", chain(&error)));
        }
    }
}

/// The first three of several names, and the number of the others.
fn some_of(names: &[String]) -> String {
    let more = names.len().saturating_sub(3);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    names[..names.len().min(3)].join(", ") + &more
}

fn shown(loss: f64, images_per_second: f64) -> String {
    format!("loss {loss:.4} {images_per_second:.0} images/s")
}
