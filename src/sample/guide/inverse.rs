//! The score given a measurement y = A x + n of the data: the model's, plus the gradient of the measurement's likelihood. Every
//! sampler draws from the posterior with it.

use super::operator::{LinearSystem, Operator, solve};
use crate::gpu::Gpu;
use crate::kernels::combine::{Factor, Form};
use crate::kernels::inner_product::{inner_product, lanes};
use crate::kernels::random::{Distribution, fill};
use crate::kernels::{check_shape, layout};
use crate::random::Purpose;
use crate::sample::error::Result;
use crate::sample::{Adjoint, Draw, Evaluation, Score, Times};
use crate::sde::Process;
use crate::tensor::Tensor;

/// An approximation of ∇ log p(y | x(t)).
#[derive(Clone, Copy)]
pub enum Guidance<'a> {
    /// By ∇ log p(ŷ(t) | x(t)) with ŷ(t) drawn from p(y(t) | y), where y(t) = m y + s A z is the measurement of a state
    /// (Song 2021, appendix I.4). The score alone is needed.
    Measured(&'a dyn Score),
    /// ΠGDM (Song 2023, pseudoinverse-guided diffusion models, eqs. 5 to 9): p(x₀ | x(t)) ≈ N(x̂₀, r² I) with x̂₀ by Tweedie's
    /// formula. It uses r² = σ² σ_d² / (σ² + σ_d²) with σ = s / m, exact for Gaussian data of variance σ_d². We use it to
    /// compute the guidance direction, and then rescale that direction by the network's own posterior variance along it,
    /// (s² / m) ∂x̂₀/∂x (Boys 2023). Without the rescaling, a network that is more sensitive than r² assumes overshoots, and
    /// the error grows from step to step.
    PseudoInverse {
        /// The score.
        score: &'a dyn Adjoint,
        /// σ_d, the standard deviation of the data in the model's range.
        sigma_data: f64,
    },
}

/// A measurement of each sample.
pub struct Measurement<'a> {
    /// A.
    pub operator: &'a dyn Operator,
    /// y, `[n, h′, w′, c′]`, for data in the model's range.
    pub y: Tensor,
    /// The standard deviation of n.
    pub noise_std: f64,
}

/// A score given a measurement. Like any other it is a function of the state and the time, so that every solver can follow
/// it: the noise of [`Guidance::Measured`] is drawn once for each sample.
pub struct Guided<'a> {
    measurement: Measurement<'a>,
    guidance: Guidance<'a>,
    /// A z, for [`Guidance::Measured`].
    noise: Option<Tensor>,
}

impl<'a> Guided<'a> {
    /// Guides a score for the samples of a draw.
    ///
    /// # Errors
    /// If the measurement is not of the operator's shape.
    pub fn new(measurement: Measurement<'a>, guidance: Guidance<'a>, draw: Draw) -> Result<Guided<'a>> {
        let (n, operator) = (measurement.y.shape().n(), measurement.operator);
        check_shape("inverse problem", "the measurement", &measurement.y, operator.output().with_n(n))?;
        let noise = match guidance {
            Guidance::PseudoInverse { .. } => None,
            Guidance::Measured(score) => {
                let (key, normal) = (draw.key(Purpose::Guidance), Distribution::Normal { std: 1.0 });
                let z = fill(score.gpu(), operator.input().with_n(n), key, normal)?;
                Some(operator.apply(&z)?)
            }
        };
        Ok(Guided { measurement, guidance, noise })
    }

    fn score(&self) -> &dyn Score {
        match self.guidance {
            Guidance::Measured(score) => score,
            Guidance::PseudoInverse { score, .. } => score,
        }
    }

    /// r², the variance of x₀ about its estimate, for σ = s / m.
    fn variance(&self, sigma: f64) -> f64 {
        let sigma2 = sigma * sigma;
        match self.guidance {
            Guidance::Measured(_) => sigma2,
            Guidance::PseudoInverse { sigma_data, .. } => {
                let data2 = sigma_data * sigma_data;
                sigma2 * data2 / (sigma2 + data2)
            }
        }
    }

    /// The gradient of the measurement's likelihood in an estimate x̂ of the data, at noise levels σ.
    fn pull(&self, estimate: &Tensor, sigma: &Factor) -> Result<Pull> {
        let Measurement { operator, y, .. } = &self.measurement;
        let off = y - &operator.apply(estimate)?;
        let residual = match &self.noise {
            Some(noise) => (off + noise * sigma).run()?,
            None => off.run()?,
        };
        let ridge = self.ridge();
        let system = |i: usize| LinearSystem { gram: self.variance(sigma.get(i)), ridge };
        let systems: Vec<LinearSystem> = (0..y.shape().n()).map(system).collect();
        let solution = solve(*operator, &residual, &systems)?;
        let gradient = operator.adjoint(&solution)?;
        Ok(Pull { residual, solution, gradient })
    }

    /// σ_y². Without any noise the smallest variance that f32 can tell from none keeps the systems regular.
    fn ridge(&self) -> f64 {
        let Measurement { operator, noise_std, .. } = &self.measurement;
        noise_std.powi(2).max(1e-10 * operator.scale())
    }

    /// The factors of each pull, [`Pull`]'s z and v = Aᵀ z with w = (∂x̂₀/∂x)ᵀ v, when the variance along it is the network's
    /// and not r²: (σ_y² + r² ‖v‖² / ‖z‖²) / (σ_y² + (s² / m) v·w / ‖z‖²).
    fn rescale(&self, pull: &Pull, through: &Tensor, t: &Times) -> Result<Vec<f64>> {
        let Pull { solution: z, gradient: v, .. } = pull;
        let [zz, vv, vw, ww] = products([(z, z), (v, v), (v, through), (through, through)])?;
        let factor = |i: usize| {
            if zz[i] == 0.0 {
                return 1.0;
            }
            let level = self.process().level(t.get(i));
            let (mean, std) = (level.mean, level.mean * level.sigma);
            // A covariance below (s / m)² I has ∂x̂₀/∂x below I / m, and v·w is at least m ‖w‖²: less is the network's
            // error, and would make the step too long.
            let along = std * std / mean * vw[i].max(mean * ww[i]);
            (self.ridge() + self.variance(level.sigma) * vv[i] / zz[i]) / (self.ridge() + along / zz[i])
        };
        Ok((0..zz.len()).map(factor).collect())
    }

    /// Score and guidance at states `x` `[n, h, w, c]` and times in (0, 1].
    ///
    /// # Errors
    /// Any error of the score.
    pub fn twist(&self, x: &Tensor, t: &Times) -> Result<Twist> {
        let level = |of: fn(crate::sde::Level) -> f64| t.map(|t| of(self.process().level(t)));
        let (mean, sigma) = (level(|level| level.mean), level(|level| level.sigma));
        let (at, pull, gradient, scale) = match self.guidance {
            Guidance::Measured(score) => {
                let pull = self.pull(&(x / &mean).run()?, &sigma)?;
                let gradient = (&pull.gradient / &mean).run()?;
                (score.at(x, t)?, pull, gradient, vec![1.0; x.shape().n()])
            }
            Guidance::PseudoInverse { score, .. } => {
                let (at, pullback) = score.adjoint(x, t)?;
                let pull = self.pull(&at.denoised().run()?, &sigma)?;
                // (∂x̂₀/∂x)ᵀ v = v / m + (∂score/∂x)ᵀ (s² / m) v, for x̂₀ = (x + s² score) / m.
                let v = &pull.gradient;
                let through = (v / &mean + pullback(v * at.gain())?).run()?;
                let scale = self.rescale(&pull, &through, t)?;
                (at, pull, (&through * scale.clone()).run()?, scale)
            }
        };
        Ok(Twist { at, gradient, products: inner_product(&pull.residual, &pull.solution)?, scale })
    }
}

