//! Counter-based randomness: every random number is a function of its purpose, step, sample and element.
//!
//! Philox4x32-10 (Salmon et al. 2011), bit for bit what `shaders/lib/philox.wgsl` computes. The counter holds
//! (element, step, sample, purpose), the key the seed: a sample depends on its number, and not on its batch,
//! the device, or the numbers drawn before.
//!
//! A [`Draw`] names the samples of a seed, a [`Key`] the numbers of a draw for one [`Purpose`], and a
//! [`Philox`] is the stream of one sample's numbers as a generator of the `rand` crate:
//!
//! ```
//! use rand::Rng;
//! use tweedie::random::{Draw, Purpose};
//!
//! let key = Draw::new(42).key(Purpose::Other(0));
//! let (u, v): (f32, f32) = key.rng(3).random();
//! assert_eq!([u, v], key.uniform(3, 0)[..2]);
//! ```

use rand::rand_core::impls::{fill_bytes_via_next, next_u64_via_u32};
use rand::{RngCore, SeedableRng};

/// The purpose of a random number. Two purposes never share a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The initial state of a reverse process, from the prior.
    Prior,
    /// The predictor's noise; steps are the sampler's.
    Predictor,
    /// The corrector's noise, by the number of its inner step.
    Corrector(u16),
    /// The noise added to the data in training.
    Perturbation,
    /// The times of a training step.
    Time,
    /// A dropout mask, by its number in the network.
    Dropout(u16),
    /// Probes of the trace estimator.
    Probe,
    /// Initial values of a parameter, by its number in the network.
    Initialisation(u16),
    /// The order of the data in an epoch.
    Order,
    /// The choice of images to flip.
    Flip,
    /// Uniform dequantisation of the data.
    Dequantisation,
    /// The choice of samples whose class is withheld in training.
    LabelDropout,
    /// The noise added to test images.
    Evaluation,
    /// The noise of a constraint, by the part of the sampler's step that it follows.
    Constraint(u16),
    /// Acceptance of the corrector's proposal, by the number of its inner step.
    Acceptance(u16),
    /// The part of a Runge–Kutta predictor's Wiener increment that is independent of its time integral.
    Increment,
    /// The directions of sliced score matching.
    Projection,
    /// The rows of a random projection.
    RandomProjection,
    /// The noise of a measurement.
    Measurement,
    /// The noise that a guided score adds to a measurement.
    Guidance,
    /// Resampling of particles.
    Resampling,
    /// The hues of the coloured digits.
    Hue,
    /// The points of a toy distribution.
    Points,
    /// The members of the kernel distance's subsets.
    Subset,
    /// Everything else: tests, benchmarks, programs that use the library.
    Other(u16),
}

impl Purpose {
    fn code(self) -> u32 {
        let (kind, index) = match self {
            Purpose::Prior => (1, 0),
            Purpose::Predictor => (2, 0),
            Purpose::Corrector(index) => (3, index),
            Purpose::Perturbation => (4, 0),
            Purpose::Time => (5, 0),
            Purpose::Dropout(index) => (6, index),
            Purpose::Probe => (7, 0),
            Purpose::Initialisation(index) => (8, index),
            Purpose::Order => (9, 0),
            Purpose::Flip => (10, 0),
            Purpose::Dequantisation => (11, 0),
            Purpose::Constraint(part) => (12, part),
            Purpose::Acceptance(index) => (30, index),
            Purpose::Increment => (31, 0),
            Purpose::Projection => (20, 0),
            Purpose::RandomProjection => (40, 0),
            Purpose::Measurement => (41, 0),
            Purpose::Resampling => (42, 0),
            Purpose::Hue => (43, 0),
            Purpose::Subset => (45, 0),
            Purpose::Guidance => (44, 0),
            Purpose::Points => (46, 0),
            Purpose::LabelDropout => (13, 0),
            Purpose::Evaluation => (14, 0),
            Purpose::Other(index) => (255, index),
        };
        kind | u32::from(index) << 8
    }
}

