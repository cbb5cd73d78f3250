//! Dormand–Prince 5(4): an explicit Runge–Kutta pair with adaptive steps (Dormand and Prince 1980), for any
//! type of state. Steps are chosen as SciPy's `RK45` chooses them (Hairer, Nørsett and Wanner 1993, II.4), so that it makes as
//! many evaluations.

use crate::kernels::combine::Factor;
use crate::sample::error::{Result, SampleError};

/// The nodes of the stages after the first.
const C: [f64; 6] = [1.0 / 5.0, 3.0 / 10.0, 4.0 / 5.0, 8.0 / 9.0, 1.0, 1.0];
/// The stages' weights of the slopes before them; the last are those of the solution of order 5.
const A: [&[f64]; 6] = [
    &[1.0 / 5.0],
    &[3.0 / 40.0, 9.0 / 40.0],
    &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
    &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
    &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
    &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
];
/// The error's weights: those of the solution of order 4 less those of order 5.
const E: [f64; 7] =
    [-71.0 / 57600.0, 0.0, 71.0 / 16695.0, -71.0 / 1920.0, 17253.0 / 339200.0, -22.0 / 525.0, 1.0 / 40.0];
/// Evaluations of an attempt.
const STAGES: usize = 6;
/// The exponent of the error in the factor of the next step.
const EXPONENT: f64 = -1.0 / 5.0;
const SAFETY: f64 = 0.9;
const MIN_FACTOR: f64 = 0.2;
const MAX_FACTOR: f64 = 10.0;
/// Evaluations for one member, at most.
const MAX_EVALUATIONS: usize = 200_000;

/// How large the error of a step may be: `absolute + relative · |x|` for each number of the state, in the root mean square.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// In units of the state.
    pub relative: f64,
    /// In the state's own range.
    pub absolute: f64,
}

impl Tolerance {
    /// # Errors
    /// If a tolerance is not positive.
    fn check(self) -> Result<()> {
        for (name, value) in [("rtol", self.relative), ("atol", self.absolute)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(SampleError::Tolerance { name, value });
            }
        }
        Ok(())
    }
}

/// dx/dt = f(x, t) of one or more members, each with its own time and steps.
pub trait System {
    /// The state of some members, or a slope of it.
    type State: Clone;

    /// f at a time of each member.
    ///
    /// # Errors
    /// If it cannot be evaluated.
    fn evaluate(&mut self, x: &Self::State, times: &[f64]) -> Result<Self::State>;

    /// Σⱼ factorⱼ · termⱼ, with a factor for all members or one for each.
    ///
    /// # Errors
    /// If it cannot be evaluated.
    fn combine(&self, terms: &[(&Self::State, Factor)]) -> Result<Self::State>;

    /// The root mean square of `e / (absolute + relative · max(|a|, |b|))` of each member.
    ///
    /// # Errors
    /// If it cannot be evaluated.
    fn norms(
        &self,
        e: &Self::State,
        a: &Self::State,
        b: &Self::State,
        tolerance: Tolerance,
    ) -> Result<Vec<f64>>;

    /// Members by their numbers in `[a; b]`.
    ///
    /// # Errors
    /// If it cannot be evaluated.
    fn gather(&self, a: &Self::State, b: &Self::State, picks: &[usize]) -> Result<Self::State>;

    /// From now on states hold only these of the members that they held so far.
    ///
    /// # Errors
    /// If it cannot be evaluated.
    fn keep(&mut self, members: &[usize]) -> Result<()>;
}

/// Where a system has got to.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution<S> {
    /// The state at the end.
    pub state: S,
    /// Evaluations of f for each member.
    pub evaluations: Vec<usize>,
    /// Steps of each member that were accepted.
    pub steps: Vec<usize>,
    /// Evaluations of f for all members that were still on their way.
    pub calls: usize,
}

impl<S> Solution<S> {
    /// Evaluations of f for a member, in the mean.
    pub fn mean_evaluations(&self) -> f64 {
        self.evaluations.iter().sum::<usize>() as f64 / self.evaluations.len().max(1) as f64
    }
}

