// Embeddings of a number per sample: y = [sin a_0 .. sin a_{half-1}, cos a_0 .. cos a_{half-1}], and a zero if the
// width is odd. Fourier (Tancik et al. 2020): a = 2 pi value W. Sinusoidal (Vaswani et al. 2017): a = value
// frequency. An invocation owns one vec4.

// include lib/index.wgsl

struct Params {
    samples: u32,
    width: u32,
    half: u32,
    fourier: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> values: array<f32>;             // [samples, 1], padded
@group(0) @binding(1) var<storage, read> frequencies: array<f32>;        // [half]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;      // [samples, width]

// The rest of an angle modulo 2 pi, 2 pi being taken off in three parts (Cody and Waite 1980): the first two have so few
// bits that their products with the number of turns are exact. Drivers' sines are good on one turn only.
fn reduced(angle: f32) -> f32 {
    let turns = round(angle * 0.15915494309189535);
    return ((angle - turns * 6.28125) - turns * 0.0019350051879882812) - turns * 3.019916e-7;
}

@compute @workgroup_size(WORKGROUP)
fn embedding(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = flat_index(id, groups);
    let blocks = (p.width + 3u) / 4u;
    if (index >= p.samples * blocks) { return; }
    let at = divide(index, blocks); // sample, block of it
    let value = values[4u * at.x];
    var out = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        let c = 4u * at.y + i;
        if (c >= 2u * p.half) { continue; }
        // The reference's order of rounding: (value * W) * 2 * pi.
        var angle = value * frequencies[select(c, c - p.half, c >= p.half)];
        if (p.fourier == 1u) { angle = angle * 2.0 * 3.141592653589793; }
        let rest = reduced(angle);
        out[i] = select(cos(rest), sin(rest), c < p.half);
    }
    y[index] = out;
}
