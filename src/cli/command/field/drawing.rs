//! The panels of a field: arrows, trajectories, and frames of the reverse process.

use crate::choice::Choice;
use crate::cli::io::plane::{INK, Layer, PREDICTED, Panel, Point, points};
use crate::cli::{note, progress, report};
use crate::config::sampling::Steps;
use crate::config::{Config, Method};
use crate::data::Mixture;
use crate::eval::{Exact, ExactScore};
use crate::nn::Scorer;
use crate::sample::{self, Draw, Progress, Score, sampler};
use crate::sde::{Level, Marginal};
use crate::tensor::{Shape, Tensor};
use image::{RgbImage, RgbaImage};

/// Arrows on each side of a panel.
const ARROWS: usize = 19;
/// Trajectories in a panel.
const PATHS: usize = 12;
/// Steps of a sampler whose number is that of the process's chain.
const CHAIN: usize = 200;
/// The largest number of frames of an animation.
const FRAMES: usize = 48;
/// The noise level over whose density trajectories are drawn, if the process has it.
const LAST: f64 = 0.05;

/// A model's score and the distribution of its data.
pub struct Field<'a> {
    pub scorer: &'a Scorer,
    pub config: &'a Config,
    /// The distribution, or points that stand for it.
    pub mixture: &'a Mixture,
    /// The mixture is the distribution itself, not an estimate of it.
    pub exact: bool,
    pub draw: Draw,
}