/// The step control of one member.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Control {
    /// The member's number.
    member: usize,
    t: f64,
    end: f64,
    /// The size of the next attempt, positive.
    step: f64,
    /// The time that the attempt under way leads to.
    target: f64,
    /// The last attempt was rejected.
    rejected: bool,
    evaluations: usize,
    steps: usize,
}

impl Control {
    fn new(member: usize, (t, end): (f64, f64)) -> Control {
        Control { member, t, end, step: 0.0, target: t, rejected: false, evaluations: 0, steps: 0 }
    }

    /// 1 forward in time, −1 backward.
    fn direction(&self) -> f64 {
        if self.end < self.t { -1.0 } else { 1.0 }
    }

    fn arrived(&self) -> bool {
        self.t == self.end
    }

    /// The step that tries out how fast the slope changes, from the norms of the state and of the slope; with its sign.
    fn trial(&self, state: f64, slope: f64) -> f64 {
        let trial = if state < 1e-5 || slope < 1e-5 { 1e-6 } else { 0.01 * state / slope };
        trial.min((self.end - self.t).abs()) * self.direction()
    }

    /// Chooses the first step from the norms of the slope, and of its change over a step of `trial`.
    fn begin(&mut self, trial: f64, slope: f64, change: f64) {
        let curvature = change / trial.abs();
        let step = match slope <= 1e-15 && curvature <= 1e-15 {
            true => f64::max(1e-6, 1e-3 * trial.abs()),
            false => (0.01 / slope.max(curvature)).powf(-EXPONENT),
        };
        self.step = step.min(100.0 * trial.abs()).min((self.end - self.t).abs());
        self.evaluations = 2;
    }

    /// The next attempt: a step with its sign, no further than the end.
    fn attempt(&mut self) -> Result<f64> {
        let next = if self.direction() > 0.0 { self.t.next_up() } else { self.t.next_down() };
        let least = 10.0 * (next - self.t).abs();
        if !self.rejected {
            self.step = self.step.max(least);
        }
        if self.step.is_nan() || self.step < least {
            return Err(SampleError::StepTooSmall { t: self.t });
        }
        if self.evaluations >= MAX_EVALUATIONS {
            return Err(SampleError::TooManyEvaluations { t: self.t, evaluations: self.evaluations });
        }
        let target = self.t + self.step * self.direction();
        let beyond = self.direction() * (target - self.end) > 0.0;
        self.target = if beyond { self.end } else { target };
        let step = self.target - self.t;
        self.step = step.abs();
        Ok(step)
    }

    /// Whether an attempt with this error is accepted; chooses the size of the next one.
    fn judge(&mut self, error: f64) -> bool {
        self.evaluations += STAGES;
        let factor = SAFETY * error.powf(EXPONENT);
        let accepted = error < 1.0;
        if accepted {
            self.step *= factor.min(if self.rejected { 1.0 } else { MAX_FACTOR });
            self.t = self.target;
            self.steps += 1;
        } else {
            self.step *= f64::max(MIN_FACTOR, factor);
        }
        self.rejected = !accepted;
        accepted
    }
}

