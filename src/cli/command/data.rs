//! `tweedie data`.

use crate::choice::Choice;
use crate::cli::arguments::{choice, image_size};
use crate::cli::io::{Batch, Images, data};
use crate::cli::report::{count, say};
use crate::cli::{Common, paths, print};
use crate::config::{BuiltIn, Fit, ImageSize, Range};
use crate::data::{Dataset, Kind, Split, Survey, Wanted};
use crate::tensor::Shape;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};

/// Survey data: the number of images, their sizes, classes and levels, and a sheet of some of them.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie data photos/\n  \
    tweedie data photos/ --out sheet.png --size 64\n  \
    tweedie data digits --out sheet.png -n 20")]
pub struct Args {
    /// The images: a data set in the program, or a path
    #[arg(value_name = data::DATA)]
    data: String,
    /// A sheet of images, F.png
    #[arg(long, value_name = "F.png")]
    out: Option<PathBuf>,
    /// The number of images on the sheet, spread over all
    #[arg(short, value_name = "N", default_value_t = 100, requires = "out")]
    n: usize,
    /// The size of the images: N for squares, or HEIGHTxWIDTH [default: that of `tweedie init`]
    #[arg(long, value_name = "N|HxW", value_parser = image_size)]
    size: Option<ImageSize>,
    /// The way in which a picture of another shape becomes an image
    #[arg(long, value_parser = choice::<Fit>(), default_value_t = Fit::Crop)]
    fit: Fit,
}

/// The largest number of images whose levels are measured.
const MEASURED: usize = 2000;

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    if let Some(out) = &args.out {
        ensure!(
            paths::ends_in(out, "png"),
            "--out {}: the sheet is a picture; end it in .png",
            out.display()
        );
        paths::writable(out)?;
    }
    let (what, survey, set) = surveyed(&args.data, args.size, args.fit)?;
    let (low, high, mean, deviation) = set.levels();
    if let Some(out) = &args.out {
        let shown = set.clone().spread(args.n);
        let values = shown.pixels.iter().map(|level| f32::from(*level) / 255.0).collect();
        let batch = Batch { shape: Shape::of_images(shown.len(), shown.shape()), values };
        Images::new(batch.shape, batch.values, Range { centered: false }).write(out, 0)?;
        say(format!("{}: {} of {}", out.display(), shown.len(), count(survey.images, "image")));
    }
    let measured = set.len();
    if common.json {
        let sizes: Vec<_> =
            survey.sizes.iter().map(|(s, n)| serde_json::json!([s.height, s.width, n])).collect();
        return print(serde_json::json!({
            "kind": what, "images": survey.images, "sizes": sizes, "channels": survey.channels,
            "classes": survey.classes, "left_out": survey.skipped,
            "levels": { "min": low, "max": high, "mean": mean, "std": deviation, "images": measured, "shape": set.shape() },
        }));
    }
    let [h, w, c] = set.shape();
    print(format!("{}: {what}", args.data))?;
    print(format!("images    {}", survey.images))?;
    print(format!("sizes     {}", sizes(&survey)))?;
    print(format!("channels  {}", survey.channels))?;
    print(format!("classes   {}", classes(&survey)))?;
    print(format!(
        "levels    {low} to {high}, mean {mean:.1}, standard deviation {deviation:.1} ({measured} images as {h}x{w}x{c})"
    ))?;
    if !survey.skipped.is_empty() {
        print(format!("left out  {}: {}", survey.skipped.len(), listed(&survey.skipped)))?;
    }
    say(format!("tweedie init {} --out my.toml writes a configuration for them", args.data));
    Ok(())
}

/// The kind of the data, their survey, and some of them as images of a size.
pub fn surveyed(spec: &str, size: Option<ImageSize>, fit: Fit) -> anyhow::Result<(String, Survey, Dataset)> {
    if let Some(name) = BuiltIn::named(spec) {
        let set = Dataset::built_in(name, Split::Train)?;
        let own = size.is_none_or(|size| size == set.size);
        ensure!(own, "--size: the images of {spec} are {0}x{0}; leave it out", set.size.height);
        return Ok(("in the program".into(), Survey::of_set(&set), set.spread(MEASURED)));
    }
    let path = Path::new(spec);
    let (kind, survey) = (Kind::of(path)?, Survey::of(path)?);
    let requested = size.is_some();
    let size = size.unwrap_or(survey.image_size());
    let shape = Some([size.height, size.width, survey.channels]);
    let set = Dataset::some_of(path, MEASURED, &Wanted { shape, fit, ..Wanted::default() })
        .with_context(|| format!("{spec} cannot be decoded"))?;
    ensure!(
        !requested || set.size == size,
        "--size: only pictures are scaled, and the images of {spec} are {}x{}; leave it out",
        set.size.height,
        set.size.width
    );
    Ok((kind.help().to_lowercase(), survey, set))
}

fn sizes(survey: &Survey) -> String {
    let shown = |size: &ImageSize| format!("{}x{}", size.height, size.width);
    let area = |(size, _): &&(ImageSize, usize)| size.pixels();
    match (&survey.sizes[..], survey.sizes.iter().min_by_key(area), survey.sizes.iter().max_by_key(area)) {
        ([(size, _)], ..) => format!("{} (height x width)", shown(size)),
        ([(commonest, n), ..], Some((least, _)), Some((most, _))) => format!(
            "{} from {} to {} (height x width); the commonest, {}, has {}",
            survey.sizes.len(),
            shown(least),
            shown(most),
            shown(commonest),
            count(*n, "image")
        ),
        _ => "none".into(),
    }
}

fn classes(survey: &Survey) -> String {
    let each: Vec<String> = survey.classes.iter().map(|(name, n)| format!("{name} ({n})")).collect();
    match each.len() {
        0 => "none: the images have no labels".into(),
        n => format!("{n}: {}", listed(&each)),
    }
}

/// The first of a list.
fn listed(all: &[String]) -> String {
    const SHOWN: usize = 20;
    let more = all.len().saturating_sub(SHOWN);
    let first = all[..all.len() - more].join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}
