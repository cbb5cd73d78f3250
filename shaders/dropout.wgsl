// Dropout: y = x / (1 - rate) where the mask keeps an element, else 0. The mask is drawn again at each use,
// so the adjoint and the tangent are this kernel too. An invocation owns one vec4 of y and writes nothing
// else.

// include lib/element.wgsl
// include lib/index.wgsl
// include lib/noise.wgsl

struct Params {
    noise: Noise,
    blocks: u32,
    sample: u32, // vec4s of a sample
    period: u32, // in samples: the tangents of a stack share the masks of their primal
    rate: f32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<Element4>;          // [n, h, w, c]
@group(0) @binding(1) var<storage, read_write> y: array<Element4>;    // [n, h, w, c]

@compute @workgroup_size(WORKGROUP)
fn dropout(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    let at = unravel(i, p.period, p.sample);
    let u = uniform_from(noise_bits(p.noise, at.y, at.z));
    let kept = select(vec4(0.0), vec4(1.0 / (1.0 - p.rate)), u >= vec4(p.rate));
    y[i] = Element4(vec4<f32>(x[i]) * kept);
}
