//! Pictures of the plane: densities, arrows, points and paths in panels.

use anyhow::{Context, anyhow};
use image::{GenericImage, RgbImage};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::fmt::Display;

/// Pixels of a panel on each side.
const SIDE: u32 = 340;
/// Pixels of a cell in which the density is one colour.
const CELL: usize = 3;
/// The darkest colour of a density.
const DARK: [f64; 3] = [62.0, 110.0, 190.0];
/// Pixels between panels.
const GAP: u32 = 4;

/// The colour of states, samples and exact scores.
pub const INK: RGBColor = RGBColor(20, 20, 40);
/// The colour of what a model predicts.
pub const PREDICTED: RGBColor = RGBColor(205, 70, 0);

/// A point of the plane.
pub type Point = [f32; 2];

/// A part of a panel, drawn over those before it.
pub enum Layer<'a> {
    /// log p at a point: the denser, the darker.
    LogDensity(&'a dyn Fn([f64; 2]) -> f64),
    /// Arrows, each from a point along a vector.
    Arrows(&'a [(Point, Point)], RGBColor),
    /// Points.
    Points(&'a [Point], RGBColor),
    /// Paths, with a dot at their ends.
    Paths(&'a [Vec<Point>]),
}

/// A square of the plane around 0, with a title.
pub struct Panel {
    /// The title.
    pub title: String,
    /// Half the width of the square.
    pub half: f64,
}

/// The points of samples of 1 × 1 × 2.
pub fn points(values: &[f32]) -> Vec<Point> {
    values.chunks_exact(2).map(|point| [point[0], point[1]]).collect()
}

/// Half the width of a square around 0 that shows nearly all of some points.
pub fn half_width(points: &[Point]) -> f64 {
    let mut far: Vec<f64> = points.iter().map(|[x, y]| f64::from(x.abs().max(y.abs()))).collect();
    far.sort_unstable_by(f64::total_cmp);
    // A few states far away do not shrink the others.
    let most = far.get(far.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(1.0);
    1.2 * most.clamp(1e-6, 1e6)
}

/// Panels in rows of so many.
pub fn tiled(panels: &[RgbImage], columns: usize) -> anyhow::Result<RgbImage> {
    let (columns, rows) = (columns as u32, panels.len().div_ceil(columns.max(1)) as u32);
    let mut whole = RgbImage::from_pixel(columns * (SIDE + GAP), rows * (SIDE + GAP), image::Rgb([255; 3]));
    for (i, panel) in panels.iter().enumerate() {
        let (column, row) = (i as u32 % columns, i as u32 / columns);
        whole.copy_from(panel, column * (SIDE + GAP), row * (SIDE + GAP))?;
    }
    Ok(whole)
}

fn text(e: impl Display) -> String {
    e.to_string()
}

impl Panel {
    /// The picture of the layers.
    pub fn draw(&self, layers: &[Layer<'_>]) -> anyhow::Result<RgbImage> {
        let drawn = self.framed(layers).map_err(|e| anyhow!("a panel cannot be drawn: {e}"))?;
        drawn.context("a picture has as many pixels as it says")
    }

    /// Title, axes, and the layers between them, which are a picture of their own: it cuts off what goes beyond it.
    fn framed(&self, layers: &[Layer<'_>]) -> Result<Option<RgbImage>, String> {
        register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
            .map_err(|_| "no font")?;
        let mut pixels = vec![0; (3 * SIDE * SIDE) as usize];
        let (x, y) = {
            let area = BitMapBackend::with_buffer(&mut pixels, (SIDE, SIDE)).into_drawing_area();
            area.fill(&WHITE).map_err(text)?;
            let mut chart = ChartBuilder::on(&area)
                .margin(8)
                .caption(&self.title, ("sans-serif", 16))
                .x_label_area_size(18)
                .y_label_area_size(32)
                .build_cartesian_2d(-self.half..self.half, -self.half..self.half)
                .map_err(text)?;
            let mut mesh = chart.configure_mesh();
            mesh.disable_mesh().x_labels(5).y_labels(5).label_style(("sans-serif", 12));
            mesh.draw().map_err(text)?;
            area.present().map_err(text)?;
            chart.plotting_area().get_pixel_range()
        };
        let size = [&x, &y].map(|range| range.end.saturating_sub(range.start).max(1) as u32);
        let inner = self.inner(size, layers)?;
        let Some(mut whole) = RgbImage::from_raw(SIDE, SIDE, pixels) else { return Ok(None) };
        whole.copy_from(&inner, x.start.max(0) as u32, y.start.max(0) as u32).map_err(text)?;
        Ok(Some(whole))
    }

    /// The layers without a frame.
    fn inner(&self, [width, height]: [u32; 2], layers: &[Layer<'_>]) -> Result<RgbImage, String> {
        let mut image = RgbImage::from_pixel(width, height, image::Rgb([255; 3]));
        for layer in layers {
            if let Layer::LogDensity(log_density) = layer {
                self.shade(&mut image, *log_density);
            }
        }
        let mut pixels = image.into_raw();
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .build_cartesian_2d(-self.half..self.half, -self.half..self.half)
            .map_err(text)?;
        let at = |[x, y]: Point| (f64::from(x), f64::from(y));
        for layer in layers {
            match layer {
                Layer::LogDensity(_) => {}
                Layer::Arrows(arrows, colour) => {
                    let lines = arrows.iter().flat_map(|(from, by)| arrow(*from, *by));
                    let lines = lines.filter_map(|line| self.clipped(line.map(at)));
                    let drawn = lines.map(|line| PathElement::new(line.to_vec(), *colour));
                    chart.draw_series(drawn).map_err(text)?;
                }
                Layer::Points(points, colour) => {
                    let (radius, opacity) = match points.len() {
                        0..=300 => (3, 0.7),
                        301..=3000 => (2, 0.5),
                        _ => (1, 0.35),
                    };
                    let dot = |p: &Point| Circle::new(at(*p), radius, colour.mix(opacity).filled());
                    let inside = points.iter().filter(|point| self.holds(**point));
                    chart.draw_series(inside.map(dot)).map_err(text)?;
                }
                Layer::Paths(paths) => {
                    for (i, path) in paths.iter().enumerate() {
                        let colour = Palette99::pick(i);
                        let lines =
                            path.windows(2).filter_map(|ends| self.clipped([ends[0], ends[1]].map(at)));
                        let drawn = lines.map(|line| PathElement::new(line.to_vec(), colour.mix(0.8)));
                        chart.draw_series(drawn).map_err(text)?;
                        let end = path.last().filter(|end| self.holds(**end));
                        let dot = end.map(|end| Circle::new(at(*end), 3, colour.filled()));
                        chart.draw_series(dot).map_err(text)?;
                    }
                }
            }
        }
        drop(chart);
        area.present().map_err(text)?;
        drop(area);
        RgbImage::from_raw(width, height, pixels).ok_or_else(|| "no picture".into())
    }

    /// Returns true if a point is inside.
    fn holds(&self, point: Point) -> bool {
        point.iter().all(|v| f64::from(v.abs()) < self.half)
    }

    /// The part of a line that is inside, if any (Liang and Barsky 1984): the library would move what is beyond to the edge.
    fn clipped(&self, [a, b]: [(f64, f64); 2]) -> Option<[(f64, f64); 2]> {
        let (mut first, mut last) = (0.0f64, 1.0f64);
        for (from, by) in [(a.0, b.0 - a.0), (a.1, b.1 - a.1)] {
            let crossings = [(-self.half - from) / by, (self.half - from) / by];
            if by == 0.0 {
                if from.abs() > self.half {
                    return None;
                }
                continue;
            }
            first = first.max(crossings[0].min(crossings[1]));
            last = last.min(crossings[0].max(crossings[1]));
        }
        let at = |u: f64| (a.0 + u * (b.0 - a.0), a.1 + u * (b.1 - a.1));
        (first < last).then(|| [at(first), at(last)])
    }

    /// Colours cells by a density: the square root of its share of the largest.
    fn shade(&self, image: &mut RgbImage, log_density: &dyn Fn([f64; 2]) -> f64) {
        let [width, height] = [image.width(), image.height()].map(f64::from);
        let coordinate =
            |cell: u32, extent: f64| self.half * (2.0 * (f64::from(cell) + 0.5 * CELL as f64) / extent - 1.0);
        let rows = (0..image.height()).step_by(CELL);
        let cells = rows.flat_map(|y| (0..image.width()).step_by(CELL).map(move |x| (x, y)));
        let values: Vec<(u32, u32, f64)> =
            cells.map(|(x, y)| (x, y, log_density([coordinate(x, width), -coordinate(y, height)]))).collect();
        let top = values.iter().map(|(.., log)| *log).fold(f64::NEG_INFINITY, f64::max);
        for (left, above, log) in values {
            let share = (0.5 * (log - top)).exp();
            let colour = DARK.map(|dark| (255.0 + share * (dark - 255.0)).round() as u8);
            for y in above..(above + CELL as u32).min(image.height()) {
                for x in left..(left + CELL as u32).min(image.width()) {
                    image.put_pixel(x, y, image::Rgb(colour));
                }
            }
        }
    }
}

/// The lines of an arrow: its shaft and its head.
fn arrow(from: Point, by: Point) -> [[Point; 2]; 3] {
    let to = [0, 1].map(|k| from[k] + by[k]);
    let barb = |side: f32| {
        let across = [-by[1], by[0]];
        [to, [0, 1].map(|k| to[k] - 0.35 * by[k] + side * 0.2 * across[k])]
    };
    [[from, to], barb(1.0), barb(-1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a panel from −1 to 1 the pixels of a point in the upper right are dark, and those of other quarters are not.
    #[test]
    fn a_point_is_drawn_where_it_is() {
        let panel = Panel { title: String::new(), half: 1.0 };
        let drawn = panel.inner([100, 100], &[Layer::Points(&[[0.5, 0.5], [50.0, -0.5]], INK)]).unwrap();
        let dark = |x, y| drawn.get_pixel(x, y).0.iter().map(|v| u32::from(*v)).sum::<u32>() < 600;
        assert!(dark(75, 25));
        assert!(!dark(25, 25) && !dark(25, 75) && !dark(75, 75));
        let shaded = panel
            .inner([99, 99], &[Layer::LogDensity(&|[x, y]| -20.0 * ((x + 0.5).powi(2) + (y - 0.5).powi(2)))]);
        let shaded = shaded.unwrap();
        let red = |x, y| shaded.get_pixel(x, y).0[0];
        assert!(red(25, 25) < 80 && red(75, 75) > 250, "{} {}", red(25, 25), red(75, 75));
    }

    #[test]
    fn a_line_is_cut_off_at_the_edges() {
        let panel = Panel { title: String::new(), half: 1.0 };
        assert_eq!(panel.clipped([(-3.0, 0.0), (1.0, 0.0)]), Some([(-1.0, 0.0), (1.0, 0.0)]));
        assert_eq!(panel.clipped([(0.0, 0.0), (0.5, 0.25)]), Some([(0.0, 0.0), (0.5, 0.25)]));
        assert_eq!(panel.clipped([(0.0, 0.0), (2.0, 4.0)]), Some([(0.0, 0.0), (0.5, 1.0)]));
        assert_eq!(panel.clipped([(-3.0, 2.0), (3.0, 2.0)]), None);
        assert_eq!(panel.clipped([(0.0, 3.0), (3.0, 0.0)]), None);
    }

    #[test]
    fn panels_stand_in_rows() {
        let panel = Panel { title: "σ = 1".into(), half: 2.0 };
        let drawn = panel.draw(&[Layer::Paths(&[vec![[0.0, 0.0], [1.0, 1.0], [9.0, 1.0]]])]).unwrap();
        assert_eq!(tiled(&[drawn.clone(), drawn.clone(), drawn], 2).unwrap().dimensions(), (688, 688));
    }
}
