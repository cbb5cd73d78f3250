// Group normalisation with the activation fused (Wu and He 2018): u = weight * xhat + bias, y = act(u), where
// xhat = (x - mean) * rstd over a sample's pixels and a group's channels. Statistics are computed in two
// passes, chunks of pixels and then groups, so that images of any size fit and no sample depends on its
// batch.
//
//   moments -> combine -> apply                       y
//   project_sums -> project_combine -> project        the adjoint or the tangent
//   curvature_sums -> curvature                       the adjoint of the tangent, in x
//
// The Jacobian of xhat, J v = rstd (v - mean(v) - xhat mean(xhat v)), is symmetric: adjoint and tangent
// differ only in whether the weight and the activation's slope come before it or after it (ADJOINT).
//
// In every entry point an invocation owns a block of four channels of some pixels of one sample, or a group
// of one sample, and writes nothing else. Sums are added in order.

// include lib/element.wgsl
// include lib/index.wgsl
// include lib/activation.wgsl

const ADJOINT: u32 = 1u;
const RUN: u32 = 4u; // pixels that an invocation of an elementwise pass owns

struct Params {
    samples: u32, // of x
    pixels: u32,
    channels: u32,
    groups: u32,
    chunks: u32,
    chunk: u32,   // pixels in a chunk
    eps: f32,
    rows: u32,    // samples of v: tangents or cotangents; row r belongs to x's sample r % samples
    v_first: u32, // the first row in v and in the output
    y_first: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<Element4>;                 // [samples, pixels, channels]

fn blocks() -> u32 { return (p.channels + 3u) / 4u; }

// ---- moments: chunk statistics ----------------------------------------------------------------------------

// [samples, chunks, 2, channels]
@group(0) @binding(1) var<storage, read_write> moments_out: array<vec4<f32>>;

// The chunk's mean, and the sum of squares about it. Sums are taken about the first pixel to avoid
// cancellation.
@compute @workgroup_size(WORKGROUP)
fn moments(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let c4 = blocks();
    if (index >= p.samples * p.chunks * c4) { return; }
    let at = unravel(index, p.chunks, c4);
    let sample = at.x;
    let chunk = at.y;
    let block = at.z;
    let first = chunk * p.chunk;
    let last = min(first + p.chunk, p.pixels);
    let base = sample * p.pixels * c4 + block;
    let shift = vec4<f32>(x[base + first * c4]);
    var sum = vec4<f32>();
    var squares = vec4<f32>();
    for (var pixel = first; pixel < last; pixel++) {
        let d = vec4<f32>(x[base + pixel * c4]) - shift;
        sum += d;
        squares += d * d;
    }
    let count = f32(last - first);
    let to = (sample * p.chunks + chunk) * 2u * c4 + block;
    moments_out[to] = shift + sum / count;
    moments_out[to + c4] = max(squares - sum * sum / count, vec4(0.0));
}

// ---- combine: a group's mean and 1 / standard deviation, for each of its channels -------------------------

@group(0) @binding(0) var<storage, read> moments_in: array<f32>;             // [samples, chunks, 2, channels]
@group(0) @binding(1) var<storage, read_write> statistics_out: array<f32>;   // [samples, 2, channels]

@compute @workgroup_size(WORKGROUP)
fn combine(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.samples * p.groups) { return; }
    let owned = divide(index, p.groups);
    let sample = owned.x;
    let width = p.channels / p.groups;
    let first = owned.y * width;
    let stride = 4u * blocks();
    let total = f32(p.pixels * width);
    // About the first chunk's mean, for the same reason as in `moments`.
    let origin = moments_in[sample * p.chunks * 2u * stride + first];
    var mean = 0.0;
    for (var chunk = 0u; chunk < p.chunks; chunk++) {
        let count = f32(min(p.chunk, p.pixels - chunk * p.chunk));
        let at = (sample * p.chunks + chunk) * 2u * stride;
        for (var c = first; c < first + width; c++) { mean += count * (moments_in[at + c] - origin); }
    }
    mean = origin + mean / total;
    var squares = 0.0;
    for (var chunk = 0u; chunk < p.chunks; chunk++) {
        let count = f32(min(p.chunk, p.pixels - chunk * p.chunk));
        let at = (sample * p.chunks + chunk) * 2u * stride;
        for (var c = first; c < first + width; c++) {
            let d = moments_in[at + c] - mean;
            squares += moments_in[at + stride + c] + count * d * d;
        }
    }
    let rstd = inverseSqrt(squares / total + p.eps);
    write_group(sample, first, width, vec2(mean, rstd));
}

// Writes two numbers of a group to each of its channels; the last group writes the padding too.
fn write_group(row: u32, first: u32, width: u32, values: vec2<f32>) {
    let stride = 4u * blocks();
    for (var c = first; c < first + width; c++) {
        statistics_out[row * 2u * stride + c] = values.x;
        statistics_out[row * 2u * stride + stride + c] = values.y;
    }
    if (first + width == p.channels) {
        for (var c = p.channels; c < stride; c++) {
            statistics_out[row * 2u * stride + c] = 0.0;
            statistics_out[row * 2u * stride + stride + c] = 0.0;
        }
    }
}

