//! `tweedie colorize`.

use crate::cli::io::given::Input;
use crate::cli::io::tensors::Batch;
use crate::cli::sampling::classes::ClassArgs;
use crate::cli::sampling::options::{Drawing, Drawn};
use crate::cli::{Common, MODEL, count, ends_in};
use crate::sample::Impute;
use anyhow::ensure;
use std::path::{Path, PathBuf};

/// Colour grey images, by a model of images in colour.
///
/// Colours are drawn given the grey of every pixel, the mean of its three channels, which is kept: in an orthonormal basis
/// of the colours whose first vector is grey, the grey is known and the rest is not (Song 2021, appendix I.3).
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie colorize runs/color --in data:digits_color:0-5 -n 9 --show-grey --out coloured.png\n  \
    tweedie colorize runs/cifar --in grey.png -n 16 --out coloured.png")]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// The grey images: F.png, a folder of them, F.npz, F.safetensors, or data:digits_color:I, or I-J for several; of colour
    /// images their own grey is taken
    #[arg(long = "in", value_name = "IMAGE")]
    input: String,
    /// Begin each row of a picture with the grey image that it colours
    #[arg(long)]
    show_grey: bool,
    /// How many colourings of each image [default: 1]
    #[arg(short, value_name = "N")]
    n: Option<u32>,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    drawing: Drawing,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let drawing = &args.drawing;
    drawing.check(args.n.unwrap_or(1), &[&args.model, Path::new(&args.input)])?;
    ensure!(
        !args.show_grey || drawing.out.iter().any(|path| ends_in(path, "png")),
        "--show-grey: no picture is written; leave it out, or add --out F.png"
    );
    let gpu = common.open()?;
    let model = drawing.open(&args.model, &gpu)?;
    let channels = model.config.data.num_channels;
    ensure!(
        channels == 3,
        "{} makes images of {channels} channel(s); colours need a model of 3",
        args.model.display()
    );
    let asked = args.classes.open(&gpu, &args.model, &model.config)?;
    let sampler = model.constrained(drawing)?;
    let input = Input::read_like(&args.input, &model.config.data)?.each(args.n)?;
    let n = input.samples();
    let drawn = asked.each(&model.scorer, |score| {
        drawing.draw(&model, score, n, sampler.steps(), &mut |batch, x, watch| {
            let images = input.upload(&gpu, batch.first, batch.n, model.config.data.centered)?;
            let constraint = Impute::grey(&images)?;
            Ok(sampler.run_under(Some(&constraint), score, x, batch.draw, watch)?)
        })
    })?;
    let mut drawn = Drawn::join(drawn);
    // Colours outside [0, 1] were cut off, and their grey with them.
    drawn.images.keep_grey(|sample| input.of(sample));
    drawn.images = match args.show_grey {
        true => drawn.images.rows_beside(grey(input.images()), args.n.unwrap_or(1) as usize),
        false => drawn.images.in_columns(input.columns()),
    };
    drawing.save(&drawn)?;
    drawing.report(common.json, &drawn, &count(drawn.n, "colouring"), asked.report())
}

/// The mean of each pixel's channels, in all of them.
fn grey(Batch { shape, values }: Batch) -> Batch {
    let c = shape.c();
    let mean = |pixel: &[f32]| vec![pixel.iter().sum::<f32>() / c as f32; c];
    Batch { shape, values: values.chunks(c).flat_map(mean).collect() }
}