/// Solves `system` from the state `x` of `members` members over a span of time, forward or backward. Each member takes steps of
/// its own and is left alone once it has arrived. After every attempt `watch` sees the time that the last one has got to,
/// and the state of all.
///
/// # Errors
/// If the tolerances are not positive, if steps become too small or there are too many, and those of the system and of
/// `watch`.
pub fn solve<S: System>(
    system: &mut S,
    mut x: S::State,
    members: usize,
    span: (f64, f64),
    tolerance: Tolerance,
    watch: &mut dyn FnMut(f64, &S::State) -> Result<()>,
) -> Result<Solution<S::State>> {
    tolerance.check()?;
    let mut active: Vec<Control> = (0..members).map(|member| Control::new(member, span)).collect();
    let mut finished: Vec<Control> = Vec::new();
    let mut ends: Option<S::State> = None;
    let mut slope = begin(system, &x, &mut active, tolerance)?;
    let mut calls = 2;
    while !active.is_empty() {
        let n = active.len();
        let steps = active.iter_mut().map(Control::attempt).collect::<Result<Vec<f64>>>()?;
        let Attempt { next, next_slope, error } = attempt(system, &x, &slope, &active, &steps)?;
        calls += STAGES;
        let norms = system.norms(&error, &x, &next, tolerance)?;
        let accepted: Vec<bool> = active.iter_mut().zip(norms).map(|(c, norm)| c.judge(norm)).collect();

        let (gone, kept): (Vec<usize>, Vec<usize>) = (0..n).partition(|i| active[*i].arrived());
        if !gone.is_empty() {
            let held = finished.len();
            let picks: Vec<usize> = (0..held).chain(gone.iter().map(|i| held + i)).collect();
            ends = Some(system.gather(ends.as_ref().unwrap_or(&next), &next, &picks)?);
            finished.extend(gone.iter().map(|i| active[*i]));
        }
        if !kept.is_empty() {
            let picks: Vec<usize> = kept.iter().map(|i| if accepted[*i] { n + i } else { *i }).collect();
            slope = system.gather(&slope, &next_slope, &picks)?;
            x = system.gather(&x, &next, &picks)?;
            system.keep(&kept)?;
        }
        active = kept.iter().map(|i| active[*i]).collect();
        let behind = active.first().or(finished.first()).map_or(span.1, |c| {
            active
                .iter()
                .fold(c.t, |t, other| if c.direction() > 0.0 { t.min(other.t) } else { t.max(other.t) })
        });
        watch(behind, &whole(system, &ends, &x, &finished, &active)?)?;
    }
    let state = whole(system, &ends, &x, &finished, &active)?;
    finished.sort_by_key(|control| control.member);
    Ok(Solution {
        state,
        evaluations: finished.iter().map(|control| control.evaluations).collect(),
        steps: finished.iter().map(|control| control.steps).collect(),
        calls,
    })
}

/// The slope at the start, and the first steps.
fn begin<S: System>(
    system: &mut S,
    x: &S::State,
    controls: &mut [Control],
    tolerance: Tolerance,
) -> Result<S::State> {
    let times: Vec<f64> = controls.iter().map(|c| c.t).collect();
    let slope = system.evaluate(x, &times)?;
    let states = system.norms(x, x, x, tolerance)?;
    let slopes = system.norms(&slope, x, x, tolerance)?;
    let trials: Vec<f64> =
        controls.iter().zip(states.iter().zip(&slopes)).map(|(c, (x, f))| c.trial(*x, *f)).collect();
    let tried = system.combine(&[(x, 1.0.into()), (&slope, trials.clone().into())])?;
    let times: Vec<f64> = times.iter().zip(&trials).map(|(t, trial)| t + trial).collect();
    let after = system.evaluate(&tried, &times)?;
    let change = system.combine(&[(&after, 1.0.into()), (&slope, (-1.0).into())])?;
    let changes = system.norms(&change, x, x, tolerance)?;
    for (i, control) in controls.iter_mut().enumerate() {
        control.begin(trials[i], slopes[i], changes[i]);
    }
    Ok(slope)
}

/// Where a step leads.
struct Attempt<S> {
    next: S,
    next_slope: S,
    error: S,
}

/// The stages of a step of each member, from its state and slope. The last one is at the step's end: its slope is the
/// first of the next step.
fn attempt<S: System>(
    system: &mut S,
    x: &S::State,
    slope: &S::State,
    controls: &[Control],
    steps: &[f64],
) -> Result<Attempt<S::State>> {
    // h w of each member.
    let scaled = |weight: &f64| Factor::Each(steps.iter().map(|h| h * weight).collect());
    let mut slopes = vec![slope.clone()];
    let mut next = x.clone();
    for (c, weights) in C.iter().zip(A) {
        let moves = slopes.iter().zip(weights.iter().map(scaled));
        next = system.combine(&[(x, 1.0.into())].into_iter().chain(moves).collect::<Vec<_>>())?;
        let times: Vec<f64> = controls.iter().zip(steps).map(|(control, h)| control.t + c * h).collect();
        slopes.push(system.evaluate(&next, &times)?);
    }
    let error = system.combine(&slopes.iter().zip(E.iter().map(scaled)).collect::<Vec<_>>())?;
    Ok(Attempt { next, next_slope: slopes.remove(STAGES), error })
}