// ---- apply: the output ------------------------------------------------------------------------------------

@group(0) @binding(1) var<storage, read> statistics: array<vec4<f32>>; // [samples, 2, channels]: mean, rstd
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;     // [channels]
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;       // [channels]
@group(0) @binding(4) var<storage, read_write> y: array<Element4>;     // [samples, pixels, channels]

// The normalisation of one block of channels of a sample of x.
struct Norm {
    mean: vec4<f32>,
    rstd: vec4<f32>,
    weight: vec4<f32>,
    bias: vec4<f32>,
}

fn norm_of(sample: u32, block: u32) -> Norm {
    let at = sample * 2u * blocks() + block;
    return Norm(statistics[at], statistics[at + blocks()], weight[block], bias[block]);
}

@compute @workgroup_size(WORKGROUP)
fn apply(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let c4 = blocks();
    let runs = (p.pixels + RUN - 1u) / RUN;
    if (index >= p.samples * runs * c4) { return; }
    let owned = unravel(index, runs, c4);
    let sample = owned.x;
    let first = owned.y * RUN;
    let block = owned.z;
    let norm = norm_of(sample, block);
    let scale = norm.weight * norm.rstd;
    let shift = norm.bias - scale * norm.mean;
    for (var pixel = first; pixel < min(first + RUN, p.pixels); pixel++) {
        let at = (sample * p.pixels + pixel) * c4 + block;
        // Padding has weight and bias 0, and every activation maps 0 to 0.
        y[at] = Element4(act(fma(scale, vec4<f32>(x[at]), shift)));
    }
}

// ---- the Jacobian: adjoint and tangent --------------------------------------------------------------------

@group(0) @binding(4) var<storage, read> v: array<Element4>;                 // [.., pixels, channels]
@group(0) @binding(5) var<storage, read_write> sums_out: array<vec4<f32>>;   // [2, rows, chunks, channels]

// The operand of xhat's Jacobian, without the weight: v, in the adjoint times the activation's slope.
fn incoming(norm: Norm, value: vec4<f32>, xhat: vec4<f32>) -> vec4<f32> {
    if (ADJOINT == 1u) { return value * act_slope(fma(norm.weight, xhat, norm.bias)); }
    return value;
}

// Sums over a chunk of v and of v * xhat.
@compute @workgroup_size(WORKGROUP)
fn project_sums(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let c4 = blocks();
    if (index >= p.rows * p.chunks * c4) { return; }
    let at = unravel(index, p.chunks, c4);
    let row = at.x;
    let chunk = at.y;
    let block = at.z;
    let sample = divide(row, p.samples).y;
    let norm = norm_of(sample, block);
    var sum = vec4<f32>();
    var moment = vec4<f32>();
    for (var pixel = chunk * p.chunk; pixel < min((chunk + 1u) * p.chunk, p.pixels); pixel++) {
        let xhat = (vec4<f32>(x[(sample * p.pixels + pixel) * c4 + block]) - norm.mean) * norm.rstd;
        let value = vec4<f32>(v[((p.v_first + row) * p.pixels + pixel) * c4 + block]);
        let u = incoming(norm, value, xhat);
        sum += u;
        moment += u * xhat;
    }
    sums_out[index] = sum;
    sums_out[p.rows * p.chunks * c4 + index] = moment;
}

@group(0) @binding(0) var<storage, read> sums_in: array<f32>;                // [2, rows, chunks, channels]
@group(0) @binding(2) var<storage, read> channel_weight: array<f32>;         // [channels]

// A group's means of v and of v * xhat for each of its channels; in the adjoint v includes the weight.
@compute @workgroup_size(WORKGROUP)
fn project_combine(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    if (index >= p.rows * p.groups) { return; }
    let owned = divide(index, p.groups);
    let row = owned.x;
    let width = p.channels / p.groups;
    let first = owned.y * width;
    let stride = 4u * blocks();
    var sums = vec2<f32>();
    for (var c = first; c < first + width; c++) {
        var channel = vec2<f32>();
        for (var chunk = 0u; chunk < p.chunks; chunk++) {
            let at = (row * p.chunks + chunk) * stride + c;
            channel += vec2(sums_in[at], sums_in[p.rows * p.chunks * stride + at]);
        }
        sums += channel * select(1.0, channel_weight[c], ADJOINT == 1u);
    }
    write_group(row, first, width, sums / f32(p.pixels * width));
}

@group(0) @binding(5) var<storage, read> means: array<vec4<f32>>;          // [rows, 2, channels]: v, v * xhat
@group(0) @binding(6) var<storage, read_write> projected: array<Element4>; // [.., pixels, channels]

