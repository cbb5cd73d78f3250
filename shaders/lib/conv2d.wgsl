// The geometry of the three passes of a convolution: y[n, oy, ox, o] = b[o] + sum over ky, kx, c of
// x[n, oy * stride + ky * dilation - pad_y, ox * stride + kx * dilation - pad_x, c] * w[ky, kx, c, o].

// include lib/index.wgsl

struct Geometry {
    n: u32,
    h: u32, // input
    w: u32,
    c4: u32,
    oh: u32, // output
    ow: u32,
    o4: u32,
    kh: u32,
    kw: u32,
    stride: u32,
    dilation: u32,
    pad_y: i32, // above and left of the input
    pad_x: i32,
    layers: u32,     // grad_weight: slices of the sum over output rows
    bias_rows: u32,  // forward: the bias applies to the first output pixels
    accumulate: u32, // grad_weight: 1 adds to the contents of dweight
}

var<immediate> g: Geometry;

// Far outside of any image, on the safe side of overflow.
const OUTSIDE: i32 = -0x1000000;

// Sample, row and column of four consecutive pixels of images of h x w, from number `first` on.
struct Pixels {
    sample: vec4<i32>,
    y: vec4<i32>,
    x: vec4<i32>,
}

fn pixels(first: u32, h: u32, w: u32) -> Pixels {
    var p: Pixels;
    for (var i = 0u; i < 4u; i++) {
        let at = vec3<i32>(unravel(first + i, h, w));
        p.sample[i] = at.x;
        p.y[i] = at.y;
        p.x[i] = at.z;
    }
    return p;
}
