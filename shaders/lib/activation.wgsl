// Activations, chosen by ACT, with their first and second derivatives: 0 identity, 1 swish (SiLU), 2 ELU,
// 3 ReLU, 4 leaky ReLU with slope 0.2. Written with exp, because drivers' tanh is inaccurate.

const ACT: u32 = 1u;

fn sigmoid(u: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-u));
}

fn act(u: vec4<f32>) -> vec4<f32> {
    if (ACT == 1u) { return u * sigmoid(u); }
    if (ACT == 2u) { return select(exp(min(u, vec4(0.0))) - 1.0, u, u > vec4(0.0)); }
    if (ACT == 3u) { return max(u, vec4(0.0)); }
    if (ACT == 4u) { return select(0.2 * u, u, u > vec4(0.0)); }
    return u;
}

fn act_slope(u: vec4<f32>) -> vec4<f32> {
    if (ACT == 1u) {
        let s = sigmoid(u);
        return s + u * s * (1.0 - s);
    }
    if (ACT == 2u) { return exp(min(u, vec4(0.0))); }
    if (ACT == 3u) { return select(vec4(0.0), vec4(1.0), u > vec4(0.0)); }
    if (ACT == 4u) { return select(vec4(0.2), vec4(1.0), u > vec4(0.0)); }
    return vec4(1.0);
}

fn act_curvature(u: vec4<f32>) -> vec4<f32> {
    if (ACT == 1u) {
        let s = sigmoid(u);
        return s * (1.0 - s) * (2.0 + u * (1.0 - 2.0 * s));
    }
    if (ACT == 2u) { return select(exp(min(u, vec4(0.0))), vec4(0.0), u > vec4(0.0)); }
    return vec4(0.0);
}
