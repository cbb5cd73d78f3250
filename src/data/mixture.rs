//! Distributions in the plane: mixtures of Gaussians and squares.
//!
//! A curve with Gaussian noise around it is a mixture of Gaussians whose centres are closer than their standard deviation:
//! its density, perturbed by any process, then has a closed form, as that of every [`Mixture`] has.

use super::{DataError, FloatDataset, Split};
use crate::config::Toy;
use crate::random::{Key, Purpose};
use std::f64::consts::{PI, TAU};

/// A component of a distribution in the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Component {
    /// Its share of the points, above 0.
    pub weight: f64,
    /// Its centre.
    pub centre: [f64; 2],
    /// The points around the centre.
    pub spread: Spread,
    /// Its class, counted from 0.
    pub class: usize,
}

/// The points of a part around its centre.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// Normal, of this standard deviation in both coordinates; 0 for the centre alone.
    Normal(f64),
    /// Uniform on the square of this half width.
    Square(f64),
}

impl Spread {
    /// The variance of each coordinate.
    pub fn variance(self) -> f64 {
        match self {
            Spread::Normal(std) => std * std,
            Spread::Square(half) => half * half / 3.0,
        }
    }
}

/// A distribution in the plane.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    parts: Vec<Component>,
}

/// Points of a toy distribution to train on, and to test with.
const COUNT: [usize; 2] = [50_000, 10_000];
/// Centres along a curve: they are closer than a standard deviation, which leaves no ripples (below 1e-8).
const NODES: usize = 512;

impl Mixture {
    /// A toy distribution, within about [−1, 1]².
    pub fn of(toy: Toy) -> Mixture {
        let parts = match toy {
            Toy::Gaussians => {
                let at = |k: usize| circle(0.8, k as f64 / 8.0);
                (0..8).map(|k| part(1.0 / 8.0, at(k), Spread::Normal(0.06), k)).collect()
            }
            Toy::TwoGaussians => {
                let spread = Spread::Normal(0.1);
                vec![part(0.2, [-0.5; 2], spread, 0), part(0.8, [0.5; 2], spread, 1)]
            }
            Toy::Moons => {
                let half = |u: f64| (PI * u).sin_cos();
                let upper = |u| (half(u).1 - 0.5, half(u).0 - 0.25);
                let lower = |u| (0.5 - half(u).1, 0.25 - half(u).0);
                let scaled = |(x, y): (f64, f64)| [0.6 * x, 0.6 * y];
                let upper = curve(0.5, 0.04, 0, |u| scaled(upper(u)));
                upper.into_iter().chain(curve(0.5, 0.04, 1, |u| scaled(lower(u)))).collect()
            }
            Toy::SwissRoll => curve(1.0, 0.025, 0, |u| {
                let turns = 0.75 + 1.5 * u;
                circle(0.95 * turns / 2.25, turns)
            }),
            Toy::Checkerboard => {
                let squares = (0..16).filter(|k| (k / 4 + k % 4) % 2 == 0);
                let centre = |k: usize| [k % 4, k / 4].map(|i| (i as f64 - 1.5) / 2.0);
                squares.map(|k| part(1.0 / 8.0, centre(k), Spread::Square(0.25), 0)).collect()
            }
            Toy::Rings => {
                let ring = |(k, radius)| curve(0.5, 0.03, k, move |u| circle(radius, u));
                [0.4, 0.9].into_iter().enumerate().flat_map(ring).collect()
            }
        };
        Mixture { parts }
    }

    /// The distribution that has each of these points with the same probability.
    pub fn of_points(points: &[[f32; 2]]) -> Mixture {
        let weight = 1.0 / points.len() as f64;
        let at = |point: &[f32; 2]| part(weight, point.map(f64::from), Spread::Normal(0.0), 0);
        Mixture { parts: points.iter().map(at).collect() }
    }

    /// Its parts, whose weights add up to 1.
    pub fn parts(&self) -> &[Component] {
        &self.parts
    }

    /// The number of its classes.
    pub fn classes(&self) -> usize {
        self.parts.iter().map(|part| part.class + 1).max().unwrap_or(0)
    }

    /// The mean, and the covariance [xx, xy, yy].
    pub fn moments(&self) -> ([f64; 2], [f64; 3]) {
        let mean = |f: &dyn Fn(&Component) -> f64| self.parts.iter().map(|p| p.weight * f(p)).sum::<f64>();
        let [x, y] = [0, 1].map(|k| mean(&|part| part.centre[k]));
        let of = |i: usize, j: usize| {
            mean(&|part| {
                let within = if i == j { part.spread.variance() } else { 0.0 };
                within + (part.centre[i] - [x, y][i]) * (part.centre[j] - [x, y][j])
            })
        };
        ([x, y], [of(0, 0), of(0, 1), of(1, 1)])
    }

