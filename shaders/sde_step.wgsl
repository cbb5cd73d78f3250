// One step of a reverse-time SDE, fused: y = a x + b net + c z, with z drawn here. Every predictor is such a step, the
// network's output standing for the score up to a factor that b holds. An invocation owns one vec4.

// include lib/element.wgsl
// include lib/index.wgsl
// include lib/noise.wgsl

struct Params {
    noise: Noise,
    blocks: u32,
    sample: u32, // vec4s of a sample
    channels: u32,
    a: f32,
    b: f32,
    c: f32,      // 0: no noise is drawn
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;              // [n, h, w, c]
@group(0) @binding(1) var<storage, read> net: array<Element4>;             // [n, h, w, c]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;        // [n, h, w, c]

@compute @workgroup_size(WORKGROUP)
fn sde_step(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    var value = p.a * x[i] + p.b * vec4<f32>(net[i]);
    if (p.c != 0.0) {
        let at = divide(i, p.sample); // sample, vec4 of it
        let z = normal_from(noise_bits(p.noise, at.x, at.y));
        value += p.c * z * channel_mask(divide(i, (p.channels + 3u) / 4u).y, p.channels);
    }
    y[i] = value;
}