/// The samples that are drawn: the numbers `first …` of a seed, in a step. All that is random about a sample
/// follows from its number, the step and the seed, never from its batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Draw {
    /// The seed.
    pub seed: u64,
    /// The number of the batch's first sample.
    pub first: u32,
    /// The step of training; 0 for samplers, which number their own steps.
    pub step: u32,
}

impl Draw {
    /// The samples 0, 1, … of a seed, in step 0.
    pub const fn new(seed: u64) -> Draw {
        Draw { seed, first: 0, step: 0 }
    }

    /// A seed from any generator, from 0 to 2⁶³ − 1 as in a configuration.
    pub fn from_rng(rng: &mut impl RngCore) -> Draw {
        Draw::new(rng.next_u64() >> 1)
    }

    /// The same samples in another step.
    pub const fn at(self, step: u32) -> Draw {
        Draw { step, ..self }
    }

    /// The samples from number `first` on.
    pub const fn from(self, first: u32) -> Draw {
        Draw { first, ..self }
    }

    /// The key of these samples' numbers for a purpose.
    pub fn key(self, purpose: Purpose) -> Key {
        Key { seed: self.seed, purpose, step: self.step, first: self.first }
    }
}

/// All random numbers of one purpose in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The run's seed.
    pub seed: u64,
    /// The purpose of the numbers.
    pub purpose: Purpose,
    /// The step.
    pub step: u32,
    /// The number of the batch's first sample.
    pub first: u32,
}

impl Key {
    /// Step 0, samples counted from 0.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Key { seed, purpose, step: 0, first: 0 }
    }

    /// The same numbers of another step.
    pub fn at(self, step: u32) -> Self {
        Key { step, ..self }
    }

    /// The same with samples counted from `first`.
    pub fn from(self, first: u32) -> Self {
        Key { first, ..self }
    }

    /// The fields as kernels take them: seed, purpose, step, first.
    pub(crate) fn words(self) -> [u32; 5] {
        [self.seed as u32, (self.seed >> 32) as u32, self.purpose.code(), self.step, self.first]
    }

    /// The stream of a sample's words: those of [`Key::bits`], block after block.
    pub fn rng(self, sample: u32) -> Philox {
        Philox { key: self, sample, block: 0, words: [0; 4], used: 4 }
    }

    /// Four words for the four elements `4 * block ..` of a sample.
    pub fn bits(self, sample: u32, block: u32) -> [u32; 4] {
        let [seed0, seed1, purpose, step, first] = self.words();
        philox([block, step, first.wrapping_add(sample), purpose], [seed0, seed1])
    }

    /// Uniform numbers on [0, 1), multiples of 2⁻²⁴, four for each block of a sample.
    pub fn uniform(self, sample: u32, block: u32) -> [f32; 4] {
        self.bits(sample, block).map(|word| (word >> 8) as f32 * (-24f32).exp2())
    }

    /// Standard normal numbers, four for each block of a sample (Box and Muller 1958).
    pub fn normal(self, sample: u32, block: u32) -> [f32; 4] {
        let u = self.uniform(sample, block).map(f64::from);
        let pair = |a: f64, b: f64| {
            let radius = (-2.0 * (a + (-24f64).exp2()).ln()).sqrt();
            let angle = std::f64::consts::TAU * b;
            [radius * angle.cos(), radius * angle.sin()]
        };
        let ([a, b], [c, d]) = (pair(u[0], u[1]), pair(u[2], u[3]));
        [a, b, c, d].map(|v| v as f32)
    }

    /// −1 or 1, four for each block of a sample.
    pub fn rademacher(self, sample: u32, block: u32) -> [f32; 4] {
        self.bits(sample, block).map(|word| if word >> 31 == 0 { 1.0 } else { -1.0 })
    }

    /// A permutation of `0 .. len` (Fisher and Yates), one for each step. Runs resume by it, so it must not
    /// change with the version of a library: it does not use `rand`'s shuffle.
    pub fn permutation(self, len: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..len as u32).collect();
        for last in (1..len).rev() {
            let [word, ..] = self.bits(0, last as u32);
            // Multiply and shift (Lemire 2019); its bias of len / 2³² is negligible here.
            let other = (u64::from(word) * (last as u64 + 1)) >> 32;
            order.swap(last, other as usize);
        }
        order
    }
}

