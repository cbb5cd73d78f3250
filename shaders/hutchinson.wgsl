// Hutchinson's trace estimator (Skilling 1989, Hutchinson 1990; Grathwohl et al. 2019): tr J = E[eps . J eps]
// for probes with mean 0 and covariance I. Probes are stacked on the batch as tangents, [x; eps_1; ..;
// eps_K].
//
//   seed       the stack
//   contract   eps_k . J eps_k, from the network's output [f(x); J eps_1; ..; J eps_K]
//
// An invocation owns one vec4 of the stack, or one partial sum, and writes nothing else.

// include lib/chunk.wgsl
// include lib/element.wgsl
// include lib/noise.wgsl

const RADEMACHER: u32 = 1u; // else normal

struct Params {
    noise: Noise, // the number of a probe is added to the step
    cut: Chunks,  // of the primal, and of each probe
    probes: u32,
    channels: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;              // [n, h, w, c]
@group(0) @binding(1) var<storage, read> given: array<vec4<f32>>;          // [K n, h, w, c], if noise.given
@group(0) @binding(2) var<storage, read_write> stack: array<vec4<f32>>;    // [(1 + K) n, h, w, c]

// The i-th vec4 of all probes.
fn probe_at(i: u32) -> vec4<f32> {
    if (p.noise.given == 1u) { return given[i]; }
    let at = unravel(i, p.cut.samples, p.cut.sample); // probe, sample, vec4 of it
    var noise = p.noise;
    noise.step += at.x;
    let words = noise_bits(noise, at.y, at.z);
    let mask = channel_mask(divide(i, (p.channels + 3u) / 4u).y, p.channels);
    if (RADEMACHER == 1u) { return rademacher_from(words) * mask; }
    return normal_from(words) * mask;
}

// The stack of x and its probes.
@compute @workgroup_size(WORKGROUP)
fn seed(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    let primal = p.cut.samples * p.cut.sample;
    if (i >= (1u + p.probes) * primal) { return; }
    if (i < primal) { stack[i] = x[i]; } else { stack[i] = probe_at(i - primal); }
}

@group(0) @binding(0) var<storage, read> tangents: array<Element4>;        // [(1 + K) n, h, w, c]: output
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;  // [K n, chunks]

// eps . (J eps) of one chunk of one sample and probe, lane by lane.
@compute @workgroup_size(WORKGROUP)
fn contract(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.probes * p.cut.samples * p.cut.chunks) { return; }
    let chunk = chunk_of(p.cut, index); // a probe of a sample counts as a sample
    let primal = p.cut.samples * p.cut.sample;
    var sum = vec4<f32>();
    for (var i = chunk.first; i < chunk.end; i++) { sum += probe_at(i) * vec4<f32>(tangents[primal + i]); }
    partial[index] = sum;
}
