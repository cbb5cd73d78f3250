// A linear form of up to eight tensors and noise, y = sum over j of a[j] * x[j] + c * z, with standard normal
// z drawn here. A solver's step is such a form, because the score is linear in the network's output and the
// state. An invocation owns one vec4 of y and writes nothing else.

// include lib/element.wgsl
// include lib/index.wgsl
// include lib/noise.wgsl

const TERMS: u32 = 2u; // number of tensors, 1 to 8
const EACH: u32 = 0u;  // 1: every sample has its own factors, in memory

const WIDTH: u32 = 12u; // factors of a sample: a[0 .. 8], c, and padding

struct Params {
    noise: Noise,
    blocks: u32,
    sample: u32, // vec4s of a sample
    channels: u32,
    factors: array<f32, 9>, // a[0 .. 8], c, unless EACH; c = 0: no noise is drawn
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x0: array<vec4<f32>>;             // [n, h, w, c]
@group(0) @binding(1) var<storage, read> x1: array<Element4>;              // [n, h, w, c], if TERMS > 1
@group(0) @binding(2) var<storage, read> x2: array<Element4>;              // [n, h, w, c], if TERMS > 2
@group(0) @binding(3) var<storage, read> x3: array<Element4>;              // [n, h, w, c], if TERMS > 3
@group(0) @binding(4) var<storage, read> x4: array<Element4>;              // [n, h, w, c], if TERMS > 4
@group(0) @binding(5) var<storage, read> x5: array<Element4>;              // [n, h, w, c], if TERMS > 5
@group(0) @binding(6) var<storage, read> x6: array<Element4>;              // [n, h, w, c], if TERMS > 6
@group(0) @binding(7) var<storage, read> x7: array<Element4>;              // [n, h, w, c], if TERMS > 7
@group(0) @binding(8) var<storage, read_write> y: array<vec4<f32>>;        // [n, h, w, c]
@group(0) @binding(9) var<storage, read> factors: array<f32>;              // [n, 12], if EACH: a, c, padding

fn factor(sample: u32, j: u32) -> f32 {
    if (EACH == 1u) { return factors[sample * WIDTH + j]; }
    return p.factors[j];
}

@compute @workgroup_size(WORKGROUP)
fn combine(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    let at = divide(i, p.sample); // sample, vec4 of it
    let n = at.x;
    var value = factor(n, 0u) * x0[i];
    if (TERMS > 1u) { value += factor(n, 1u) * vec4<f32>(x1[i]); }
    if (TERMS > 2u) { value += factor(n, 2u) * vec4<f32>(x2[i]); }
    if (TERMS > 3u) { value += factor(n, 3u) * vec4<f32>(x3[i]); }
    if (TERMS > 4u) { value += factor(n, 4u) * vec4<f32>(x4[i]); }
    if (TERMS > 5u) { value += factor(n, 5u) * vec4<f32>(x5[i]); }
    if (TERMS > 6u) { value += factor(n, 6u) * vec4<f32>(x6[i]); }
    if (TERMS > 7u) { value += factor(n, 7u) * vec4<f32>(x7[i]); }
    let c = factor(n, 8u);
    if (c != 0.0) {
        let z = normal_from(noise_bits(p.noise, n, at.y));
        value += c * z * channel_mask(divide(i, (p.channels + 3u) / 4u).y, p.channels);
    }
    y[i] = value;
}
