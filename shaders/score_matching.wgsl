// Score matching: the perturbed data, and two losses with their gradients in the network's output.
//
// Denoising (Song 2021, eq. 7), for any parametrisation of the network: per sample x = mean x0 + deviation z,
// and with r = scale out + of_z z + of_x0 x0 the loss is weight sum r^2 over the sample's elements. The noise
// is given, or drawn again at each use. If bin > 0 the loss is instead that of a decoder over 256 levels (Ho
// 2020, eq. 13) whose mean is r standard deviations from x0: weight sum -log P(level of x0), with bin half a
// level in standard deviations.
//
// Sliced (Song 2019b, eq. 8): with the score s = x_factor x + net out and the derivative of out along v,
// Jv, weight sum (s^2 + 2 v (x_factor v + tangent Jv)).
//
// An invocation owns one vec4 of x, or one chunk of a sample with its partial sum, and writes nothing else;
// `reduce.wgsl` adds up the chunks.

// include lib/chunk.wgsl
// include lib/element.wgsl
// include lib/noise.wgsl
// include lib/normal.wgsl

struct Params {
    noise: Noise,
    cut: Chunks,
    channels: u32,
}

var<immediate> p: Params;

// The factors of one sample; see the formulas above.
struct Coefficients {
    mean: f32,
    deviation: f32,
    scale: f32,
    of_z: f32,
    of_x0: f32,
    weight: f32,
    bin: f32, // half a level in standard deviations of the decoder; 0: no decoder
    low: f32, // the decoder's smallest level; its largest is 1
}

@group(0) @binding(0) var<storage, read> x0: array<vec4<f32>>;              // [n, h, w, c]
@group(0) @binding(1) var<storage, read> z: array<vec4<f32>>;               // [n, h, w, c], if noise.given
@group(0) @binding(2) var<storage, read> coefficients: array<Coefficients>; // [n]
@group(0) @binding(3) var<storage, read_write> x: array<vec4<f32>>;         // [n, h, w, c]

fn mask_at(i: u32) -> vec4<f32> {
    return channel_mask(divide(i, (p.channels + 3u) / 4u).y, p.channels);
}

fn noise_at(i: u32) -> vec4<f32> {
    if (p.noise.given == 1u) { return z[i]; }
    let at = divide(i, p.cut.sample); // sample, vec4 of it
    return normal_from(noise_bits(p.noise, at.x, at.y)) * mask_at(i);
}

// x = mean x0 + deviation z.
@compute @workgroup_size(WORKGROUP)
fn perturb(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = flat_index(id, groups);
    if (i >= p.cut.samples * p.cut.sample) { return; }
    let c = coefficients[divide(i, p.cut.sample).x];
    x[i] = c.mean * x0[i] + c.deviation * noise_at(i);
}

@group(0) @binding(3) var<storage, read> out: array<Element4>;             // [n, h, w, c]: network output
@group(0) @binding(4) var<storage, read_write> dout: array<Element4>;      // [n, h, w, c]
@group(0) @binding(5) var<storage, read_write> partial: array<vec4<f32>>;  // [n, chunks]

// The loss of an element, and its derivative in the residual.
struct Loss {
    value: vec4<f32>,
    slope: vec4<f32>,
}

// -log P(level) for a mean at distance r from the level. The outermost levels extend to infinity.
fn decode(level: vec4<f32>, r: vec4<f32>, c: Coefficients) -> Loss {
    let half_level = (1.0 - c.low) / 510.0;
    let lowest = level < vec4(c.low + half_level);
    let open = lowest | (level > vec4(1.0 - half_level));
    // By symmetry the mean is taken to be on the right, except at an open end.
    let toward = select(sign(r), select(vec4(-1.0), vec4(1.0), lowest), open);
    let mass = normal_mass(toward * r - c.bin, toward * r + c.bin, open);
    return Loss(-mass.log, toward * mass.slope);
}

// The denoising loss of one chunk, lane by lane, and its gradient.
@compute @workgroup_size(WORKGROUP)
fn denoising(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.cut.samples * p.cut.chunks) { return; }
    let chunk = chunk_of(p.cut, index);
    let c = coefficients[chunk.sample];
    var sum = vec4<f32>();
    for (var i = chunk.first; i < chunk.end; i++) {
        let r = c.scale * vec4<f32>(out[i]) + c.of_z * noise_at(i) + c.of_x0 * x0[i];
        var loss = Loss(r * r, 2.0 * r);
        if (c.bin > 0.0) {
            loss = decode(x0[i], r, c);
            loss = Loss(loss.value * mask_at(i), loss.slope * mask_at(i));
        }
        sum += c.weight * loss.value;
        dout[i] = Element4(c.weight * c.scale * loss.slope);
    }
    partial[index] = sum;
}

// Likewise, for the sliced loss.
struct Slice {
    x_factor: f32,
    net: f32,
    tangent: f32,
    weight: f32,
}

@group(0) @binding(0) var<storage, read> state: array<vec4<f32>>;          // [n, h, w, c]
@group(0) @binding(1) var<storage, read> v: array<vec4<f32>>;              // [n, h, w, c]: the projections
@group(0) @binding(2) var<storage, read> slices: array<Slice>;             // [n]
@group(0) @binding(3) var<storage, read> stack: array<Element4>;           // [2 n, h, w, c]: out, its tangent
@group(0) @binding(4) var<storage, read_write> dstack: array<Element4>;    // [2 n, h, w, c]

// The sliced loss of one chunk, lane by lane, and its gradient in the output and in its tangent.
@compute @workgroup_size(WORKGROUP)
fn sliced(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.cut.samples * p.cut.chunks) { return; }
    let chunk = chunk_of(p.cut, index);
    let tangents = p.cut.samples * p.cut.sample;
    let c = slices[chunk.sample];
    var sum = vec4<f32>();
    for (var i = chunk.first; i < chunk.end; i++) {
        let s = c.x_factor * state[i] + c.net * vec4<f32>(stack[i]);
        let jv = c.x_factor * v[i] + c.tangent * vec4<f32>(stack[tangents + i]);
        sum += c.weight * (s * s + 2.0 * v[i] * jv);
        dstack[i] = Element4(2.0 * c.weight * c.net * s);
        dstack[tangents + i] = Element4(2.0 * c.weight * c.tangent * v[i]);
    }
    partial[index] = sum;
}
