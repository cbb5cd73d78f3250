// Embeddings of one number per sample: y = [sin a_0 .. sin a_{half-1}, cos a_0 .. cos a_{half-1}], and a zero
// if the width is odd. Fourier (Tancik et al. 2020): a = 2 pi value W. Sinusoidal (Vaswani et al. 2017):
// a = value frequency. An invocation owns one vec4 of y and writes nothing else.

// include lib/index.wgsl
// include lib/sine.wgsl

struct Params {
    samples: u32,
    width: u32,   // of an embedding
    half: u32,    // number of frequencies
    fourier: u32, // 1: Fourier, 0: sinusoidal
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> values: array<f32>;             // [samples, 1], padded
@group(0) @binding(1) var<storage, read> frequencies: array<f32>;        // [half]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;      // [samples, width]

// Angles minus a number of quarter turns, which is subtracted in three parts (Cody and Waite 1980): the first
// two have few enough bits for their products with the number to be exact.
fn reduced(angle: vec4<f32>, quarters: vec4<f32>) -> vec4<f32> {
    return ((angle - quarters * 1.5703125) - quarters * 4.837512969970703e-4) - quarters * 7.54979e-8;
}

@compute @workgroup_size(WORKGROUP)
fn embedding(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let blocks = (p.width + 3u) / 4u;
    if (index >= p.samples * blocks) { return; }
    let at = divide(index, blocks); // sample, block of it
    let value = values[4u * at.x];
    let c = 4u * at.y + vec4(0u, 1u, 2u, 3u);
    let cosine = c >= vec4(p.half);
    let there = c < vec4(2u * p.half);
    var angle = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        if (there[i]) { angle[i] = value * frequencies[select(c[i], c[i] - p.half, cosine[i])]; }
    }
    // The reference's order of rounding: (value * W) * 2 * pi.
    if (p.fourier == 1u) { angle = angle * 2.0 * 3.141592653589793; }
    let quarters = round(angle * 0.6366197723675814);
    let rest = reduced(angle, quarters);
    y[index] = select(vec4(0.0), sine(quarters + select(vec4(0.0), vec4(1.0), cosine), rest), there);
}
