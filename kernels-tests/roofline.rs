use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::roofline;
use tweedie::tensor::Shape;

#[test]
fn the_copy_copies_and_the_multiply_adds_run() {
    for gpu in gpus() {
        let x = Array::random(Shape::vector(4 * 1001), 1, Element::F32);
        let y = Array::zeros(x.shape).f32(gpu);
        roofline::copy(&x.f32(gpu), &y).unwrap();
        assert_close("copy", &y, &x, 0);
        roofline::multiply_adds(gpu, 100, 1000).unwrap();
        gpu.synchronize().unwrap();
    }
}
