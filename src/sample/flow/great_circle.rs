//! Interpolation between latents.

/// `n` points between two vectors, both included, one after the other, on the arc between their directions: between
/// Gaussian vectors all points have about the length of the ends.
pub fn great_circle(a: &[f32], b: &[f32], n: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    let angle = cosine.clamp(-1.0, 1.0).acos();
    let point = |i: usize| {
        let share = i as f64 / (n - 1).max(1) as f64;
        // Between equal or opposite directions there is no unique arc: a line.
        let (of_a, of_b) = match angle.sin() > 1e-6 {
            true => (((1.0 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin()),
            false => (1.0 - share, share),
        };
        a.iter().zip(b).map(move |(a, b)| (of_a * f64::from(*a) + of_b * f64::from(*b)) as f32)
    };
    (0..n).flat_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_great_circle_are_equally_long_and_equally_far_apart() {
        let points = great_circle(&[2.0, 0.0, 0.0], &[0.0, 2.0, 0.0], 4);
        let points: Vec<&[f32]> = points.chunks(3).collect();
        assert_eq!(points[0], [2.0, 0.0, 0.0]);
        for pair in points.windows(2) {
            let cosine = pair[0].iter().zip(pair[1]).map(|(a, b)| a * b).sum::<f32>() / 4.0;
            assert!((cosine.acos() - std::f32::consts::FRAC_PI_6).abs() < 1e-3);
        }
        assert_eq!(great_circle(&[1.0, 1.0], &[2.0, 2.0], 3), [1.0, 1.0, 1.5, 1.5, 2.0, 2.0]);
    }
}
