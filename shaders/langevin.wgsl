// One step of Langevin dynamics with the step size set by a signal-to-noise ratio (Song 2021, algorithms 4
// and 5):
//
//   eps = 2 alpha (snr |z| / |g|)^2,   y = x + eps g + sqrt(2 eps) z,
//
// with g = score_scale * net. Norms are per sample, or averaged over the batch as in the reference. The noise
// is drawn twice, for its norm and for the step; the step size stays on the device.
//
//   norms -> combine -> step_size -> langevin
//
// An invocation owns one partial sum, one sample or one vec4 of its output, and writes nothing else; sums are
// added in order.

// include lib/chunk.wgsl
// include lib/element.wgsl
// include lib/noise.wgsl

struct Params {
    noise: Noise,
    cut: Chunks,
    channels: u32,
    batch: u32,   // 1: norms are averaged over the batch
    score_scale: f32, // factor from the network's output to the score
    snr: f32,     // target signal-to-noise ratio
    alpha: f32,   // 1 for VE, 1 - beta for VP
}

var<immediate> p: Params;

fn noise_at(i: u32) -> vec4<f32> {
    let at = divide(i, p.cut.sample); // sample, vec4 of it
    let drawn = normal_from(noise_bits(p.noise, at.x, at.y));
    return drawn * channel_mask(divide(i, (p.channels + 3u) / 4u).y, p.channels);
}

@group(0) @binding(0) var<storage, read> net: array<Element4>; // [n, h, w, c]: the network's output
@group(0) @binding(1) var<storage, read_write> partial: array<vec2<f32>>;      // [n, chunks]: |g|^2, |z|^2

// |g|^2 and |z|^2 of one chunk of a sample.
@compute @workgroup_size(WORKGROUP)
fn norms(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.cut.samples * p.cut.chunks) { return; }
    let chunk = chunk_of(p.cut, index);
    var sum = vec2<f32>();
    for (var i = chunk.first; i < chunk.end; i++) {
        let g = p.score_scale * vec4<f32>(net[i]);
        let z = noise_at(i);
        sum += vec2(dot(g, g), dot(z, z));
    }
    partial[index] = sum;
}

@group(0) @binding(0) var<storage, read> partial_in: array<vec2<f32>>;         // [n, chunks]: |g|^2, |z|^2
@group(0) @binding(1) var<storage, read_write> norms_out: array<vec2<f32>>;    // [n]: |g|, |z|

// |g| and |z| of one sample.
@compute @workgroup_size(WORKGROUP)
fn combine(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let sample = flat_index(id, groups);
    if (sample >= p.cut.samples) { return; }
    var sum = vec2<f32>();
    for (var chunk = 0u; chunk < p.cut.chunks; chunk++) { sum += partial_in[sample * p.cut.chunks + chunk]; }
    norms_out[sample] = sqrt(sum);
}

@group(0) @binding(0) var<storage, read> norms_in: array<vec2<f32>>;           // [n]: |g|, |z|
@group(0) @binding(1) var<storage, read_write> steps_out: array<f32>;          // [n]: eps

// eps of one sample.
@compute @workgroup_size(WORKGROUP)
fn step_size(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let sample = flat_index(id, groups);
    if (sample >= p.cut.samples) { return; }
    var norm = norms_in[sample];
    if (p.batch == 1u) {
        norm = vec2<f32>();
        for (var i = 0u; i < p.cut.samples; i++) { norm += norms_in[i]; }
        norm /= f32(p.cut.samples);
    }
    let ratio = p.snr * norm.y / norm.x;
    // A score of zero has no direction: the step is zero.
    steps_out[sample] = select(0.0, 2.0 * p.alpha * ratio * ratio, norm.x > 0.0);
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;       // [n, h, w, c]
@group(0) @binding(1) var<storage, read> g_net: array<Element4>;    // [n, h, w, c]: the network's output
@group(0) @binding(2) var<storage, read> steps: array<f32>;         // [n]: eps
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // [n, h, w, c]

// y = x + eps g + sqrt(2 eps) z.
@compute @workgroup_size(WORKGROUP)
fn langevin(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.cut.samples * p.cut.sample) { return; }
    let eps = steps[divide(i, p.cut.sample).x];
    y[i] = x[i] + eps * p.score_scale * vec4<f32>(g_net[i]) + sqrt(2.0 * eps) * noise_at(i);
}