/// ⟨a, b⟩ of each sample for several pairs, read back together.
fn products<const N: usize>(pairs: [(&Tensor, &Tensor); N]) -> Result<[Vec<f64>; N]> {
    let sums = pairs.iter().map(|(a, b)| Ok(inner_product(a, b)?)).collect::<Result<Vec<Tensor>>>()?;
    let values = lanes(&layout::stack(&sums.iter().collect::<Vec<_>>())?)?;
    let n = values.len() / N;
    Ok(std::array::from_fn(|i| values[i * n..][..n].to_vec()))
}

/// The gradient of a measurement's likelihood in an estimate of the data.
struct Pull {
    /// r = y − A x̂.
    residual: Tensor,
    /// z = (σ_y² I + r² A Aᵀ)⁻¹ r.
    solution: Tensor,
    /// v = Aᵀ z, the gradient.
    gradient: Tensor,
}

/// A measurement at noisy states: its likelihood, and the gradient that it adds to their score.
pub struct Twist {
    /// The model's own evaluation.
    at: Evaluation,
    /// ∇ log p(y | x), as it is approximated.
    pub gradient: Tensor,
    /// r·z in four lanes that have yet to be added, `[n, 1, 1, 4]`.
    products: Tensor,
    /// The factor by which the variance along each pull is smaller.
    scale: Vec<f64>,
}

impl Twist {
    /// log p(y | x) of each, as it is approximated, up to what is the same for all states of a measurement at a time:
    /// −½ (scale · r·z − ln scale). Waits for the device.
    ///
    /// # Errors
    /// Errors that the device reported.
    pub fn log_likelihood(&self) -> Result<Vec<f64>> {
        let of = |(product, scale): (f64, &f64)| -0.5 * (scale * product - scale.ln());
        Ok(lanes(&self.products)?.into_iter().zip(&self.scale).map(of).collect())
    }

    /// The model's own score.
    pub fn score(&self) -> Form {
        self.at.score()
    }

    /// The evaluation of the score given the measurement.
    pub(in crate::sample) fn evaluation(self) -> Evaluation {
        let score = self.at.score() + &self.gradient;
        self.at.with_score(score)
    }

    /// The twist of some of the states, by their numbers.
    pub(in crate::sample) fn gather(self, picks: &[usize]) -> Result<Twist> {
        let of = |x: &Tensor| layout::gather(x, x, picks);
        let scale = picks.iter().map(|pick| self.scale[*pick]).collect();
        let (gradient, products) = (of(&self.gradient)?, of(&self.products)?);
        Ok(Twist { at: self.at.gather(picks)?, gradient, products, scale })
    }
}

impl Score for Guided<'_> {
    fn gpu(&self) -> &Gpu {
        self.score().gpu()
    }

    fn process(&self) -> &dyn Process {
        self.score().process()
    }

    fn at(&self, x: &Tensor, t: &Times) -> Result<Evaluation> {
        Ok(self.twist(x, t)?.evaluation())
    }
}