/// The states of all members in their order: of those that have arrived, and of the others.
fn whole<S: System>(
    system: &S,
    ends: &Option<S::State>,
    x: &S::State,
    finished: &[Control],
    active: &[Control],
) -> Result<S::State> {
    let Some(ends) = ends else { return Ok(x.clone()) };
    let mut order = vec![0; finished.len() + active.len()];
    for (number, control) in finished.iter().chain(active).enumerate() {
        order[control.member] = number;
    }
    system.gather(ends, x, &order)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system in float64 on the host; every member is a vector.
    struct Host<'a> {
        slope: &'a dyn Fn(f64, &[f64]) -> Vec<f64>,
    }

    impl System for Host<'_> {
        type State = Vec<Vec<f64>>;

        fn evaluate(&mut self, x: &Self::State, times: &[f64]) -> Result<Self::State> {
            Ok(x.iter().zip(times).map(|(x, t)| (self.slope)(*t, x)).collect())
        }

        fn combine(&self, terms: &[(&Self::State, Factor)]) -> Result<Self::State> {
            let entry = |m: usize, i: usize| terms.iter().map(|(x, a)| a.get(m) * x[m][i]).sum();
            let member = |m: usize| (0..terms[0].0[m].len()).map(|i| entry(m, i)).collect();
            Ok((0..terms[0].0.len()).map(member).collect())
        }

        fn norms(
            &self,
            e: &Self::State,
            a: &Self::State,
            b: &Self::State,
            tolerance: Tolerance,
        ) -> Result<Vec<f64>> {
            let square = |m: usize, i: usize| {
                let scale = tolerance.absolute + tolerance.relative * a[m][i].abs().max(b[m][i].abs());
                (e[m][i] / scale).powi(2)
            };
            let mean = |m: usize| (0..e[m].len()).map(|i| square(m, i)).sum::<f64>() / e[m].len() as f64;
            Ok((0..e.len()).map(|m| mean(m).sqrt()).collect())
        }

        fn gather(&self, a: &Self::State, b: &Self::State, picks: &[usize]) -> Result<Self::State> {
            Ok(picks.iter().map(|pick| a.get(*pick).unwrap_or_else(|| &b[pick - a.len()]).clone()).collect())
        }

        fn keep(&mut self, _: &[usize]) -> Result<()> {
            Ok(())
        }
    }

    fn linear3(_: f64, y: &[f64]) -> Vec<f64> {
        vec![-0.5 * y[0] + 2.0 * y[1], -2.0 * y[0] - 0.5 * y[1], -5.0 * y[2]]
    }

    fn vanderpol(_: f64, y: &[f64]) -> Vec<f64> {
        vec![y[1], 2.0 * (1.0 - y[0] * y[0]) * y[1] - y[0]]
    }

    fn run(
        slope: &dyn Fn(f64, &[f64]) -> Vec<f64>,
        y: &[Vec<f64>],
        span: (f64, f64),
        tolerance: Tolerance,
    ) -> Result<Solution<Vec<Vec<f64>>>> {
        solve(&mut Host { slope }, y.to_vec(), y.len(), span, tolerance, &mut |_, _| Ok(()))
    }

    #[test]
    fn it_makes_scipys_steps_and_evaluations() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/fixtures/rk45.json");
        let Ok(text) = std::fs::read(path) else {
            println!("skipped: {path} is not here");
            return;
        };
        let file: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let numbers = |value: &serde_json::Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
        };
        for case in file["cases"].as_array().unwrap() {
            let number = |key: &str| case[key].as_f64().unwrap();
            let problem = case["problem"].as_str().unwrap();
            let slope = if problem == "vanderpol" { vanderpol } else { linear3 };
            let tolerance = Tolerance { relative: number("rtol"), absolute: number("atol") };
            let what = format!("{problem} {tolerance:?}");
            let solution =
                run(&slope, &[numbers(&case["y0"])], (number("t0"), number("t1")), tolerance).unwrap();
            assert_eq!(solution.evaluations, [number("nfev") as usize], "{what}");
            assert_eq!(solution.calls, number("nfev") as usize, "{what}");
            assert_eq!(solution.steps, [number("steps") as usize], "{what}");
            for (actual, expected) in solution.state[0].iter().zip(numbers(&case["y1"])) {
                assert!(
                    (actual - expected).abs() < 1e-12 + 1e-9 * expected.abs(),
                    "{what}: {actual} is not {expected}"
                );
            }
        }
    }

    #[test]
    fn a_members_steps_do_not_depend_on_the_others() {
        let tolerance = Tolerance { relative: 1e-5, absolute: 1e-5 };
        // Slow, fast, and at rest: they finish one after the other.
        let starts = [vec![0.1, 0.0], vec![2.0, 0.0], vec![0.0, 0.0], vec![-3.0, 1.0]];
        let together = run(&vanderpol, &starts, (0.0, 10.0), tolerance).unwrap();
        for (i, start) in starts.iter().enumerate() {
            let alone = run(&vanderpol, std::slice::from_ref(start), (0.0, 10.0), tolerance).unwrap();
            assert_eq!(alone.state[0], together.state[i]);
            assert_eq!(alone.evaluations[0], together.evaluations[i]);
        }
        assert_eq!(together.calls, *together.evaluations.iter().max().unwrap());
    }

    #[test]
    fn the_error_falls_with_the_tolerance_and_with_the_fifth_power_of_the_step() {
        let exact = |t: f64| vec![(2.0 * t).sin() * (-0.5 * t).exp(), (2.0 * t).cos() * (-0.5 * t).exp()];
        let slope = |_: f64, y: &[f64]| linear3(0.0, &[y[0], y[1], 0.0])[..2].to_vec();
        let solved = |tolerance: f64| {
            let tolerance = Tolerance { relative: tolerance, absolute: tolerance };
            let solution = run(&slope, &[exact(0.0)], (0.0, 4.0), tolerance).unwrap();
            let error: f64 = solution.state[0].iter().zip(exact(4.0)).map(|(a, b)| (a - b).abs()).sum();
            (error, solution.steps[0] as f64)
        };
        let results: Vec<(f64, f64)> = [1e-4, 1e-6, 1e-8, 1e-10].map(solved).to_vec();
        for pair in results.windows(2) {
            let ((coarse, few), (fine, many)) = (pair[0], pair[1]);
            let order = (coarse / fine).ln() / (many / few).ln();
            assert!((4.3..5.7).contains(&order), "order {order}: {results:?}");
        }
        assert!(results[3].0 < 1e-9, "{results:?}");
    }

    #[test]
    fn what_cannot_be_solved_is_refused_with_its_time() {
        let refused = |slope: &dyn Fn(f64, &[f64]) -> Vec<f64>, tolerance: Tolerance| {
            run(slope, &[vec![1.0]], (0.0, 2.0), tolerance).unwrap_err()
        };
        let tolerance = Tolerance { relative: 1e-6, absolute: 1e-6 };
        let exploding = |_: f64, y: &[f64]| vec![y[0] * y[0]];
        let blown_up = refused(&exploding, tolerance);
        assert!(matches!(blown_up, SampleError::StepTooSmall { t } if (t - 1.0).abs() < 1e-5), "{blown_up}");
        let undefined = |t: f64, _: &[f64]| vec![if t > 0.5 { f64::NAN } else { 1.0 }];
        let stopped = refused(&undefined, tolerance);
        assert!(matches!(stopped, SampleError::StepTooSmall { t } if (0.49..=0.5).contains(&t)), "{stopped}");
        for (relative, absolute) in [(0.0, 1e-5), (1e-5, -1.0), (f64::NAN, 1e-5)] {
            let refused = refused(&exploding, Tolerance { relative, absolute });
            assert!(matches!(refused, SampleError::Tolerance { .. }), "{refused}");
        }
    }
}
