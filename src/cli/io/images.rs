//! Pictures and arrays in files.

use super::{Batch, Npz, paths::ends_in, paths::written, plane, points};
use crate::cli::{count, note};
use crate::config::{Data, Range};
use crate::gpu::Bytes;
use crate::tensor::Shape;
use anyhow::{Context, bail, ensure};
use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, DynamicImage, Frame, Rgba, RgbaImage};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Images `[n, h, w, c]`, usually with values in [0, 1].
pub struct Images {
    shape: Shape,
    values: Vec<f32>,
    /// The columns of a grid; by default about as many as rows.
    columns: Option<usize>,
    /// The first image of each row of a grid.
    given: Option<Batch>,
}

/// Pixels between the images of a grid.
const GAP: u32 = 2;
/// Smaller images are enlarged to at least this size.
const SMALLEST: u32 = 64;
/// The colour of the gaps.
const BACKGROUND: Rgba<u8> = Rgba([128, 128, 128, 255]);

impl Images {
    /// Images from values in a model's range, scaled and clipped to [0, 1]; points stay as they are.
    pub fn new(shape: Shape, values: Vec<f32>, range: Range) -> Images {
        if points::are_points(shape) {
            return Images { shape, values, columns: None, given: None };
        }
        let values = values.into_iter().map(|v| range.to_unit(v).clamp(0.0, 1.0)).collect();
        Images { shape, values, columns: None, given: None }
    }

    /// Joins lots of equally many images; if there are several, each is a row of a grid.
    pub fn join(lots: &[&Images]) -> Images {
        let n = lots.iter().map(|lot| lot.shape.n()).sum();
        let shape = lots.first().map_or(Shape::new(0, 1, 1, 1), |lot| lot.shape);
        let values = lots.iter().flat_map(|lot| lot.values.iter().copied()).collect();
        Images { shape: shape.with_n(n), values, columns: (lots.len() > 1).then_some(shape.n()), given: None }
    }

    /// Sets the columns of a grid, if they are given.
    pub fn in_columns(self, columns: Option<usize>) -> Images {
        Images { columns: columns.or(self.columns), ..self }
    }

    /// Images from values in [0, 1] with noise, which is not clipped.
    pub fn unclamped(Batch { shape, values }: Batch) -> Images {
        Images { shape, values, columns: None, given: None }
    }

