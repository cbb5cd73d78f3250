//! Shapes: always four axes, `[n, h, w, c]`.

use std::fmt;

/// The extents of a tensor, `[n, h, w, c]`: samples, rows, columns, channels. A vector per sample is
/// `[n, 1, 1, c]`, a batch of matrices `[n, 1, rows, columns]`, and a convolution's weights `[kh, kw, c_in,
/// c_out]`.
///
/// In memory the last axis is padded to a multiple of 4 so that kernels read and write `vec4`s; the padding
/// is zero, always: whoever writes a tensor writes its padding too.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape(pub [usize; 4]);

impl Shape {
    /// `[n, h, w, c]`.
    pub fn new(n: usize, h: usize, w: usize, c: usize) -> Self {
        Shape([n, h, w, c])
    }

    /// `n` images of shape `[h, w, c]`.
    pub fn of_images(n: usize, [h, w, c]: [usize; 3]) -> Self {
        Shape([n, h, w, c])
    }

    /// `[1, 1, 1, len]`.
    pub fn vector(len: usize) -> Self {
        Shape([1, 1, 1, len])
    }

    /// Samples.
    pub fn n(&self) -> usize {
        self.0[0]
    }

    /// Rows of pixels.
    pub fn h(&self) -> usize {
        self.0[1]
    }

    /// Columns of pixels.
    pub fn w(&self) -> usize {
        self.0[2]
    }

    /// Channels.
    pub fn c(&self) -> usize {
        self.0[3]
    }

    /// Channels in groups of 4, the last one padded.
    pub fn c4(&self) -> usize {
        self.c().div_ceil(4)
    }

    /// Pixels of all samples: how many rows of channels there are.
    pub fn rows(&self) -> usize {
        self.n() * self.h() * self.w()
    }

    /// `vec4`s of one sample, padding included.
    pub fn sample_vec4s(&self) -> usize {
        self.h() * self.w() * self.c4()
    }

    /// `vec4`s in all, padding included.
    pub fn vec4s(&self) -> usize {
        self.n() * self.sample_vec4s()
    }

    /// Elements without padding.
    pub fn len(&self) -> usize {
        self.rows() * self.c()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same with another number of samples.
    pub fn with_n(self, n: usize) -> Self {
        Shape([n, self.h(), self.w(), self.c()])
    }

    /// The same with another number of channels.
    pub fn with_c(self, c: usize) -> Self {
        Shape([self.n(), self.h(), self.w(), c])
    }

    /// `values` without padding → with it.
    pub fn pad<T: Copy + Default>(&self, values: &[T]) -> Vec<T> {
        let mut padded = vec![T::default(); self.vec4s() * 4];
        if self.c() > 0 {
            for (to, from) in padded.chunks_mut(self.c4() * 4).zip(values.chunks(self.c())) {
                to[..from.len()].copy_from_slice(from);
            }
        }
        padded
    }

    /// `values` with padding → without it.
    pub fn unpad<T: Copy>(&self, values: &[T]) -> Vec<T> {
        values.chunks((self.c4() * 4).max(1)).flat_map(|row| &row[..self.c()]).copied().collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}, {}]", self.n(), self.h(), self.w(), self.c())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_fills_the_last_axis_with_zeros_and_is_undone() {
        let shape = Shape::new(1, 1, 2, 3);
        assert_eq!(shape.pad(&[1, 2, 3, 4, 5, 6]), [1, 2, 3, 0, 4, 5, 6, 0]);
        assert_eq!(shape.unpad(&[1, 2, 3, 0, 4, 5, 6, 0]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(Shape::new(2, 1, 1, 4).pad(&[1; 8]), [1; 8]);
    }
}
