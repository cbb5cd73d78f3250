// Denoising score matching (Song 2021, eq. 7): the perturbed data, and the loss with its gradient in the network's
// output. The noise is drawn again where it is needed, or given.
//
// Per sample: x = mean x0 + std z, and loss = weight sum (scale out + z)^2 over the sample's elements.

// include lib/element.wgsl
// include lib/index.wgsl
// include lib/noise.wgsl

struct Params {
    noise: Noise,
    samples: u32,
    sample: u32,  // vec4s of a sample
    channels: u32,
    chunks: u32,  // loss: runs of a sample that are summed apart
    run: u32,     // loss: vec4s in a run
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x0: array<vec4<f32>>;             // [n, h, w, c]
@group(0) @binding(1) var<storage, read> z: array<vec4<f32>>;              // the given noise; else anything
@group(0) @binding(2) var<storage, read> coefficients: array<vec4<f32>>;   // [n]: mean, std, scale, weight
@group(0) @binding(3) var<storage, read_write> x: array<vec4<f32>>;        // [n, h, w, c]

fn noise_at(i: u32) -> vec4<f32> {
    if (p.noise.given == 1u) { return z[i]; }
    let at = divide(i, p.sample); // sample, vec4 of it
    let drawn = normal_from(noise_bits(p.noise, at.x, at.y));
    return drawn * channel_mask(divide(i, (p.channels + 3u) / 4u).y, p.channels);
}

// An invocation owns one vec4.
@compute @workgroup_size(WORKGROUP)
fn perturb(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.samples * p.sample) { return; }
    let c = coefficients[divide(i, p.sample).x];
    x[i] = c.x * x0[i] + c.y * noise_at(i);
}

@group(0) @binding(0) var<storage, read> out: array<Element4>;             // [n, h, w, c]
@group(0) @binding(3) var<storage, read_write> dout: array<Element4>;      // [n, h, w, c]
@group(0) @binding(4) var<storage, read_write> partial: array<vec4<f32>>;  // [n, chunks]

// An invocation owns one run of a sample and its partial sum, lane by lane.
@compute @workgroup_size(WORKGROUP)
fn loss(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.samples * p.chunks) { return; }
    let owned = divide(index, p.chunks);
    let sample = owned.x;
    let first = owned.y * p.run;
    let c = coefficients[sample];
    var sum = vec4<f32>();
    for (var k = first; k < min(first + p.run, p.sample); k++) {
        let i = sample * p.sample + k;
        let residual = c.z * vec4<f32>(out[i]) + noise_at(i);
        sum += c.w * residual * residual;
        dout[i] = Element4(2.0 * c.w * c.z * residual);
    }
    partial[index] = sum;
}