@compute @workgroup_size(WORKGROUP)
fn project(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let c4 = blocks();
    let runs = (p.pixels + RUN - 1u) / RUN;
    if (index >= p.rows * runs * c4) { return; }
    let owned = unravel(index, runs, c4);
    let row = owned.x;
    let sample = divide(row, p.samples).y;
    let first = owned.y * RUN;
    let block = owned.z;
    let norm = norm_of(sample, block);
    let mean = means[row * 2u * c4 + block];
    let moment = means[row * 2u * c4 + c4 + block];
    for (var pixel = first; pixel < min(first + RUN, p.pixels); pixel++) {
        let xhat = (vec4<f32>(x[(sample * p.pixels + pixel) * c4 + block]) - norm.mean) * norm.rstd;
        let value = vec4<f32>(v[((p.v_first + row) * p.pixels + pixel) * c4 + block]);
        let u = incoming(norm, value, xhat);
        let at = ((p.y_first + row) * p.pixels + pixel) * c4 + block;
        if (ADJOINT == 1u) {
            projected[at] = Element4(norm.rstd * (norm.weight * u - mean - xhat * moment));
        } else {
            let slope = act_slope(fma(norm.weight, xhat, norm.bias));
            projected[at] = Element4(slope * norm.weight * norm.rstd * (u - mean - xhat * moment));
        }
    }
}

// ---- the adjoint of the tangent ---------------------------------------------------------------------------
//
// For S = u . J v with u = weight * cotangent of the tangent, no activation: with a = mean(xhat u),
// b = mean(xhat v), dS/dx = -rstd^2 (xhat (mean(u v) - mean(u) mean(v) - a b) + b (u - mean(u) - xhat a)
//                                     + a (v - mean(v) - xhat b)).

@group(0) @binding(0) var<storage, read> cotangent: array<Element4>; // [.., pixels, channels], from y_first
@group(0) @binding(1) var<storage, read> tangent: array<Element4>; // [.., pixels, channels], from v_first
@group(0) @binding(2) var<storage, read_write> product_out: array<vec4<f32>>; // [2, rows, chunks, channels]

// Sums over a chunk of u * v. Written in the layout of `project_sums`, whose second half stays 0.
@compute @workgroup_size(WORKGROUP)
fn curvature_sums(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let c4 = blocks();
    if (index >= p.rows * p.chunks * c4) { return; }
    let at = unravel(index, p.chunks, c4);
    let row = at.x;
    let chunk = at.y;
    let block = at.z;
    var sum = vec4<f32>();
    for (var pixel = chunk * p.chunk; pixel < min((chunk + 1u) * p.chunk, p.pixels); pixel++) {
        let u = vec4<f32>(cotangent[((p.y_first + row) * p.pixels + pixel) * c4 + block]);
        sum += u * vec4<f32>(tangent[((p.v_first + row) * p.pixels + pixel) * c4 + block]);
    }
    product_out[index] = sum;
    product_out[p.rows * p.chunks * c4 + index] = vec4<f32>();
}

@group(0) @binding(3) var<storage, read> u_means: array<vec4<f32>>;           // [rows, 2, channels]
@group(0) @binding(4) var<storage, read> v_means: array<vec4<f32>>;           // [rows, 2, channels]
@group(0) @binding(5) var<storage, read> uv_means: array<vec4<f32>>;          // [rows, 2, channels]
@group(0) @binding(6) var<storage, read> curved: array<Element4>; // x; binding 0 is the cotangent here
@group(0) @binding(7) var<storage, read_write> dx: array<Element4>; // [samples, pixels, channels], added to
@group(0) @binding(8) var<storage, read> curved_statistics: array<vec4<f32>>; // [samples, 2, channels]

@compute @workgroup_size(WORKGROUP)
fn curvature(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let c4 = blocks();
    if (index >= p.samples * p.pixels * c4) { return; }
    let owned = unravel(index, p.pixels, c4);
    let sample = owned.x;
    let block = owned.z;
    let within = index - sample * p.pixels * c4;
    let at = sample * 2u * c4 + block;
    let rstd = curved_statistics[at + c4];
    let xhat = (vec4<f32>(curved[index]) - curved_statistics[at]) * rstd;
    var sum = vec4<f32>();
    for (var row = sample; row < p.rows; row += p.samples) {
        let m = row * 2u * c4 + block;
        let a = u_means[m + c4];
        let b = v_means[m + c4];
        let u = weight[block] * vec4<f32>(cotangent[(p.y_first + row) * p.pixels * c4 + within]);
        let t = vec4<f32>(tangent[(p.v_first + row) * p.pixels * c4 + within]);
        sum += xhat * (uv_means[m] - u_means[m] * v_means[m] - a * b)
            + b * (u - u_means[m] - xhat * a) + a * (t - v_means[m] - xhat * b);
    }
    dx[index] = Element4(vec4<f32>(dx[index]) - rstd * rstd * sum);
}
