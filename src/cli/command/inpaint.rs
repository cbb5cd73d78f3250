//! `tweedie inpaint`.

use crate::cli::io::given::{Input, mask_file, read_mask};
use crate::cli::sampling::classes::ClassArgs;
use crate::cli::sampling::options::{Drawing, Drawn, shape};
use crate::cli::{Common, MODEL, count};
use crate::sample::Impute;
use crate::tensor::Tensor;
use std::path::{Path, PathBuf};

/// Complete images of which a part is known.
///
/// What is known stays as it is, exactly; the rest is drawn given it, by a sampler into which the known pixels are put at
/// every step, as noisy as the state: predictor–corrector (Song 2021, appendix I.2), or annealed Langevin dynamics with
/// --sampler ald (Song and Ermon 2019, algorithm 3).
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie inpaint runs/digits --in data:digits:3 --mask left -n 20 --out completions.png\n  \
    tweedie inpaint runs/digits --in digit.png --mask mask.png --out completed/")]
pub struct Args {
    #[arg(help = MODEL)]
    model: PathBuf,
    /// The images: F.png, a folder of them, F.npz, F.safetensors, or data:digits:I for test digit I, I-J for several
    #[arg(long = "in", value_name = "IMAGE")]
    input: String,
    /// What is known: a side, or a PNG that is white there and black elsewhere
    #[arg(long, value_name = "F.png|left|right|top|bottom|center|border")]
    mask: String,
    /// How many completions of each image [default: 1]
    #[arg(short, value_name = "N")]
    n: Option<u32>,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    drawing: Drawing,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let drawing = &args.drawing;
    let mut read = vec![args.model.as_path(), Path::new(&args.input)];
    read.extend(mask_file(&args.mask));
    drawing.check(args.n.unwrap_or(1), &read)?;
    let gpu = common.open()?;
    let model = drawing.open(&args.model, &gpu)?;
    let asked = args.classes.open(&gpu, &args.model, &model.config)?;
    let data = &model.config.data;
    let sampler = model.constrained(drawing)?;
    let input = Input::read_like(&args.input, data)?.each(args.n)?;
    let n = input.samples();
    let one = shape(&model.config, 1);
    let mask = read_mask(&args.mask, one)?;
    let on_device = Tensor::from_slice(&gpu, one, &mask)?;
    let drawn = asked.each(&model.scorer, |score| {
        drawing.draw(&model, score, n, sampler.steps(), &mut |batch, x, watch| {
            let known = input.upload(&gpu, batch.first, batch.n, data.centered)?;
            let constraint = Impute::pixels(known, on_device.clone());
            Ok(sampler.run_under(Some(&constraint), score, x, batch.draw, watch)?)
        })
    })?;
    let mut drawn = Drawn::join(drawn);
    // The model's range may round what is known; the images say what it is.
    drawn.images.keep(|sample| input.of(sample), &mask);
    drawn.images = drawn.images.in_columns(input.columns());
    drawing.save(&drawn)?;
    drawing.report(common.json, &drawn, &count(drawn.n, "completion"), asked.report())
}
