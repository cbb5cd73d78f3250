//! The score given a measurement y = A x + n of the data: the model's, and the gradient of what the measurement makes
//! likely. Every sampler draws from the posterior with it.

use super::operator::{Operator, System, solve};
use super::score::{Pullback, Score};
use super::{Draw, refuse};
use crate::gpu::Gpu;
use crate::kernels::inner_product::{inner_product, lanes};
use crate::kernels::random::{Distribution, fill};
use crate::kernels::sde_step::{Factors, sde_step, sde_step_each};
use crate::kernels::{Result, check_shape, concat};
use crate::nn::{Combination, Label};
use crate::random::Purpose;
use crate::sde::{Marginal, Sde};
use crate::tensor::Tensor;

/// How ∇ log p(y | x(t)) is approximated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Guidance {
    /// By ∇ log p(ŷ(t) | x(t)) with ŷ(t) drawn from p(y(t) | y), where y(t) is the measurement of a state: y(t) = m y + s A z
    /// (Song 2021, appendix I.4). Needs no more than the score.
    Measured,
    /// By p(x₀ | x(t)) ≈ N(x̂₀, r² I) with x̂₀ by Tweedie's formula (Song 2023, pseudoinverse-guided diffusion models, eqs. 5
    /// to 9), which needs the network's adjoint. There r² = σ² σ_d² / (σ² + σ_d²) with σ = s / m, as for Gaussian data of
    /// variance σ_d². Here that is where it begins: along the pull of the measurement the covariance is known, by Tweedie's
    /// formula of second order Cov[x₀ | x] = (s² / m) ∂x̂₀/∂x (Boys 2023), and takes its place. A network that answers the
    /// state more than r² allows would otherwise be pulled too far, and then further each time.
    PseudoInverse {
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
/// it: what [`Guidance::Measured`] draws is drawn once for each sample.
pub struct Guided<'a> {
    score: &'a dyn Score,
    measurement: Measurement<'a>,
    guidance: Guidance,
    /// A z, for [`Guidance::Measured`].
    noise: Option<Tensor>,
}

/// What a time of a sample is to the model.
struct Moment {
    marginal: Marginal,
    label: Label,
}

impl Moment {
    /// What makes x̂₀ of the state and the network's output: (x + s² score) / m.
    fn denoise(&self) -> [f64; 2] {
        let Marginal { mean, std } = self.marginal;
        let Combination { x, net } = self.label.score;
        [(1.0 + std * std * x) / mean, std * std * net / mean]
    }
}

