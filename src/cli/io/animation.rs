//! Pictures of the reverse process: an animation, and a strip.

use super::{Images, images, paths, paths::ends_in, points};
use crate::config::Range;
use crate::kernels::layout;
use crate::sample::{self, Progress, Result, Score};
use crate::tensor::Shape;
use std::path::PathBuf;

/// Pictures of the reverse process.
#[derive(Default, clap::Args)]
pub struct AnimationArgs {
    /// Also write the reverse process of the first batch as an animation of at most 64 samples
    #[arg(long, value_name = "F.gif")]
    animate: Option<PathBuf>,
    /// Also write the reverse process as a strip: a row for each sample, at most eight of the first batch, and a column for each time
    #[arg(long, value_name = "F.png")]
    trajectory: Option<PathBuf>,
    /// Show the state, the denoised data that the model predicts from it, or both [default: state]
    #[arg(long, value_enum)]
    show: Option<Show>,
}

/// The pictures of a sample at each time.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Show {
    /// The state.
    State,
    /// The mean of the data given the state.
    Denoised,
    /// Both: side by side in an animation, one below the other in a strip.
    Both,
}

/// The largest number of frames of an animation.
const FRAMES: usize = 60;
/// The largest number of columns of a strip.
const COLUMNS: usize = 12;
/// The largest number of samples in an animation and in a strip, and of points in these.
const SHOWN: [usize; 2] = [64, 8];
const POINTS: [usize; 2] = [5000, 40];

/// The largest number of samples of a shape in an animation and in a strip.
fn shown(shape: Shape) -> [usize; 2] {
    if points::are_points(shape) { POINTS } else { SHOWN }
}

impl AnimationArgs {
    /// Checks the paths.
    pub fn check(&self) -> anyhow::Result<()> {
        let gif = self.animate.as_ref().is_none_or(|path| ends_in(path, "gif"));
        anyhow::ensure!(gif, "--animate writes a GIF: choose a file that ends in .gif");
        let png = self.trajectory.as_ref().is_none_or(|path| ends_in(path, "png"));
        anyhow::ensure!(png, "--trajectory writes a PNG: choose a file that ends in .png");
        let shown = self.show.is_none() || self.paths().next().is_some();
        anyhow::ensure!(shown, "--show needs --animate or --trajectory");
        self.paths().try_for_each(|path| paths::check(path, &["gif", "png"]))
    }

    /// The output paths.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.animate.iter().chain(&self.trajectory)
    }

    /// An animation of a sampler with this many steps, if there is an output.
    pub fn start(&self, steps: Option<usize>, range: Range) -> Option<Animation<'_>> {
        self.paths().next()?;
        let most = if self.animate.is_some() { FRAMES } else { COLUMNS - 1 };
        let every = steps.map_or(1, |steps| steps.div_ceil(most));
        Some(Animation { args: self, steps, every, range, frames: Vec::new() })
    }
}

/// The recorded frames of a reverse process.
pub struct Animation<'a> {
    args: &'a AnimationArgs,
    steps: Option<usize>,
    /// Steps from one frame to the next.
    every: usize,
    range: Range,
    frames: Vec<Images>,
}

impl Animation<'_> {
    /// Pictures of a sample at each time.
    fn pictures(&self) -> usize {
        if self.args.show == Some(Show::Both) { 2 } else { 1 }
    }

    /// Records the state. Evaluations of the score for it do not count as the sampler's.
    pub fn record(&mut self, score: &dyn Score, progress: &Progress<'_>) -> Result<()> {
        if !progress.step.is_multiple_of(self.every) && Some(progress.step) != self.steps {
            return Ok(());
        }
        let most = shown(progress.state.shape())[usize::from(self.args.animate.is_none())];
        let state = layout::samples(progress.state, 0, progress.state.shape().n().min(most))?;
        let show = self.args.show.unwrap_or(Show::State);
        let mut parts = Vec::new();
        if show != Show::Denoised {
            parts.push(state.read()?);
        }
        if show != Show::State {
            parts.push(sample::denoise(score, &state, progress.t)?.read()?);
        }
        let sample = state.shape().with_n(1).len();
        // The pictures of a sample are side by side.
        let values = (0..state.shape().n())
            .flat_map(|i| {
                parts.iter().flat_map(move |part| part[i * sample..(i + 1) * sample].iter().copied())
            })
            .collect();
        let shape = state.shape().with_n(state.shape().n() * parts.len());
        self.frames.push(Images::new(shape, values, self.range));
        Ok(())
    }

    /// Writes all outputs.
    pub fn write(&self) -> anyhow::Result<()> {
        if let Some(path) = &self.args.animate {
            images::write_gif(path, &self.frames, self.pictures())?;
        }
        let Some(path) = &self.args.trajectory else { return Ok(()) };
        let columns = COLUMNS.min(self.frames.len());
        let last = self.frames.len().saturating_sub(1);
        // The first and the last frame, and others at equal distances between them.
        let chosen = |i: usize| &self.frames[(i * last + (columns - 1) / 2) / (columns - 1).max(1)];
        let chosen: Vec<&Images> = (0..columns).map(chosen).collect();
        let most = self.frames.first().map_or(SHOWN, |frame| shown(frame.shape()))[1];
        images::write_strip(path, &chosen, most * self.pictures())
    }
}
