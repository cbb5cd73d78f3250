//! Linear inverse problems y = A x + n for `tweedie restore`, from TOML files.

use super::{ConfigError, MAX_CHANNELS, MAX_STEPS, count, read, refuse, within};
use serde::Deserialize;
use std::path::PathBuf;

/// A measurement of images, and its noise.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The operator A.
    pub measure: Measure,
    /// The standard deviation of the noise, for images in [0, 1].
    pub noise_std: f64,
}

/// The operator, `kind` in the file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Measure {
    /// The mean of each square of `factor` × `factor` pixels.
    SuperResolution {
        /// The side of the square.
        factor: usize,
    },
    /// The image filtered along rows and columns, with zeros beyond its border: by a Gaussian with a standard deviation of `sigma`
    /// pixels and `size` taps, or by a `kernel`.
    Deblur {
        /// The standard deviation of the Gaussian, in pixels.
        sigma: Option<f64>,
        /// The number of its taps along each axis, an odd number.
        size: Option<usize>,
        /// The filter along each axis, an odd number of taps; it is normalised to a sum of 1.
        kernel: Option<Vec<f64>>,
    },
    /// Some of the pixels.
    Mask {
        /// A side (`left`, …), or the path of a PNG that is white where pixels are measured.
        mask: String,
    },
    /// The image's projections on random orthonormal directions.
    RandomProjection {
        /// The number of directions.
        rows: usize,
        /// Their seed.
        #[serde(default)]
        seed: u64,
    },
    /// Any matrix.
    Matrix {
        /// A .npy file of float32 or float64, `[rows, h, w, c]` or `[rows, h w c]`.
        file: PathBuf,
    },
}

impl Problem {
    /// A problem from TOML, checked.
    ///
    /// # Errors
    /// If the text is not TOML, or a key is unknown, missing or has a wrong value.
    pub fn from_toml(text: &str) -> Result<Problem, ConfigError> {
        Self::from_table(read::parse(text)?).map_err(|error| error.located(text))
    }

    fn from_table(mut table: toml::Table) -> Result<Problem, ConfigError> {
        let noise_std = table.remove("noise_std").map_or(Ok(0.0), |value| read::read("noise_std", value))?;
        within("noise_std", noise_std, 0.0..1e3, "a number from 0 to below 1000: images are in [0, 1]")?;
        let kind = table.remove("kind").ok_or(ConfigError::MissingKey { key: "kind".into() })?;
        let kind: String = read::read("kind", kind)?;
        // The keys of a kind are read as those of an enum's variant.
        let table = toml::Table::from_iter([(kind.clone(), table.into())]);
        let measure: Measure =
            read::read("", table.into()).map_err(|error| error.of_variant(&kind, "kind", &["noise_std"]))?;
        measure.check()?;
        Ok(Problem { measure, noise_std })
    }
}

impl Measure {
    fn check(&self) -> Result<(), ConfigError> {
        match self {
            Measure::SuperResolution { factor } => count("factor", *factor as u64, MAX_CHANNELS),
            Measure::RandomProjection { rows, .. } => count("rows", *rows as u64, MAX_STEPS),
            Measure::Deblur { .. } => self.kernel().map(drop),
            Measure::Mask { .. } | Measure::Matrix { .. } => Ok(()),
        }
    }

