// One-dimensional dispatches: more than 65,535 workgroups are folded into rows.
const WORKGROUP: u32 = 64u;

// The invocation's number, counted through all rows of workgroups.
fn flat_index(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return id.x + id.y * groups.x * WORKGROUP;
}
