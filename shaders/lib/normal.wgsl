// The standard normal distribution on intervals, without cancellation in its tails.

const ROOT_HALF: f32 = 0.70710678;
const ROOT_TWO_OVER_PI: f32 = 0.79788456;

// e^(x^2) erfc(x) for x >= 0, to 1.2e-7 of its value (Press et al., Numerical Recipes, section 6.2).
fn erfcx(x: vec4<f32>) -> vec4<f32> {
    let t = 1.0 / (1.0 + 0.5 * x);
    var p = vec4(0.17087277);
    p = p * t - 0.82215223;
    p = p * t + 1.48851587;
    p = p * t - 1.13520398;
    p = p * t + 0.27886807;
    p = p * t - 0.18628806;
    p = p * t + 0.09678418;
    p = p * t + 0.37409196;
    p = p * t + 1.00002368;
    p = p * t - 1.26551223;
    return t * exp(p);
}

// A probability mass.
struct Mass {
    log: vec4<f32>,   // log P(a < z < b)
    slope: vec4<f32>, // -d/ds log P(a + s < z < b + s)
}

// The mass of z between a and b, |a| <= b; where `open`, b is infinite.
fn normal_mass(a: vec4<f32>, b: vec4<f32>, open: vec4<bool>) -> Mass {
    let zero = vec4(0.0);
    let height = select(exp(-0.5 * (b - a) * (b + a)), zero, open); // phi(b) / phi(a)
    // a >= 0: phi(a) is a factor of everything.
    let tail = erfcx(ROOT_HALF * max(a, zero)) - height * erfcx(ROOT_HALF * max(b, zero));
    // a < 0: 1 minus the mass outside.
    let below = exp(-0.5 * a * a);
    let inside = 1.0 - 0.5 * below * (erfcx(ROOT_HALF * abs(a)) + height * erfcx(ROOT_HALF * max(b, zero)));
    let right = a >= zero;
    return Mass(
        select(log(inside), log(0.5 * tail) - 0.5 * a * a, right),
        ROOT_TWO_OVER_PI * (1.0 - height) * select(0.5 * below / inside, 1.0 / tail, right),
    );
}
