// The Metropolis-Hastings test of each sample: the proposal y with probability min(1, exp(log_ratio)), else
// the state x.
//
// An invocation owns one vec4 of the result, that of a sample's first vec4 also the sample's count, and
// writes nothing else. Each draws the uniform number of its sample itself, so nothing is shared.

// include lib/index.wgsl
// include lib/noise.wgsl

struct Params {
    noise: Noise,
    blocks: u32,
    sample: u32, // vec4s of a sample
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;              // [n, h, w, c]: the states
@group(0) @binding(1) var<storage, read> y: array<vec4<f32>>;              // [n, h, w, c]: the proposals
@group(0) @binding(2) var<storage, read> log_ratio: array<vec4<f32>>;      // [n], the sum of four lanes
@group(0) @binding(3) var<storage, read_write> chosen: array<vec4<f32>>;   // [n, h, w, c]
@group(0) @binding(4) var<storage, read_write> accepted: array<f32>;       // [n]: acceptances so far

@compute @workgroup_size(WORKGROUP)
fn metropolis(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    let at = divide(i, p.sample); // sample, vec4 of it
    let lanes = log_ratio[at.x];
    let sum = lanes.x + lanes.y + lanes.z + lanes.w;
    let u = uniform_from(noise_bits(p.noise, at.x, 0u)).x;
    // A NaN passes neither test: a diverged proposal is rejected.
    let accept = sum >= 0.0 || (sum < 0.0 && u < exp(sum));
    chosen[i] = select(x[i], y[i], accept);
    if (accept && at.y == 0u) { accepted[at.x] += 1.0; }
}
