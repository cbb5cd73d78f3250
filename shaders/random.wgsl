// Noise of a distribution, y = scale * noise + shift, and the generator's own words. An invocation owns one
// vec4 of the output and writes nothing else.

// include lib/index.wgsl
// include lib/noise.wgsl

const UNIFORM: u32 = 0u;
const NORMAL: u32 = 1u;
const RADEMACHER: u32 = 2u;

struct Params {
    noise: Noise,
    blocks: u32,
    sample: u32, // vec4s of a sample
    channels: u32,
    kind: u32,   // UNIFORM, NORMAL or RADEMACHER
    scale: f32,
    shift: f32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;         // [n, h, w, c]

@compute @workgroup_size(WORKGROUP)
fn random(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    let at = divide(i, p.sample); // sample, vec4 of it
    let words = noise_bits(p.noise, at.x, at.y);
    var value: vec4<f32>;
    if (p.kind == UNIFORM) { value = uniform_from(words); }
    if (p.kind == NORMAL) { value = normal_from(words); }
    if (p.kind == RADEMACHER) { value = rademacher_from(words); }
    y[i] = (p.scale * value + p.shift) * channel_mask(divide(i, (p.channels + 3u) / 4u).y, p.channels);
}

@group(0) @binding(0) var<storage, read_write> words_out: array<vec4<u32>>; // [blocks]

// The generator's words.
@compute @workgroup_size(WORKGROUP)
fn bits(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    let at = divide(i, p.sample);
    if (i < p.blocks) { words_out[i] = noise_bits(p.noise, at.x, at.y); }
}
