// One-dimensional dispatches: more than 65,535 workgroups are folded into rows.
const WORKGROUP: u32 = 64u;

// The invocation's number, counted through all rows of workgroups.
fn flat_index(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return id.x + id.y * groups.x * WORKGROUP;
}

// Quotient and remainder of a / d. One division for both: few processors divide integers in vectors.
fn divide(a: u32, d: u32) -> vec2<u32> {
    let quotient = a / d;
    return vec2(quotient, a - quotient * d);
}

// (i, j, k) of the element `index` of an array [.., middle, inner].
fn unravel(index: u32, middle: u32, inner: u32) -> vec3<u32> {
    let low = divide(index, inner);
    return vec3(divide(low.x, middle), low.y);
}
