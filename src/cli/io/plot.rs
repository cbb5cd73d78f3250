//! The curves of a run, from `metrics.csv`.

use super::{images::png, paths::written};
use crate::train::{LEVELS, Metrics};
use anyhow::Context;
use image::RgbImage;
use image::imageops::{FilterType, resize};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::ops::Range;
use std::path::Path;

const SIZE: (u32, u32) = (1100, 820);
/// The picture is drawn larger by this factor and then reduced, which smooths lines and letters.
const DRAWN: u32 = 2;
/// The heights of the title and of the panel of the loss below it.
const TITLE: u32 = 44;
const LOSS: u32 = 460;

const RAW: RGBColor = RGBColor(176, 198, 228);
const TRAINING: RGBColor = RGBColor(31, 90, 166);
const HELD_OUT: RGBColor = RGBColor(214, 96, 28);
const OTHER: RGBColor = RGBColor(60, 120, 80);
/// From the lowest noise to the highest.
const BY_LEVEL: [RGBColor; LEVELS] =
    [RGBColor(68, 1, 84), RGBColor(49, 104, 142), RGBColor(53, 160, 110), RGBColor(205, 160, 20)];

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Plots the curves over the steps, if there are at least two rows.
pub fn curves(metrics: &Path, picture: &Path) -> anyhow::Result<()> {
    let rows = Metrics::read(metrics)?;
    let run = std::path::absolute(metrics).ok();
    let name = run.as_deref().and_then(Path::parent).and_then(Path::file_name).unwrap_or_default();
    let image = plotted(&rows, &name.to_string_lossy())?;
    image.map_or(Ok(()), |image| written(picture, &png(&image.into())?))
}

/// The plot of a run's rows, if at least two can be drawn.
pub fn plotted(rows: &[Metrics], name: &str) -> anyhow::Result<Option<RgbImage>> {
    let loss = Line::new("training, each row", RAW, rows, |row| Some(row.loss));
    if loss.points.len() < 2 {
        return Ok(None);
    }
    let (width, height) = (DRAWN * SIZE.0, DRAWN * SIZE.1);
    let mut pixels = vec![0; (3 * width * height) as usize];
    draw(&mut pixels, loss, rows, name).map_err(|e| anyhow::anyhow!("the curves cannot be drawn: {e}"))?;
    let drawn =
        RgbImage::from_raw(width, height, pixels).context("a picture has as many pixels as it says")?;
    Ok(Some(resize(&drawn, SIZE.0, SIZE.1, FilterType::Triangle)))
}

/// A curve and its name in the legend.
struct Line {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

impl Line {
    /// The column of the rows, without what an axis does not show.
    fn new(name: &str, colour: RGBColor, rows: &[Metrics], column: impl Fn(&Metrics) -> Option<f64>) -> Line {
        // A logarithmic axis counts its ticks out.
        let drawable = |value: &f64| (1e-30..1e30).contains(&value.abs());
        let point = |row: &Metrics| Some((row.step as f64, column(row).filter(drawable)?));
        Line { name: name.into(), colour, points: rows.iter().filter_map(point).collect() }
    }

    /// The exponential moving average over about a twentieth of the points, weighted so that it starts with
    /// the first.
    fn smoothed(&self, name: &str, colour: RGBColor) -> Line {
        let decay = 1.0 - 1.0 / (self.points.len() as f64 / 20.0).max(2.0);
        let (mut sum, mut weight) = (0.0, 0.0);
        let mut next = |(step, value): &(f64, f64)| {
            (sum, weight) = (decay * sum + value, decay * weight + 1.0);
            (*step, sum / weight)
        };
        Line { name: name.into(), colour, points: self.points.iter().map(&mut next).collect() }
    }
}

fn draw(pixels: &mut [u8], loss: Line, rows: &[Metrics], name: &str) -> Result<(), String> {
    register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| "no font")?;
    let area = BitMapBackend::with_buffer(pixels, (DRAWN * SIZE.0, DRAWN * SIZE.1)).into_drawing_area();
    area.fill(&WHITE).map_err(|e| e.to_string())?;
    let title = ("sans-serif", 24 * DRAWN).into_font().color(&BLACK);
    let last = rows.iter().map(|row| row.step).max().unwrap_or(0);
    area.draw_text(&format!("{name}: {last} steps"), &title, (20 * DRAWN as i32, 14 * DRAWN as i32))
        .map_err(|e| e.to_string())?;
    let (upper, lower) = area.margin(TITLE * DRAWN, 0, 0, 0).split_vertically(LOSS * DRAWN);
    let mut lines = vec![loss];
    lines.push(lines[0].smoothed("training, smoothed", TRAINING));
    let held_out = Line::new("held out", HELD_OUT, rows, |row| row.held_out_loss);
    let by_level: Vec<Line> = (0..LEVELS)
        .map(|i| {
            let name = ["lowest noise", "low", "high", "highest noise"][i];
            Line::new(name, BY_LEVEL[i], rows, |row| row.held_out_levels[i])
        })
        .collect();
    let mut panels = vec![
        ("gradient norm", vec![Line::new("", OTHER, rows, |row| Some(row.grad_norm))]),
        ("images/s", vec![Line::new("", OTHER, rows, |row| Some(row.images_per_second))]),
    ];
    if held_out.points.len() > 1 {
        lines.push(held_out);
        panels.insert(0, ("held-out loss by noise level", by_level));
    }
    panel(&upper, "loss", &lines)?;
    let columns = lower.split_evenly((1, panels.len()));
    panels.iter().zip(&columns).try_for_each(|((name, lines), area)| panel(area, name, lines))?;
    area.present().map_err(|e| e.to_string())
}