    /// Replaces the pixels where `mask` is 1 by those of each sample's image in [0, 1], bit for bit.
    pub fn keep<'a>(&mut self, image: impl Fn(usize) -> &'a [f32], mask: &[f32]) {
        for (i, sample) in self.values.chunks_mut(mask.len()).enumerate() {
            for ((value, known), mask) in sample.iter_mut().zip(image(i)).zip(mask) {
                if *mask == 1.0 {
                    *value = *known;
                }
            }
        }
    }

    /// Shifts each pixel so that its grey (the mean of its channels) is that of the sample's image in [0, 1], and then moves its
    /// colour towards grey until it fits into [0, 1].
    pub fn keep_grey<'a>(&mut self, image: impl Fn(usize) -> &'a [f32]) {
        let mean = |pixel: &[f32]| pixel.iter().sum::<f32>() / pixel.len() as f32;
        let (len, c) = (self.shape.with_n(1).len(), self.shape.c());
        for (i, sample) in self.values.chunks_mut(len).enumerate() {
            for (pixel, known) in sample.chunks_mut(c).zip(image(i).chunks(c)) {
                let (grey, drawn) = (mean(known), mean(pixel));
                // The share of a colour's difference from grey that fits.
                let room = |v: &f32| match v - drawn {
                    d if d > 0.0 => (1.0 - grey) / d,
                    d if d < 0.0 => grey / -d,
                    _ => 1.0,
                };
                let kept = pixel.iter().map(room).fold(1.0, f32::min);
                pixel.iter_mut().for_each(|v| *v = (grey + kept * (*v - drawn)).clamp(0.0, 1.0));
            }
        }
    }

    /// Sets rows of `each` images in a grid, each after an image of `given` `[m, h, w, c]` in [0, 1], in turn.
    pub fn rows_beside(self, given: Batch, each: usize) -> Images {
        Images { given: Some(given), columns: Some(each), ..self }
    }

    /// The images of a grid, with those that its rows start with.
    fn shown(&self) -> Images {
        let (len, each) = (self.shape.with_n(1).len(), self.columns.unwrap_or(1).max(1));
        let rows = self.values.chunks(each * len).enumerate();
        let begun = |(row, values): (usize, &[f32])| {
            let given =
                self.given.iter().flat_map(|given| &given.values[row % given.shape.n() * len..][..len]);
            given.chain(values).copied().collect::<Vec<f32>>()
        };
        let values: Vec<f32> = rows.flat_map(begun).collect();
        let shape = self.shape.with_n(values.len() / len.max(1));
        Images { shape, values, columns: Some(each + usize::from(self.given.is_some())), given: None }
    }

    /// Their shape, `[n, h, w, c]`.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The values in [0, 1].
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Writes a grid, an array or a folder of pictures, depending on the path's ending; of points a picture, an array or a CSV
    /// file. Pictures in a folder are numbered from `first`.
    pub fn write(&self, path: &Path, first: u32) -> anyhow::Result<()> {
        if !points::are_points(self.shape) {
            Images::check_channels([&path.to_path_buf()], self.shape.c())?;
        }
        match () {
            () if ends_in(path, "npz") => self.write_npz(path),
            () if points::are_points(self.shape) => points::write(path, &plane::points(&self.values)),
            () if ends_in(path, "png") => self.write_grid(path),
            () => self.write_folder(path, first),
        }
    }

    /// Writes a grid of all images.
    pub fn write_grid(&self, path: &Path) -> anyhow::Result<()> {
        let grid = if self.given.is_some() { self.shown().grid(1)? } else { self.grid(1)? };
        written(path, &png(&grid)?)
    }

    /// Checks that output files can hold a model's samples.
    pub fn check_outputs<'a>(
        paths: impl IntoIterator<Item = &'a PathBuf> + Clone,
        data: &Data,
    ) -> anyhow::Result<()> {
        if data.is_points() {
            return points::check_outputs(paths);
        }
        if let Some(path) = paths.clone().into_iter().find(|path| ends_in(path, "csv")) {
            bail!("{}: CSV is for models of points; choose F.png, F.npz or a folder", path.display());
        }
        Images::check_channels(paths, data.num_channels)
    }

    /// Checks that output files can hold images of so many channels: a picture is grey, in colour, or in colour with
    /// transparency.
    pub fn check_channels<'a>(
        paths: impl IntoIterator<Item = &'a PathBuf>,
        channels: usize,
    ) -> anyhow::Result<()> {
        let array = |path: &Path| ends_in(path, "npz") || ends_in(path, "safetensors");
        match paths.into_iter().find(|path| !array(path) && !matches!(channels, 1 | 3 | 4)) {
            Some(path) => bail!(
                "{}: images of {channels} channels are no pictures; choose an output that ends in .npz",
                path.display()
            ),
            None => Ok(()),
        }
    }

    /// Checks that the host has memory for `n` samples of a shape, the number of an option.
    pub fn check_memory(option: &str, n: u32, shape: Shape) -> anyhow::Result<()> {
        let [h, w] = [shape.h(), shape.w()].map(|extent| extent as u64);
        let zoom = u64::from(SMALLEST).div_ceil(h.min(w));
        let tile = 3 * (zoom * h + u64::from(GAP)) * (zoom * w + u64::from(GAP));
        // The values, and the array or the grid.
        let bytes = u64::from(n) * (2 * 4 * shape.with_n(1).len() as u64 + tile);
        let why = "more than this machine has memory for; draw them in parts";
        ensure!(crate::memory::fits(bytes), "{option} {n}: the samples take {}, {why}", Bytes(bytes));
        Ok(())
    }

    fn write_npz(&self, path: &Path) -> anyhow::Result<()> {
        let [n, h, w, c] = self.shape.0;
        let shape = if points::are_points(self.shape) { vec![n, 2] } else { vec![n, h, w, c] };
        let mut archive = Npz::new();
        archive.add("samples", &shape, &self.values)?;
        archive.write(path)
    }

    fn write_folder(&self, folder: &Path, first: u32) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let name = |i: usize| folder.join(format!("{:05}.png", first as usize + i));
        let own: Vec<PathBuf> = (0..self.shape.n()).map(name).collect();
        let there = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let others = there.filter(|path| ends_in(path, "png") && !own.contains(path)).count();
        if others > 0 {
            note(format!("{} also holds {} from before", folder.display(), count(others, "picture")));
        }
        for (i, path) in own.iter().enumerate() {
            let (h, w) = (self.shape.h() as u32, self.shape.w() as u32);
            let picture = RgbaImage::from_fn(w, h, |x, y| self.pixel(i, x, y));
            written(path, &png(&self.picture(picture))?)?;
        }
        Ok(())
    }

    /// The columns of a grid whose samples have `each` images: the configured ones, else about as many as rows.
    fn columns(&self, each: usize) -> u32 {
        let samples = self.shape.n() / each;
        let square = each * (samples as f64).sqrt().ceil() as usize;
        self.columns.unwrap_or(square).max(1) as u32
    }

    fn grid(&self, each: usize) -> anyhow::Result<DynamicImage> {
        if points::are_points(self.shape) {
            return points::scatter(&plane::points(&self.values), each);
        }
        let columns = self.columns(each);
        let (n, h, w) = (self.shape.n() as u32, self.shape.h() as u32, self.shape.w() as u32);
        let zoom = SMALLEST.div_ceil(w.min(h)).max(1);
        let tile = (w * zoom + GAP, h * zoom + GAP);
        let mut grid =
            RgbaImage::from_pixel(columns * tile.0 + GAP, n.div_ceil(columns) * tile.1 + GAP, BACKGROUND);
        for i in 0..n {
            let (left, top) = (i % columns * tile.0 + GAP, i / columns * tile.1 + GAP);
            for y in 0..h * zoom {
                for x in 0..w * zoom {
                    grid.put_pixel(left + x, top + y, self.pixel(i as usize, x / zoom, y / zoom));
                }
            }
        }
        Ok(self.picture(grid))
    }

    /// A picture with transparency for four channels, else without.
    fn picture(&self, pixels: RgbaImage) -> DynamicImage {
        let picture = DynamicImage::ImageRgba8(pixels);
        if self.shape.c() == 4 { picture } else { picture.into_rgb8().into() }
    }

    /// A pixel: grey for one channel, colour for three, colour and transparency for four.
    fn pixel(&self, i: usize, x: u32, y: u32) -> Rgba<u8> {
        let c = self.shape.c();
        let at = ((i * self.shape.h() + y as usize) * self.shape.w() + x as usize) * c;
        let level = |k: usize| (self.values[at + k] * 255.0).round() as u8;
        match c {
            3 => Rgba([level(0), level(1), level(2), u8::MAX]),
            4 => Rgba([level(0), level(1), level(2), level(3)]),
            _ => Rgba([level(0), level(0), level(0), u8::MAX]),
        }
    }
}

