//! A plot of the loss, from `metrics.csv`.

use super::{images::png, paths::written};
use anyhow::Context;
use image::RgbImage;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::ops::Range;
use std::path::Path;

const SIZE: (u32, u32) = (900, 500);

/// Plots the loss over the steps, if there are at least two rows.
pub fn loss(metrics: &Path, picture: &Path) -> anyhow::Result<()> {
    let text = crate::files::read_to_string(metrics).with_context(|| metrics.display().to_string())?;
    plotted(&text)?.map_or(Ok(()), |image| written(picture, &png(&image.into())?))
}

/// The plot of the rows in a text, if there are at least two.
pub fn plotted(text: &str) -> anyhow::Result<Option<RgbImage>> {
    let row = |line: &str| {
        let mut cells = line.split(',');
        Some((cells.next()?.parse::<u64>().ok()? as f64, cells.next()?.parse::<f64>().ok()?))
    };
    // The axis is logarithmic, and its ticks are counted out.
    let drawable = |(_, loss): &(f64, f64)| (1e-30..1e30).contains(loss);
    let points: Vec<(f64, f64)> = text.lines().skip(1).filter_map(row).filter(drawable).collect();
    if points.len() < 2 {
        return Ok(None);
    }
    let mut pixels = vec![0; (3 * SIZE.0 * SIZE.1) as usize];
    draw(&mut pixels, &points).map_err(|e| anyhow::anyhow!("the loss cannot be drawn: {e}"))?;
    RgbImage::from_raw(SIZE.0, SIZE.1, pixels).context("a picture has as many pixels as it says").map(Some)
}

fn draw(pixels: &mut [u8], points: &[(f64, f64)]) -> Result<(), String> {
    register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| "no font")?;
    let area = BitMapBackend::with_buffer(pixels, SIZE).into_drawing_area();
    let span = span(points);
    // A logarithmic axis has ticks at powers of ten, and a short one none.
    match span.end < 10.0 * span.start {
        true => draw_on(&area, span, points)?,
        false => draw_on(&area, span.log_scale(), points)?,
    }
    area.present().map_err(|e| e.to_string())
}

/// Draws with this axis of losses.
fn draw_on<Y>(
    area: &DrawingArea<BitMapBackend<'_>, Shift>,
    losses: Y,
    points: &[(f64, f64)],
) -> Result<(), String>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let failed = |e: &dyn std::fmt::Display| e.to_string();
    area.fill(&WHITE).map_err(|e| failed(&e))?;
    let last = points.iter().map(|(step, _)| *step).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(20)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..last, losses)
        .map_err(|e| failed(&e))?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("loss")
        .label_style(("sans-serif", 16))
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|loss| format!("{}", (loss * 1000.0).round() / 1000.0))
        .light_line_style(WHITE)
        .draw()
        .map_err(|e| failed(&e))?;
    let line = LineSeries::new(points.iter().copied(), BLUE.stroke_width(2));
    chart.draw_series(line).map(|_| ()).map_err(|e| failed(&e))
}

/// The range of the losses, with a margin.
fn span(points: &[(f64, f64)]) -> Range<f64> {
    let losses = || points.iter().map(|(_, loss)| *loss);
    losses().fold(f64::INFINITY, f64::min) * 0.9..losses().fold(0.0, f64::max) * 1.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_no_training_writes_are_left_out_or_drawn() {
        let drawn = |rows: &str| plotted(&format!("step,loss\n{rows}")).unwrap().is_some();
        assert!(drawn("1,2\n2,1"));
        // An axis without an end would have no last tick.
        for step in ["inf", "NaN", "1e300", "-1", "3e-308"] {
            assert!(!drawn(&format!("1,2\n{step},1")), "{step}");
        }
        assert!(drawn("18446744073709551615,2\n1,1"));
        assert!(drawn("0,2\n0,1"));
    }
}