/// Draws lines in a part of the picture. The axis is logarithmic if they span more than a factor of 50.
fn panel(area: &Area<'_>, name: &str, lines: &[Line]) -> Result<(), String> {
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    match () {
        () if low > high => Ok(()),
        // A logarithmic axis has ticks at powers of ten, and a short one none.
        () if low > 0.0 && high > 50.0 * low => {
            panel_on(area, name, lines, (0.9 * low..1.1 * high).log_scale())
        }
        () => {
            let margin = (0.05 * (high - low)).max(1e-3 * high.abs()).max(1e-30);
            panel_on(area, name, lines, low - margin..high + margin)
        }
    }
}

/// Draws with this axis of values.
fn panel_on<Y>(area: &Area<'_>, name: &str, lines: &[Line], axis: Y) -> Result<(), String>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let failed = |e: &dyn std::fmt::Display| e.to_string();
    let font = ("sans-serif", 15 * DRAWN);
    let mut chart = ChartBuilder::on(area)
        .margin(10 * DRAWN)
        .x_label_area_size(40 * DRAWN)
        .y_label_area_size(66 * DRAWN)
        .build_cartesian_2d(steps(lines), axis)
        .map_err(|e| failed(&e))?;
    let wide = area.dim_in_pixel().0 > 2 * SIZE.0 * DRAWN / 3;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc(name)
        .x_labels(if wide { 10 } else { 4 })
        .y_labels(6)
        .label_style(font)
        .x_label_formatter(&|step| plain(*step))
        .y_label_formatter(&|value| plain(*value))
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .draw()
        .map_err(|e| failed(&e))?;
    for Line { name, colour, points } in lines {
        let style = colour.stroke_width(2 * DRAWN);
        let series = chart.draw_series(LineSeries::new(points.iter().copied(), style));
        let series = series.map_err(|e| failed(&e))?;
        if !name.is_empty() {
            let length = 18 * DRAWN as i32;
            series.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + length, y)], style));
        }
    }
    if lines.iter().all(|line| line.name.is_empty()) {
        return Ok(());
    }
    let legend = if wide { 15 } else { 12 } * DRAWN;
    chart
        .configure_series_labels()
        .position(if wide { SeriesLabelPosition::UpperRight } else { SeriesLabelPosition::LowerLeft })
        .legend_area_size(24 * DRAWN)
        .margin(8 * DRAWN)
        .label_font(("sans-serif", legend))
        .background_style(WHITE.mix(0.85))
        .draw()
        .map_err(|e| failed(&e))
}

/// The range of the steps.
fn steps(lines: &[Line]) -> Range<f64> {
    0.0..lines.iter().flat_map(|line| &line.points).map(|(step, _)| *step).fold(1.0, f64::max)
}

/// A number of an axis with at most four digits: 30000, 0.25, 1.5e-5.
fn plain(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        let text = format!("{value:.3e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'));
    }
    let decimals = if size == 0.0 { 0 } else { (3 - size.log10().floor() as i32).clamp(0, 7) };
    let text = format!("{value:.*}", decimals as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "step,loss,grad_norm,learning_rate,images_per_second,device_bytes,process_bytes\n";

    #[test]
    fn rows_that_no_training_writes_are_left_out_or_drawn() {
        let drawn = |rows: &[&str]| {
            let rows: String = rows.iter().map(|row| format!("{row},1,1,1,1,1\n")).collect();
            plotted(&Metrics::rows(&format!("{HEADER}{rows}")), "run").unwrap().is_some()
        };
        assert!(drawn(&["1,2", "2,1"]));
        // An axis without an end would have no last tick.
        for loss in ["inf", "NaN", "1e300", "3e-308"] {
            assert!(!drawn(&["1,2", &format!("2,{loss}")]), "{loss}");
        }
        assert!(drawn(&["1,2", "1,-1"]));
        assert!(drawn(&["18446744073709551615,2", "1,1"]));
        assert!(drawn(&["0,2", "0,2"]));
    }

    #[test]
    fn numbers_of_an_axis_are_plain() {
        let written = [30000.0, 0.25, 1.0, 0.0, 28.129, 1.5e-5, 2e9, -3.5].map(plain);
        assert_eq!(written, ["30000", "0.25", "1", "0", "28.13", "1.5e-5", "2e9", "-3.5"]);
    }

    #[test]
    fn a_smoothed_curve_begins_at_the_first_value_and_keeps_a_constant() {
        let points: Vec<(f64, f64)> = (0..100).map(|i| (f64::from(i), 3.0)).collect();
        let line = Line { name: String::new(), colour: RAW, points: points.clone() };
        let smooth = line.smoothed("", RAW).points;
        assert!(smooth.iter().zip(&points).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-12));
    }
}
