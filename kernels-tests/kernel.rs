//! Kernels from outside the crate, as a user dispatches them.

use crate::support::*;
use tweedie::gpu::{Element, Extent, Gpu, GpuError, Options, Shader, Variant, choose};
use tweedie::kernels::{Kernel, KernelError, Result};
use tweedie::tensor::{Shape, Tensor};

macro_rules! text {
    ($body:literal) => {
        concat!(
            "// include lib/element.wgsl\n",
            "// include lib/index.wgsl\n",
            "const GAIN: u32 = 1u;\n",
            "struct Params { blocks: u32, alpha: f32 }\n",
            "var<immediate> p: Params;\n",
            "@group(0) @binding(0) var<storage, read> x: array<Element4>;\n",
            "@group(0) @binding(1) var<storage, read_write> y: array<Element4>;\n",
            "@compute @workgroup_size(WORKGROUP)\n",
            "fn run(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {\n",
            "let i = flat_index(id, groups);\n",
            "if (i < p.blocks) {",
            $body,
            "}\n}\n"
        )
    };
}

const SCALE: Shader = Shader::new("own", text!("y[i] = Element4(f32(GAIN) * p.alpha * vec4<f32>(x[i]));"));
const SQUARE: Shader = Shader::new("own", text!("y[i] = Element4(p.alpha * vec4<f32>(x[i] * x[i]));"));
const BEYOND: Shader =
    Shader::new("beyond", text!("y[i * 100000u] = Element4(p.alpha * vec4<f32>(x[i * 100000u]));"));

/// Launches a shader's `run` over `x` and `y`.
fn launch(variant: Variant, x: &Tensor, y: &Tensor) -> Result<()> {
    let blocks = x.shape().vec4s();
    let kernel = Kernel::new(variant, "run");
    kernel.launch(&[x, y], &[blocks as u32, 0.5f32.to_bits()], Extent::Invocations(blocks), blocks as u64)
}

/// The reason why a kernel was refused.
fn refusal(result: Result<()>) -> String {
    match result {
        Err(KernelError::Gpu(GpuError::Shader { reason, .. })) => reason,
        Err(KernelError::Mismatch { what, .. }) => what,
        other => panic!("{other:?} is no refusal"),
    }
}

/// The reason why the entry point `run` of a text was refused.
fn refused<P: bytemuck::Pod>(text: &'static str, tensors: &[&Tensor], params: &P) -> String {
    let kernel = Kernel::new(Variant::new(Shader::new("faulty", text)), "run");
    refusal(kernel.launch(tensors, params, Extent::Invocations(16), 16))
}

#[test]
fn a_kernel_takes_constants_storage_types_and_immediates() {
    for gpu in gpus() {
        for element in elements(gpu) {
            let x = Array::random(Shape::new(3, 5, 7, 6), 1, element);
            let y = Tensor::empty(gpu, x.shape, element).unwrap();
            launch(Variant::new(SCALE).with("GAIN", 3).stored(element), &x.upload(gpu, element), &y).unwrap();
            assert_close("scale", &y, &x.map(|v| 1.5 * v), 1);
        }
    }
}

#[test]
fn two_shaders_of_one_name_are_two_kernels() {
    for gpu in gpus() {
        let x = Array::random(Shape::vector(12), 1, Element::F32);
        let y = Array::zeros(x.shape).f32(gpu);
        launch(Variant::new(SCALE), &x.f32(gpu), &y).unwrap();
        assert_close("scale", &y, &x.map(|v| 0.5 * v), 1);
        launch(Variant::new(SQUARE), &x.f32(gpu), &y).unwrap();
        assert_close("square", &y, &x.map(|v| 0.5 * v * v), 1);
    }
}

#[test]
fn an_index_outside_of_a_tensor_leaves_the_other_tensors_alone() {
    for gpu in gpus() {
        let x = Array::random(Shape::vector(4000), 1, Element::F32);
        let (input, y) = (x.f32(gpu), Array::zeros(x.shape).f32(gpu));
        let others: Vec<Tensor> = (0..4).map(|_| Array::zeros(x.shape).f32(gpu)).collect();
        launch(Variant::new(BEYOND), &input, &y).unwrap();
        assert_close("the input", &input, &x, 0);
        for other in &others {
            assert!(other.read().unwrap().iter().all(|v| *v == 0.0));
        }
    }
}

#[test]
fn a_launch_that_does_not_fit_its_shader_is_refused_and_the_device_goes_on() {
    let gpu = &gpus()[0];
    let [x, y] = [1, 2].map(|seed| Array::random(Shape::vector(64), seed, Element::F32).f32(gpu));
    let fine = text!("y[i] = x[i];");
    assert!(refused(fine, &[], &[16u32, 0]).contains("tensor"));
    assert!(refused(fine, &[&x], &[16u32, 0]).contains("2 bindings"));
    assert!(refused(fine, &[&x, &y, &y], &[16u32, 0]).contains("gets 3"));
    assert!(refused(fine, &[&x, &x], &[16u32, 0]).contains("0 and 1"));
    let other = Gpu::with(choose(None).unwrap(), Options::default()).unwrap();
    let elsewhere = Array::zeros(y.shape()).f32(&other);
    assert!(refused(fine, &[&x, &elsewhere], &[16u32, 0]).contains("devices"));

    assert!(refused(text!("y[i] = x[j];"), &[&x, &y], &[16u32, 0]).contains('j'));
    assert!(refused(text!("y[i] = vec4<f32>();"), &[&y], &[16u32, 0]).contains("[1]"));
    let uniform = "@group(0) @binding(0) var<uniform> u: vec4<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
        @compute @workgroup_size(1) fn run() { y[0] = u; }";
    assert!(refused(uniform, &[&x, &y], &()).contains("storage"));
    let second = "@group(1) @binding(0) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(1) fn run() { y[0] = 1u; }";
    assert!(refused(second, &[&y], &()).contains("group 1"));
    let large = "@group(0) @binding(0) var<storage, read_write> y: array<u32, 100000>;
        @compute @workgroup_size(1) fn run() { y[0] = 1u; }";
    assert!(refused(large, &[&y], &()).contains("400000"));
    let wide = "@group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(1000000) fn run() { y[0] = 1u; }";
    assert!(!refused(wide, &[&y], &()).is_empty());
    assert!(!refused("@compute @workgroup_size(1) fn run() { }", &[&y], &()).is_empty());

    let kernel = Kernel::new(Variant::new(SCALE), "run");
    assert!(refusal(kernel.launch(&[&x, &y], &1u32, Extent::Invocations(16), 16)).contains("8 bytes"));
    let endless = Extent::Workgroups(1 << 40);
    assert!(refusal(kernel.launch(&[&x, &y], &[16u32, 0], endless, 16)).contains("workgroups"));
    let absent = Kernel::new(Variant::new(SCALE), "walk");
    assert!(refusal(absent.launch(&[&x, &y], &[16u32, 0], Extent::Invocations(16), 16)).contains("walk"));

    launch(Variant::new(SCALE), &x, &y).unwrap();
    gpu.synchronize().unwrap();
}