impl<'a> Guided<'a> {
    /// Guides a score for the samples of a draw.
    ///
    /// # Errors
    /// If the measurement is not of the operator's shape, or the device refuses.
    pub fn new(
        score: &'a dyn Score,
        measurement: Measurement<'a>,
        guidance: Guidance,
        draw: Draw,
    ) -> Result<Guided<'a>> {
        let (n, operator) = (measurement.y.shape().n(), measurement.operator);
        check_shape("inverse problem", "the measurement", &measurement.y, operator.output().with_n(n))?;
        let noise = match guidance {
            Guidance::PseudoInverse { .. } => None,
            Guidance::Measured => {
                let (key, normal) = (draw.key(Purpose::Guidance), Distribution::Normal { std: 1.0 });
                let z = fill(score.gpu(), operator.input().with_n(n), key, normal)?;
                Some(operator.apply(&z)?)
            }
        };
        Ok(Guided { score, measurement, guidance, noise })
    }

    /// r², the variance that x₀ is taken to have about its estimate at a time.
    fn variance(&self, Marginal { mean, std }: Marginal) -> f64 {
        let sigma2 = (std / mean).powi(2);
        match self.guidance {
            Guidance::Measured => sigma2,
            Guidance::PseudoInverse { sigma_data } => {
                let data2 = sigma_data * sigma_data;
                sigma2 * data2 / (sigma2 + data2)
            }
        }
    }

    /// What the measurement says of an estimate x̂ of the data.
    fn pull(&self, estimate: &Tensor, moments: &[Moment]) -> Result<Pull> {
        let Measurement { operator, y, .. } = &self.measurement;
        let image = operator.apply(estimate)?;
        let off = |m: &Moment| Factors::new(&[1.0, -1.0, m.marginal.std / m.marginal.mean], 0.0);
        let factors: Vec<Factors> = moments.iter().map(off).collect();
        let terms: Vec<&Tensor> = [y, &image].into_iter().chain(&self.noise).collect();
        let residual = sde_step_each(&terms, &factors, None)?;
        let system = |m: &Moment| System { gram: self.variance(m.marginal), ridge: self.ridge() };
        let systems: Vec<System> = moments.iter().map(system).collect();
        let solution = solve(*operator, &residual, &systems)?;
        let gradient = operator.adjoint(&solution)?;
        Ok(Pull { residual, solution, gradient })
    }

    /// σ_y². Without any noise the smallest variance that f32 can tell from none keeps the systems regular.
    fn ridge(&self) -> f64 {
        let Measurement { operator, noise_std, .. } = &self.measurement;
        noise_std.powi(2).max(1e-10 * operator.scale())
    }

    /// What becomes of each pull, [`Pull`]'s z and v = Aᵀ z, that is `through` the network, w = (∂x̂₀/∂x)ᵀ v, when the variance
    /// along it is the network's and not r²: (σ_y² + r² ‖v‖² / ‖z‖²) / (σ_y² + (s² / m) v·w / ‖z‖²).
    fn rescale(&self, pull: &Pull, through: &Tensor, moments: &[Moment]) -> Result<Vec<f64>> {
        let Pull { solution: z, gradient: v, .. } = pull;
        let [zz, vv, vw, ww] = products([(z, z), (v, v), (v, through), (through, through)])?;
        let factor = |(i, moment): (usize, &Moment)| {
            if zz[i] == 0.0 {
                return 1.0;
            }
            let Marginal { mean, std } = moment.marginal;
            // A covariance below (s / m)² I has ∂x̂₀/∂x below I / m, and v·w is at least m ‖w‖²: what is less is the network's
            // error, and would make the step too long.
            let along = std * std / mean * vw[i].max(mean * ww[i]);
            (self.ridge() + self.variance(moment.marginal) * vv[i] / zz[i]) / (self.ridge() + along / zz[i])
        };
        Ok(moments.iter().enumerate().map(factor).collect())
    }

    /// What the measurement makes of states `x` `[n, h, w, c]` at a time in (0, 1] of each.
    ///
    /// # Errors
    /// If the score has no adjoint and the guidance needs it, or the device refuses.
    pub fn twist(&self, x: &Tensor, times: &[f64]) -> Result<Twist> {
        let sde = self.score.sde();
        let moment = |t: &f64| Moment { marginal: sde.marginal_prob(*t), label: self.score.label(*t) };
        let moments: Vec<Moment> = times.iter().map(moment).collect();
        let labels: Vec<Label> = moments.iter().map(|m| m.label).collect();
        let each = |f: &dyn Fn(usize, &Moment) -> Vec<f64>| -> Vec<Factors> {
            moments.iter().enumerate().map(|(i, m)| Factors::new(&f(i, m), 0.0)).collect()
        };
        let score = |net: &Tensor| {
            sde_step_each(&[x, net], &each(&|_, m| vec![m.label.score.x, m.label.score.net]), None)
        };
        if let Guidance::Measured = self.guidance {
            let net = self.score.network(x, &labels)?;
            let estimate = sde_step_each(&[x], &each(&|_, m| vec![1.0 / m.marginal.mean]), None)?;
            let pull = self.pull(&estimate, &moments)?;
            let gradient =
                sde_step_each(&[&pull.gradient], &each(&|_, m| vec![1.0 / m.marginal.mean]), None)?;
            return Ok(Twist { score: score(&net)?, gradient, worth: pull.worth(vec![1.0; times.len()])? });
        }
        let (net, pullback) = self.score.pullback(x, &labels)?;
        let estimate = sde_step_each(&[x, &net], &each(&|_, m| m.denoise().to_vec()), None)?;
        let pull = self.pull(&estimate, &moments)?;
        // (∂x̂₀/∂x)ᵀ v = a v + Jᵀ(b v) for x̂₀ = a x + b net.
        let v = &pull.gradient;
        let cotangent = sde_step_each(&[v], &each(&|_, m| vec![m.denoise()[1]]), None)?;
        let through = pullback(cotangent)?;
        let through = sde_step_each(&[v, &through], &each(&|_, m| vec![m.denoise()[0], 1.0]), None)?;
        let scale = self.rescale(&pull, &through, &moments)?;
        let gradient = sde_step_each(&[&through], &each(&|i, _| vec![scale[i]]), None)?;
        Ok(Twist { score: score(&net)?, gradient, worth: pull.worth(scale)? })
    }
}

