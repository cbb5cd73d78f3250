// Imputation: y = m x0 + s z where the mask is 1 and x elsewhere, with observed values x0 and standard normal
// z drawn here. Observed values and mask repeat if they have fewer samples than the state. An invocation owns
// one vec4 of y and writes nothing else.

// include lib/index.wgsl
// include lib/noise.wgsl

struct Params {
    noise: Noise,
    blocks: u32,
    sample: u32,       // vec4s of a sample
    known_period: u32, // vec4s of the observed values
    mask_period: u32,  // vec4s of the mask
    m: f32,
    s: f32,            // 0: nothing is drawn
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;       // [n, h, w, c]: the state
@group(0) @binding(1) var<storage, read> known: array<vec4<f32>>;   // [k, h, w, c]: x0
@group(0) @binding(2) var<storage, read> mask: array<vec4<f32>>;    // [l, h, w, c]: 1 if observed, else 0
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // [n, h, w, c]

@compute @workgroup_size(WORKGROUP)
fn impute(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    var value = p.m * known[divide(i, p.known_period).y];
    if (p.s != 0.0) {
        let at = divide(i, p.sample); // sample, vec4 of it
        value += p.s * normal_from(noise_bits(p.noise, at.x, at.y));
    }
    // A selection, not a blend: noise-free observed values keep their bits, and padding stays zero.
    y[i] = select(x[i], value, mask[divide(i, p.mask_period).y] > vec4(0.5));
}