    /// The filter of a blur along each axis, with a sum of 1; for any other operator one tap.
    ///
    /// # Errors
    /// If the keys do not define a filter.
    pub fn kernel(&self) -> Result<Vec<f64>, ConfigError> {
        let taps = match self {
            Measure::Deblur { kernel: Some(taps), sigma: None, size: None } => taps.clone(),
            Measure::Deblur { kernel: None, sigma: Some(sigma), size: Some(size) } => {
                within("sigma", *sigma, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
                count("size", *size as u64, MAX_CHANNELS)?;
                let middle = (*size as f64 - 1.0) / 2.0;
                (0..*size).map(|i| (-0.5 * ((i as f64 - middle) / sigma).powi(2)).exp()).collect()
            }
            Measure::Deblur { .. } => {
                return Err(ConfigError::Combination(
                    "a deblur problem takes either sigma and size, or a kernel",
                ));
            }
            _ => vec![1.0],
        };
        if taps.len().is_multiple_of(2) {
            let why = "a filter needs an odd number of taps, so that it has a centre";
            let of_size = matches!(self, Measure::Deblur { kernel: None, .. });
            return Err(if of_size { refuse("size", taps.len(), why) } else { refuse("kernel", taps, why) });
        }
        let (sum, size) = (taps.iter().sum::<f64>(), taps.iter().map(|tap| tap.abs()).sum::<f64>());
        if !size.is_finite() {
            return Err(refuse("kernel", taps, "its taps and their sum must be finite numbers"));
        }
        // The sum of cancelling taps is rounding error.
        if sum.abs() <= 1e-6 * size {
            return Err(refuse("kernel", taps, "its sum must not be 0"));
        }
        Ok(taps.iter().map(|tap| tap / sum).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_read_with_their_noise() {
        let read = |text: &str| Problem::from_toml(text).unwrap();
        let problem = read("kind = \"super_resolution\"\nfactor = 4\nnoise_std = 0.05");
        let expected = Problem { measure: Measure::SuperResolution { factor: 4 }, noise_std: 0.05 };
        assert_eq!(problem, expected);
        let kernel = read("kind = \"deblur\"\nsigma = 1\nsize = 5").measure.kernel().unwrap();
        assert!((kernel.iter().sum::<f64>() - 1.0).abs() < 1e-12 && kernel[0] == kernel[4]);
        assert_eq!(
            read("kind = \"deblur\"\nkernel = [1, 2, 1]").measure.kernel().unwrap(),
            [0.25, 0.5, 0.25]
        );
        // The scale of a kernel does not matter.
        assert_eq!(
            read("kind = \"deblur\"\nkernel = [1e-9, 2e-9, 1e-9]").measure.kernel().unwrap(),
            [0.25, 0.5, 0.25]
        );
    }

    #[test]
    fn problems_that_cannot_be_are_refused() {
        for (text, expected) in [
            ("kind = \"super_resolution\"\nfactor = 0", "factor = 0"),
            ("kind = \"super_resolution\"\nfactor = 4\nnoise_std = -1", "noise_std = -1"),
            ("kind = \"super_resolution\"\nfactor = 4\nnoise_std = \"much\"", "noise_std = much"),
            (
                "kind = \"super_resolution\"\nfactor = 4\nnoise_std = 1e30",
                "it must be a number from 0 to below 1000",
            ),
            ("kind = \"super_resolution\"\nfactr = 4", "line 2: factr: unknown key; did you mean factor?"),
            (
                "kind = \"super_resolution\"\nfactor = \"much\"",
                "line 2: factor = much: it must be a whole number from 0 to",
            ),
            (
                "kind = \"random_projection\"\nrows = 4\nseed = -1",
                "line 3: seed = -1: it must be a whole number from 0 to",
            ),
            ("kind = \"matrix\"", "file is missing"),
            (
                "kind = \"sharpen\"",
                "kind = sharpen: it must be super_resolution, deblur, mask, random_projection, matrix",
            ),
            ("factor = 4", "kind is missing"),
            ("kind = 4", "kind = 4: it must be a text in quotes"),
            (
                "kind = \"mask\"\nmask = \"left\"\nnoise_sdt = 1",
                "line 3: noise_sdt: unknown key; did you mean noise_std?",
            ),
            (
                "kind = \"mask\"\nmask = \"left\"\nnoise = 1",
                "noise: unknown key, expected one of mask, kind, noise_std",
            ),
            ("kind = \"super_resolution\"\nfactor = 99999999999999999999", "line 2: "),
            ("kind = \"deblur\"\nsigma = 1\nsize = 99999999999", "size = 99999999999: it must be at most"),
            (
                "kind = \"deblur\"\nsigma = 1\nsize = 9223372036854775807",
                "size = 9223372036854775807: it must",
            ),
            ("kind = \"deblur\"\nkernel = [1, nan, 1]", "its taps and their sum must be finite"),
            ("kind = \"deblur\"\nsigma = 1", "sigma and size"),
            ("kind = \"deblur\"\nsigma = 1\nsize = 4", "size = 4: a filter needs an odd number of taps"),
            ("kind = \"deblur\"\nkernel = [1, 2]", "kernel = [1.0, 2.0]: a filter needs an odd"),
            ("kind = \"deblur\"\nsigma = 0\nsize = 3", "sigma = 0"),
            ("kind = \"deblur\"\nkernel = [1, 0, -1]", "its sum"),
        ] {
            let message = Problem::from_toml(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