/// One sample's random words as a generator of the `rand` crate. After 2³² blocks it goes on with those of
/// the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Philox {
    key: Key,
    sample: u32,
    /// The next block.
    block: u32,
    words: [u32; 4],
    /// Words of the present block that have been used.
    used: usize,
}

impl RngCore for Philox {
    fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.words = self.key.bits(self.sample, self.block);
            self.used = 0;
            let (block, wrapped) = self.block.overflowing_add(1);
            self.block = block;
            self.key.step = self.key.step.wrapping_add(u32::from(wrapped));
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    fn next_u64(&mut self) -> u64 {
        next_u64_via_u32(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        fill_bytes_via_next(self, bytes);
    }
}

impl SeedableRng for Philox {
    /// The seed of a [`Key`], little-endian.
    type Seed = [u8; 8];

    fn from_seed(seed: [u8; 8]) -> Philox {
        Philox::seed_from_u64(u64::from_le_bytes(seed))
    }

    /// Sample 0 of [`Purpose::Other`]`(0)`.
    fn seed_from_u64(seed: u64) -> Philox {
        Key::new(seed, Purpose::Other(0)).rng(0)
    }
}

/// Philox4x32 with ten rounds.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let product0 = u64::from(counter[0]) * 0xD251_1F53;
        let product1 = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (product1 >> 32) as u32 ^ counter[1] ^ key[0],
            product1 as u32,
            (product0 >> 32) as u32 ^ counter[3] ^ key[1],
            product0 as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn philox_gives_the_known_answers_of_random123() {
        // kat_vectors of Random123 1.14, philox 4x32 10.
        let ones = u32::MAX;
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox([ones; 4], [ones; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    /// The bits of `rand`'s uniform numbers are part of the promise: initial weights and dequantisation are
    /// drawn by it.
    #[test]
    fn a_stream_holds_the_words_and_the_uniform_numbers_of_its_key() {
        let key = Draw::new(5).at(7).from(11).key(Purpose::Order);
        assert_eq!(key, Key::new(5, Purpose::Order).at(7).from(11));
        let (mut words, mut numbers) = (key.rng(2), key.rng(2));
        for block in 0..5 {
            assert_eq!([(); 4].map(|()| words.next_u32()), key.bits(2, block));
            assert_eq!([(); 4].map(|()| numbers.random::<f32>()), key.uniform(2, block));
        }
        assert_eq!(Philox::from_seed(9u64.to_le_bytes()), Key::new(9, Purpose::Other(0)).rng(0));
    }

    #[test]
    fn a_stream_goes_on_after_its_last_block() {
        let key = Key::new(1, Purpose::Other(3));
        let mut stream = Philox { block: u32::MAX, ..key.rng(0) };
        let words: Vec<u32> = (0..8).map(|_| stream.next_u32()).collect();
        assert_eq!(words, [key.bits(0, u32::MAX), key.at(1).bits(0, 0)].concat());
    }

    #[test]
    fn a_permutation_holds_every_index_once_and_differs_from_step_to_step() {
        let key = Key::new(7, Purpose::Order);
        let mut first = key.permutation(100);
        assert_ne!(first, key.at(1).permutation(100));
        first.sort_unstable();
        assert_eq!(first, (0..100).collect::<Vec<u32>>());
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let key = Key::new(1, Purpose::Other(0));
        let draws: Vec<f64> = (0..25_000).flat_map(|block| key.normal(0, block)).map(f64::from).collect();
        let count = draws.len() as f64;
        let mean = draws.iter().sum::<f64>() / count;
        let variance = draws.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
        // Five standard errors: 1 / √n of the mean, √(2 / n) of the variance.
        assert!(mean.abs() < 5.0 / count.sqrt(), "{mean}");
        assert!((variance - 1.0).abs() < 5.0 * (2.0 / count).sqrt(), "{variance}");
    }
}
