//! Configurations without a file: the shipped ones by name, and defaults to change key by key.

use super::error::suggestion;
use super::{Config, ConfigError, Data, Model, Training, refuse};

/// Every shipped configuration with its text, in the order of their names.
macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../configs/", $name, ".toml")))),*]
    };
}

const PRESETS: &[(&str, &str)] = &presets![
    "digits_classifier",
    "digits_color",
    "digits_ddpm",
    "digits_edm",
    "digits_subvp",
    "digits_ve",
    "digits_vp",
    "subvp/cifar10_ddpm_continuous",
    "subvp/cifar10_ddpmpp_continuous",
    "subvp/cifar10_ddpmpp_deep_continuous",
    "subvp/cifar10_ncsnpp_continuous",
    "subvp/cifar10_ncsnpp_deep_continuous",
    "toy_checkerboard",
    "toy_gaussians",
    "toy_moons",
    "toy_rings",
    "toy_swissroll",
    "ve/bedroom_ncsnpp_continuous",
    "ve/celeba_ncsnpp",
    "ve/celebahq_256_ncsnpp_continuous",
    "ve/celebahq_ncsnpp_continuous",
    "ve/church_ncsnpp_continuous",
    "ve/cifar10_classifier",
    "ve/cifar10_ddpm",
    "ve/cifar10_ncsnpp",
    "ve/cifar10_ncsnpp_continuous",
    "ve/cifar10_ncsnpp_deep_continuous",
    "ve/ffhq_256_ncsnpp_continuous",
    "ve/ffhq_ncsnpp_continuous",
    "ve/ncsn/celeba",
    "ve/ncsn/celeba_124",
    "ve/ncsn/celeba_1245",
    "ve/ncsn/celeba_5",
    "ve/ncsn/cifar10",
    "ve/ncsn/cifar10_124",
    "ve/ncsn/cifar10_1245",
    "ve/ncsn/cifar10_5",
    "ve/ncsnv2/bedroom",
    "ve/ncsnv2/celeba",
    "ve/ncsnv2/cifar10",
    "vp/cifar10_ddpmpp",
    "vp/cifar10_ddpmpp_continuous",
    "vp/cifar10_ddpmpp_deep_continuous",
    "vp/cifar10_ncsnpp",
    "vp/cifar10_ncsnpp_continuous",
    "vp/cifar10_ncsnpp_deep_continuous",
    "vp/ddpm/bedroom",
    "vp/ddpm/celebahq",
    "vp/ddpm/church",
    "vp/ddpm/cifar10",
    "vp/ddpm/cifar10_continuous",
    "vp/ddpm/cifar10_unconditional",
];

/// The required keys, with the reference's values for CIFAR-10 (`default_cifar10_configs.py`, `ddpmpp`).
/// Every other key has the default that it has in a file.
const DEFAULT: &str = "
[training]
sde = 'vesde'
batch_size = 128
n_iters = 1300001

[data]
dataset = 'given'
image_size = 32
num_channels = 3
centered = false

[model]
name = 'ncsnpp'
nf = 128
ch_mult = [1, 2, 2, 2]
num_res_blocks = 4
attn_resolutions = [16]
";

impl Config {
    /// A shipped configuration by its path in `configs/`, without `.toml`: `digits_ve`, `vp/cifar10_ddpmpp`.
    ///
    /// # Errors
    /// If no configuration has that name; [`Config::presets`] lists them.
    pub fn preset(name: &str) -> Result<Config, ConfigError> {
        Config::from_toml(Config::preset_text(name)?, &[])
    }

    /// The text of a shipped configuration, with its comments.
    ///
    /// # Errors
    /// The error of [`Config::preset`].
    pub fn preset_text(name: &str) -> Result<&'static str, ConfigError> {
        let found = PRESETS.iter().find(|(own, _)| *own == name);
        found.map(|(_, text)| *text).ok_or_else(|| {
            let names: Vec<&str> = Config::presets().collect();
            let why = format!("the program holds none of that name{}", suggestion(name, &names));
            refuse("configuration", name, why)
        })
    }

    /// The names of the shipped configurations.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// This configuration, if every value and their combination are possible.
    ///
    /// ```
    /// use tweedie::config::{Config, Data, Model, SdeName, Training};
    ///
    /// let config = Config {
    ///     training: Training { sde: SdeName::Vpsde, batch_size: 64, n_iters: 1000, ..Training::default() },
    ///     data: Data { image_size: 8.into(), num_channels: 1, ..Data::default() },
    ///     model: Model { nf: 32, ch_mult: vec![1, 2], attn_resolutions: vec![4], ..Model::default() },
    ///     ..Config::default()
    /// };
    /// let config = config.validated()?;
    /// assert!(Config { seed: 7, ..Config::preset("digits_ve")? }.validated().is_ok());
    /// assert!(Config { data: Data { image_size: 9.into(), ..config.data.clone() }, ..config }.validated().is_err());
    /// # Ok::<(), tweedie::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the key of the first value that cannot be.
    pub fn validated(self) -> Result<Config, ConfigError> {
        self.check().map(|()| self)
    }
}

impl Default for Config {
    /// NCSN++ for images of 32 × 32 × 3 on the VE process.
    fn default() -> Self {
        toml::from_str(DEFAULT).expect("the text above is a configuration")
    }
}

impl Default for Training {
    /// Denoising score matching on the VE process, 128 images in a step.
    fn default() -> Self {
        Config::default().training
    }
}

impl Default for Data {
    /// Images of 32 × 32 × 3 in [0, 1] that the program gives ([`Data::GIVEN`]).
    fn default() -> Self {
        Config::default().data
    }
}

impl Default for Model {
    /// NCSN++ of four levels with attention at 16 × 16, and the reference's noise levels.
    fn default() -> Self {
        Config::default().model
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    #[test]
    fn every_preset_and_the_default_are_possible() {
        for name in Config::presets() {
            assert!(Config::preset(name).is_ok(), "{name}");
        }
        assert!(Config::default().validated().is_ok());
        assert!(Config::preset("digits").is_err());
    }

    /// Text and default agree on every key that neither sets.
    #[test]
    fn a_written_default_is_read_back() {
        assert_eq!(Config::from_toml(&Config::default().to_toml(), &[]).unwrap(), Config::default());
    }

    #[test]
    fn every_shipped_configuration_is_a_preset() {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true if path.ends_with("problems") => {}
                    true => walk(&path, found),
                    false => found.push(path.with_extension("")),
                }
            }
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        let mut files = Vec::new();
        walk(&root, &mut files);
        let mut files: Vec<&str> =
            files.iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap()).collect();
        files.sort_unstable();
        assert_eq!(Config::presets().collect::<Vec<_>>(), files);
    }
}