    /// The points `0 .. n` of a key, and their classes. A point depends on its number alone.
    pub fn draw(&self, key: Key, n: usize) -> (Vec<[f32; 2]>, Vec<usize>) {
        let ends: Vec<f64> = (self.parts.iter())
            .scan(0.0, |sum, part| {
                *sum += part.weight;
                Some(*sum)
            })
            .collect();
        let one = |i: usize| {
            let [u, v, w, _] = key.uniform(i as u32, 0).map(f64::from);
            let chosen = ends.partition_point(|end| *end <= u).min(self.parts.len() - 1);
            let part = &self.parts[chosen];
            let offset = match part.spread {
                Spread::Normal(std) => {
                    let [x, y, ..] = key.normal(i as u32, 1).map(f64::from);
                    [std * x, std * y]
                }
                Spread::Square(half) => [v, w].map(|u| half * (2.0 * u - 1.0)),
            };
            ([0, 1].map(|k| (part.centre[k] + offset[k]) as f32), part.class)
        };
        (0..n).map(one).unzip()
    }
}

/// The points of a split of a toy distribution; no point is in both. They do not depend on a run's seed, so that all runs
/// have the same data.
pub(super) fn points(toy: Toy, split: Split) -> Result<FloatDataset, DataError> {
    let test = split == Split::Test;
    let mixture = Mixture::of(toy);
    let key = Key::new(0, Purpose::Points).at(u32::from(test));
    let (points, classes) = mixture.draw(key, COUNT[usize::from(test)]);
    let labels = (mixture.classes() > 1).then_some(classes);
    FloatDataset::new(points.concat(), [points.len(), 1, 1, 2], labels)
}

fn part(weight: f64, centre: [f64; 2], spread: Spread, class: usize) -> Component {
    Component { weight, centre, spread, class }
}

/// The point of a circle after so many turns.
fn circle(radius: f64, turns: f64) -> [f64; 2] {
    let (sin, cos) = (TAU * turns).sin_cos();
    [radius * cos, radius * sin]
}

/// Gaussians along a curve of u in [0, 1], of this weight together.
fn curve(weight: f64, std: f64, class: usize, at: impl Fn(f64) -> [f64; 2]) -> Vec<Component> {
    let node = |i: usize| at((i as f64 + 0.5) / NODES as f64);
    (0..NODES).map(|i| part(weight / NODES as f64, node(i), Spread::Normal(std), class)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Choice;

    #[test]
    fn points_have_the_moments_and_the_classes_of_their_distribution() {
        for toy in Toy::ALL {
            let mixture = Mixture::of(*toy);
            let weights: f64 = mixture.parts().iter().map(|part| part.weight).sum();
            assert!((weights - 1.0).abs() < 1e-12, "{toy}");
            let n = 20_000;
            let (points, classes) = mixture.draw(Key::new(3, Purpose::Points), n);
            let mean = |f: &dyn Fn(&[f32; 2]) -> f64| points.iter().map(f).sum::<f64>() / n as f64;
            let ([x, y], [xx, xy, yy]) = mixture.moments();
            let (dx, dy) = (|p: &[f32; 2]| f64::from(p[0]) - x, |p: &[f32; 2]| f64::from(p[1]) - y);
            // Five standard errors: coordinates have a standard deviation below 1, their products one below 0.8.
            let most = 5.0 / (n as f64).sqrt();
            for (found, expected) in [
                (mean(&dx), 0.0),
                (mean(&dy), 0.0),
                (mean(&|p| dx(p).powi(2)), xx),
                (mean(&|p| dx(p) * dy(p)), xy),
                (mean(&|p| dy(p).powi(2)), yy),
            ] {
                assert!((found - expected).abs() < most, "{toy}: {found}, not {expected}");
            }
            assert!((0..mixture.classes()).all(|class| classes.contains(&class)), "{toy}");
            assert!(points.concat().iter().all(|v| v.abs() < 1.5), "{toy}");
        }
    }

    #[test]
    fn centres_along_a_curve_are_closer_than_their_standard_deviation() {
        for toy in [Toy::Moons, Toy::SwissRoll, Toy::Rings] {
            let mixture = Mixture::of(toy);
            for pair in mixture.parts().windows(2).filter(|pair| pair[0].class == pair[1].class) {
                let [[a, b], [c, d]] = [pair[0].centre, pair[1].centre];
                assert!(((a - c).hypot(b - d)) < pair[0].spread.variance().sqrt(), "{toy}");
            }
        }
    }

    #[test]
    fn training_and_test_points_are_disjoint_and_always_the_same() {
        let [train, test] = [Split::Train, Split::Test].map(|split| points(Toy::Moons, split).unwrap());
        assert_eq!(train, points(Toy::Moons, Split::Train).unwrap());
        let bits = |set: &FloatDataset| -> Vec<u64> {
            set.values()
                .chunks(2)
                .map(|p| u64::from(p[0].to_bits()) << 32 | u64::from(p[1].to_bits()))
                .collect()
        };
        let trained: std::collections::HashSet<u64> = bits(&train).into_iter().collect();
        assert!(bits(&test).iter().all(|point| !trained.contains(point)));
    }
}