/// Writes a strip: a column for each of `columns`, with at most `most` images.
pub fn write_strip(path: &Path, columns: &[&Images], most: usize) -> anyhow::Result<()> {
    let Some(first) = columns.first() else { return Ok(()) };
    if points::are_points(first.shape) {
        let columns: Vec<_> = columns.iter().map(|column| plane::points(&column.values)).collect();
        return written(path, &png(&points::paths(&columns, most)?)?);
    }
    let (rows, sample) = (first.shape.n().min(most), first.shape.with_n(1).len());
    let at = |row: usize| row * sample..(row + 1) * sample;
    let values =
        (0..rows).flat_map(|row| columns.iter().flat_map(move |c| c.values[at(row)].iter().copied()));
    let shape = first.shape.with_n(rows * columns.len());
    let strip = Images { shape, values: values.collect(), columns: Some(columns.len()), given: None };
    written(path, &png(&strip.grid(1)?)?)
}

/// Writes grids as an animation that repeats, with the last one shown longer; a sample has `each` images.
pub fn write_gif(path: &Path, frames: &[Images], each: usize) -> anyhow::Result<()> {
    let frames = frames.iter().map(|images| Ok(images.grid(each)?.into_rgba8()));
    written(path, &gif(frames.collect::<anyhow::Result<Vec<RgbaImage>>>()?)?)
}

/// An animation that repeats, with the last frame shown longer.
pub fn gif(frames: Vec<RgbaImage>) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, 10);
    encoder.set_repeat(Repeat::Infinite)?;
    let last = frames.len().saturating_sub(1);
    for (i, picture) in frames.into_iter().enumerate() {
        let shown = Duration::from_millis(if i == last { 1500 } else { 60 });
        let delay = Delay::from_saturating_duration(shown);
        encoder.encode_frame(Frame::from_parts(picture, 0, 0, delay))?;
    }
    drop(encoder);
    Ok(bytes)
}

/// A PNG in memory: a full disk then shows when it is written, not when it is closed.
pub fn png(image: &DynamicImage) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png)?;
    Ok(bytes.into_inner())
}
