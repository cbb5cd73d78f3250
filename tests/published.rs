//! The published configurations: each trains as it is in the program, on pictures by `data.path`.

use crate::cli::folder;
use crate::support::gpu;
use image::{DynamicImage, Rgb, RgbImage};
use tweedie::config::{Config, ModelName};
use tweedie::train::{End, Run, RunOptions};

/// Assignments that make a network small: its width, and images whose lowest level has one pixel, or four.
fn small(config: &Config) -> Vec<String> {
    let model = &config.model;
    let nf = match model.name {
        ModelName::Ddpm => 32,
        _ => 8,
    };
    let old = config.data.image_size.height;
    let size = match model.ch_mult.len() {
        0 => 16,
        levels => 1 << (levels - 1),
    };
    let attention: Vec<usize> = model.attn_resolutions.iter().map(|at| (at * size / old).max(1)).collect();
    vec![
        format!("model.nf={nf}"),
        format!("data.image_size={size}"),
        format!("model.attn_resolutions={attention:?}"),
        "training.batch_size=2".into(),
    ]
}

#[test]
fn every_published_configuration_makes_a_step_on_a_folder_of_pictures() {
    let folder = folder();
    for (i, class) in ["a", "b", "a", "b"].into_iter().enumerate() {
        let path = folder.path().join("pictures").join(class).join(format!("{i}.png"));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let colour = |x: u32, y: u32| Rgb([(x * 3 + 40 * i as u32) as u8, (y * 5) as u8, (x ^ y) as u8]);
        DynamicImage::ImageRgb8(RgbImage::from_fn(40, 30, colour)).save(path).expect("a picture");
    }
    let path = toml::Value::from(folder.path().join("pictures").to_str().expect("a path"));
    let published = Config::presets().filter(|name| name.contains('/') && !name.contains("classifier"));
    let mut count = 0;
    for name in published {
        let config = Config::preset(name).expect(name);
        let mut set = small(&config);
        set.push(format!("data.path={path}"));
        let config = Config::from_toml(Config::preset_text(name).expect(name), &set)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let run = Run::at(folder.path().join(name.replace('/', "-")));
        let options = RunOptions { steps: Some(1), ..RunOptions::default() };
        let end = run.train(gpu(), &config, options, &mut |_| Ok(()));
        assert_eq!(end.unwrap_or_else(|e| panic!("{name}: {e}")), End::Finished, "{name}");
        assert!(run.latest().is_ok(), "{name}");
        count += 1;
    }
    assert_eq!(count, 39);
}
