use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::adam::{self, Adam, Arenas};
use tweedie::tensor::Shape;

const SPEC: Adam = Adam {
    rate: 2e-3,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 0.01,
    grad_clip: 1.0,
    ema: 0.99,
    step: 0,
};

/// PyTorch's Adam with `clip_grad_norm_`, and the average of the weights.
fn twin(arrays: &mut [Array; 5], spec: Adam) {
    let [w, g, m, v, average] = arrays;
    let norm = g.dot(g).sqrt();
    let clip = if spec.grad_clip < 0.0 { 1.0 } else { (spec.grad_clip / (norm + 1e-6)).min(1.0) };
    let t = spec.step as i32;
    for i in 0..w.values.len() {
        let gradient = clip * g.values[i] + spec.weight_decay * w.values[i];
        m.values[i] = spec.beta1 * m.values[i] + (1.0 - spec.beta1) * gradient;
        v.values[i] = spec.beta2 * v.values[i] + (1.0 - spec.beta2) * gradient * gradient;
        let mean = m.values[i] / (1.0 - spec.beta1.powi(t));
        let deviation = (v.values[i] / (1.0 - spec.beta2.powi(t))).sqrt();
        w.values[i] -= spec.rate * mean / (deviation + spec.eps);
        average.values[i] = spec.ema * average.values[i] + (1.0 - spec.ema) * w.values[i];
    }
}

#[test]
fn five_steps_match_the_twin_clipped_and_not() {
    for gpu in gpus() {
        for (len, grad_clip) in [(4, 1.0), (5000, 1.0), (5000, -1.0), (8 * 1024 + 4, 1e6)] {
            let random = |seed| Array::random(Shape::vector(len), seed, Element::F32);
            let zeros = Array::zeros(Shape::vector(len));
            let mut arrays = [random(1), zeros.clone(), zeros.clone(), zeros, random(1)];
            let tensors = arrays.each_ref().map(|a| a.f32(gpu));
            let [weight, gradient, moment1, moment2, average] = tensors.each_ref();
            let arenas = Arenas { weight, gradient, moment1, moment2, average };
            for step in 1..=5 {
                arrays[1] = random(10 + step);
                let g: Vec<f32> = arrays[1].values.iter().map(|v| *v as f32).collect();
                gradient.write(&g).unwrap();
                let spec = Adam { step: u64::from(step), grad_clip, ..SPEC };
                let norm = adam::clip(gradient, grad_clip).unwrap();
                adam::adam(arenas, &norm, spec).unwrap();
                let expected = arrays[1].dot(&arrays[1]).sqrt();
                let actual = f64::from(norm.read().unwrap()[0]);
                assert!((actual - expected).abs() <= 1e-5 * expected, "{actual} is not {expected}");
                twin(&mut arrays, spec);
            }
            for (what, tensor, array) in [
                ("weight", weight, &arrays[0]),
                ("average", average, &arrays[4]),
                ("moment", moment1, &arrays[2]),
            ] {
                assert_close(what, tensor, array, 100);
            }
        }
    }
}

#[test]
fn an_arena_is_cut_into_windows_that_the_adapter_binds() {
    let gpu = &gpus()[0];
    let largest = gpu.max_binding() as usize / 16;
    let total = 2 * largest + 77;
    let windows: Vec<_> = adam::windows(gpu, total).collect();
    assert_eq!(windows.iter().map(|(_, count)| count).sum::<usize>(), total);
    for ((first, count), (next, _)) in windows.iter().zip(&windows[1..]) {
        assert_eq!(first + count, *next);
    }
    for (first, count) in windows {
        assert!(count <= largest && (first as u64 * 16).is_multiple_of(gpu.alignment()));
    }
}
