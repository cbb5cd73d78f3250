// One step of Adam (Kingma and Ba 2015) over flat arenas, with clipping by the global norm and the
// exponential moving average of the weights. The norm stays on the device:
//
//   squares -> norm       the global norm of the gradient and the clipping factor
//   adam                  the step
//
// Every output element is written by the one invocation that owns it, and partial sums are added in order.

// include lib/index.wgsl

struct Params {
    blocks: u32,   // vec4s of this window
    run: u32,      // squares: vec4s that an invocation sums
    partials: u32, // norm: the number of partial sums
    first: u32,    // squares: the start of this window's partial sums
    rate: f32,     // learning rate
    beta1: f32,
    beta2: f32,
    eps: f32,
    correct1: f32, // 1 - beta1^t
    correct2: f32, // 1 - beta2^t
    decay: f32,    // weight decay, added to the gradient
    clip: f32,     // the largest norm; negative: no clipping
    ema: f32,      // decay of the average
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> gradient: array<vec4<f32>>;     // [blocks]
@group(0) @binding(1) var<storage, read_write> partials_out: array<f32>; // [partials]

// The sum of squares of one run of the gradient. An invocation owns one run.
@compute @workgroup_size(WORKGROUP)
fn squares(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let first = index * p.run;
    if (first >= p.blocks) { return; }
    var sum = 0.0;
    for (var i = first; i < min(first + p.run, p.blocks); i++) { sum += dot(gradient[i], gradient[i]); }
    partials_out[p.first + index] = sum;
}

@group(0) @binding(0) var<storage, read> partials: array<f32>;           // [partials]
@group(0) @binding(1) var<storage, read_write> norm_out: array<f32>;     // [2]: the norm, the clipping factor

// The global norm. A single invocation owns it: there are few partial sums.
@compute @workgroup_size(1)
fn norm(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x > 0u) { return; }
    var sum = 0.0;
    for (var i = 0u; i < p.partials; i++) { sum += partials[i]; }
    let value = sqrt(sum);
    norm_out[0] = value;
    // Clipping as in the reference: the factor is clip / (norm + 1e-6), at most 1.
    norm_out[1] = select(1.0, min(1.0, p.clip / (value + 1e-6)), p.clip >= 0.0);
}

@group(0) @binding(1) var<storage, read> norm_in: array<f32>;             // [2]: the norm, the factor
@group(0) @binding(2) var<storage, read_write> weight: array<vec4<f32>>;  // [blocks]
@group(0) @binding(3) var<storage, read_write> moment1: array<vec4<f32>>; // [blocks]
@group(0) @binding(4) var<storage, read_write> moment2: array<vec4<f32>>; // [blocks]
@group(0) @binding(5) var<storage, read_write> average: array<vec4<f32>>; // [blocks]

// An invocation owns one vec4 of every arena.
@compute @workgroup_size(WORKGROUP)
fn adam(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.blocks) { return; }
    var w = weight[i];
    let g = norm_in[1] * gradient[i] + p.decay * w;
    let m = p.beta1 * moment1[i] + (1.0 - p.beta1) * g;
    let v = p.beta2 * moment2[i] + (1.0 - p.beta2) * g * g;
    w -= p.rate * (m / p.correct1) / (sqrt(v / p.correct2) + p.eps);
    moment1[i] = m;
    moment2[i] = v;
    weight[i] = w;
    average[i] += (1.0 - p.ema) * (w - average[i]);
}