impl Field<'_> {
    /// The learned score at each level, then the exact one.
    pub fn arrows(&self, levels: &[Level], errors: &[f64]) -> anyhow::Result<Vec<RgbImage>> {
        let beside = if self.exact { "exact" } else { "of the points" };
        let (mut learned, mut exact) = (Vec::new(), Vec::new());
        for (i, level) in levels.iter().enumerate() {
            let half = self.half(level.t);
            let grid = grid(half);
            let [own, other] = self.scores(&grid, level.t)?;
            // Both panels have one scale: the longest exact arrows but a tenth are as long as the grid is wide.
            let mut lengths: Vec<f32> = other.iter().map(|[x, y]| x.hypot(*y)).collect();
            lengths.sort_unstable_by(f32::total_cmp);
            let spacing = 2.0 * half as f32 / ARROWS as f32;
            let scale = spacing / lengths[lengths.len() * 9 / 10].max(f32::MIN_POSITIVE);
            let error = errors.get(i).map_or(String::new(), |error| format!(", {:.1} % off", 100.0 * error));
            for (panels, score, colour, title) in [
                (&mut learned, own, PREDICTED, format!("learned, σ = {:.3}{error}", level.sigma)),
                (&mut exact, other, INK, format!("{beside}, σ = {:.3}", level.sigma)),
            ] {
                let vector = |v: &Point| {
                    let factor = scale.min(1.5 * spacing / v[0].hypot(v[1]).max(f32::MIN_POSITIVE));
                    v.map(|v| factor * v)
                };
                let arrows: Vec<(Point, Point)> =
                    grid.iter().copied().zip(score.iter().map(vector)).collect();
                let density = self.log_density(level.t);
                let layers = [Layer::LogDensity(&density), Layer::Arrows(&arrows, colour)];
                panels.push(Panel { title, half }.draw(&layers)?);
            }
        }
        Ok([learned, exact].concat())
    }

    /// Trajectories of every sampler that takes the process, from the same states, over the density at little noise.
    pub fn trajectories(&self) -> anyhow::Result<Vec<RgbImage>> {
        let process = &*self.scorer.model.process;
        let last = process.level_within(LAST).unwrap_or_else(|| process.level(process.sampling_eps()));
        let density = self.log_density(last.t);
        let mut panels = Vec::new();
        for method in Method::ALL {
            let mut sampling = self.config.sampling.clone();
            sampling.set_method(*method);
            let steps = match method.capabilities().steps {
                Steps::Chain => CHAIN,
                Steps::Grid(steps, _) => steps,
                Steps::Adaptive => 0,
            };
            let mut states: Vec<Vec<Point>> = Vec::new();
            let x = sample::prior(self.scorer, Shape::new(PATHS, 1, 1, 2), self.draw)?;
            states.push(points(&x.read()?));
            let mut watch = |progress: Progress<'_>| {
                states.push(points(&progress.state.read()?));
                Ok(())
            };
            let sampled = sampler(&sampling, steps)
                .and_then(|sampler| sampler.run(self.scorer, x, self.draw, &mut watch));
            let sampled = match sampled {
                Ok(sampled) => sampled,
                Err(error) => {
                    note(format!("no trajectories of {method}: {error}"));
                    continue;
                }
            };
            states.push(points(&sampled.x.read()?));
            let paths: Vec<Vec<Point>> =
                (0..PATHS).map(|i| states.iter().map(|state| state[i]).collect()).collect();
            let title = format!("{method}, {}", report::evaluations(sampled.evaluations));
            let title = title.replace(" score evaluation", " evaluation");
            let panel = Panel { title, half: 1.5 * self.reach() };
            panels.push(panel.draw(&[Layer::LogDensity(&density), Layer::Paths(&paths)])?);
        }
        Ok(panels)
    }

    /// The reverse process of `n` points by the model's sampler, over the density at each time.
    pub fn animation(&self, n: usize) -> anyhow::Result<Vec<RgbaImage>> {
        let sampler = sampler(&self.config.sampling, self.config.sampling_steps())?;
        let x = sample::prior(self.scorer, Shape::new(n, 1, 1, 2), self.draw)?;
        let every = sampler.steps().map_or(1, |steps| steps.div_ceil(FRAMES));
        let bar = progress::steps(sampler.steps());
        let mut states: Vec<(f64, Vec<Point>)> = vec![(1.0, points(&x.read()?))];
        let mut watch = |progress: Progress<'_>| {
            bar.step();
            if progress.step.is_multiple_of(every) {
                states.push((progress.t, points(&progress.state.read()?)));
            }
            Ok(())
        };
        let sampled = sampler.run(self.scorer, x, self.draw, &mut watch)?;
        bar.finish();
        let end = self.scorer.model.process.sampling_eps();
        states.push((end, points(&sampled.x.read()?)));
        // A solver with adaptive steps may have made many.
        let thinned = states.len().div_ceil(FRAMES + 2);
        let last = states.len() - 1;
        let chosen = states.iter().enumerate().filter(|(i, _)| i % thinned == 0 || *i == last);
        let frame = |(_, (t, points)): (usize, &(f64, Vec<Point>))| {
            let sigma = self.scorer.model.process.level(*t).sigma;
            let panel = Panel { title: format!("t = {t:.3}, σ = {sigma:.3}"), half: self.half(*t) };
            let density = self.log_density(*t);
            let drawn = panel.draw(&[Layer::LogDensity(&density), Layer::Points(points, INK)])?;
            Ok(image::DynamicImage::from(drawn).into_rgba8())
        };
        chosen.map(frame).collect()
    }

    /// The learned and the exact score at points.
    fn scores(&self, at: &[Point], t: f64) -> anyhow::Result<[Vec<Point>; 2]> {
        let gpu = self.scorer.gpu();
        let x = Tensor::from_slice(gpu, Shape::new(at.len(), 1, 1, 2), &at.concat())?;
        let exact = ExactScore { mixture: self.mixture, process: &*self.scorer.model.process, gpu };
        let read = |score: &dyn Score| {
            let values: Vec<f32> = score.at(&x, &t.into())?.score().run()?.read()?;
            anyhow::Ok(points(&values))
        };
        Ok([read(self.scorer)?, read(&exact)?])
    }

    /// log p of the perturbed distribution at a time. A distribution of points is shown with a little noise at least.
    fn log_density(&self, t: f64) -> impl Fn([f64; 2]) -> f64 {
        let Marginal { mean, std } = self.scorer.model.process.marginal_prob(t);
        let marginal = Marginal { mean, std: if self.exact { std } else { std.max(0.02) } };
        move |x| Exact::at(self.mixture, marginal, x).log_density
    }

    /// The largest coordinate of the distribution's centres.
    fn reach(&self) -> f64 {
        let parts = self.mixture.parts().iter();
        parts.flat_map(|part| part.centre.map(f64::abs)).fold(0.1, f64::max)
    }

    /// Half the width of a square that shows the perturbed distribution.
    fn half(&self, t: f64) -> f64 {
        let Marginal { mean, std } = self.scorer.model.process.marginal_prob(t);
        1.2 * (mean * self.reach() + 1.5 * std) + 0.1
    }
}

/// The points of a grid inside a square.
fn grid(half: f64) -> Vec<Point> {
    let at = |i: usize| (half * (2.0 * (i as f64 + 0.5) / ARROWS as f64 - 1.0)) as f32;
    (0..ARROWS * ARROWS).map(|i| [at(i % ARROWS), at(i / ARROWS)]).collect()
}
