// The sine of four angles, each given as a number of quarter turns and a remainder of at most an eighth of a
// turn, accurate to the last bits of f32; one more quarter turn gives the cosine. WGSL lets a driver's own
// sine be off by 2^-11. The polynomials are those of Cephes (Moshier 1992, sinf.c), for angles up to pi / 4.
fn sine(quarters: vec4<f32>, rest: vec4<f32>) -> vec4<f32> {
    let square = rest * rest;
    let s = rest + rest * square
        * (-1.6666654611e-1 + square * (8.3321608736e-3 + square * -1.9515295891e-4));
    let c = 1.0 - 0.5 * square + square * square
        * (4.166664568298827e-2 + square * (-1.388731625493765e-3 + square * 2.443315711809948e-5));
    let quadrant = vec4<i32>(quarters);
    let value = select(s, c, (quadrant & vec4(1)) == vec4(1));
    return select(value, -value, (quadrant & vec4(2)) == vec4(2));
}