/// ⟨a, b⟩ of each sample for several pairs, which are waited for once.
fn products<const N: usize>(pairs: [(&Tensor, &Tensor); N]) -> Result<[Vec<f64>; N]> {
    let sums = pairs.iter().map(|(a, b)| inner_product(a, b)).collect::<Result<Vec<Tensor>>>()?;
    let values = lanes(&concat::stack(&sums.iter().collect::<Vec<_>>())?)?;
    let n = values.len() / N;
    Ok(std::array::from_fn(|i| values[i * n..][..n].to_vec()))
}

/// What a measurement says of an estimate of the data.
struct Pull {
    /// r = y − A x̂.
    residual: Tensor,
    /// z = (σ_y² I + r² A Aᵀ)⁻¹ r.
    solution: Tensor,
    /// v = Aᵀ z, the gradient in the estimate of what its measurement makes likely.
    gradient: Tensor,
}

impl Pull {
    /// How likely the measurement is when the variance along each pull is smaller by the factor `scale`.
    fn worth(&self, scale: Vec<f64>) -> Result<Worth> {
        Ok(Worth { products: inner_product(&self.residual, &self.solution)?, scale })
    }
}

/// How likely a measurement is to come of states. It stays on the device until somebody asks.
struct Worth {
    /// r·z in four lanes that have yet to be added, `[n, 1, 1, 4]`.
    products: Tensor,
    /// The factor by which the variance along each pull is smaller.
    scale: Vec<f64>,
}

/// A measurement at noisy states: how likely it is to come of them, and what it adds to their score.
pub struct Twist {
    /// The model's own score, `[n, h, w, c]`.
    pub score: Tensor,
    /// ∇ log p(y | x), as it is approximated.
    pub gradient: Tensor,
    worth: Worth,
}

impl Twist {
    /// log p(y | x) of each, as it is approximated, up to what is the same for all states of a measurement at a time:
    /// −½ (scale · r·z − ln scale). Waits for the device.
    ///
    /// # Errors
    /// What the device reported.
    pub fn log_likelihood(&self) -> Result<Vec<f64>> {
        let Worth { products, scale } = &self.worth;
        let of = |(product, scale): (f64, &f64)| -0.5 * (scale * product - scale.ln());
        Ok(lanes(products)?.into_iter().zip(scale).map(of).collect())
    }

    /// The score given the measurement.
    pub(super) fn sum(&self) -> Result<Tensor> {
        sde_step(&[(&self.score, 1.0), (&self.gradient, 1.0)], None)
    }

    /// Those of some states, by their numbers.
    pub(super) fn gather(&self, picks: &[usize]) -> Result<Twist> {
        let of = |x: &Tensor| concat::gather(x, x, picks);
        let scale = picks.iter().map(|pick| self.worth.scale[*pick]).collect();
        let worth = Worth { products: of(&self.worth.products)?, scale };
        Ok(Twist { score: of(&self.score)?, gradient: of(&self.gradient)?, worth })
    }
}

/// The label of a guided score holds the time itself, and what the network is asked for is the score.
impl Score for Guided<'_> {
    fn gpu(&self) -> &Gpu {
        self.score.gpu()
    }

    fn sde(&self) -> &Sde {
        self.score.sde()
    }

    fn label(&self, t: f64) -> Label {
        Label::of_score(t)
    }

    fn network(&self, x: &Tensor, labels: &[Label]) -> Result<Tensor> {
        let times: Vec<f64> = labels.iter().map(|label| label.label).collect();
        self.twist(x, &times)?.sum()
    }

    fn tangents(&self, _: &Tensor, _: usize, _: &[Label]) -> Result<Tensor> {
        Err(refuse("a score that is guided by a measurement has no tangents"))
    }

    fn pullback(&self, _: &Tensor, _: &[Label]) -> Result<(Tensor, Pullback<'_>)> {
        Err(refuse("a score that is guided by a measurement has no adjoint"))
    }
}
