//! Halves and middles of images, as masks.

use crate::choice::choices;

choices! {
    /// The part of an image in which a mask is 1: a half, the middle, or the border.
    pub enum Region {
        /// The left half.
        Left = "left",
        /// The right half.
        Right = "right",
        /// The upper half.
        Top = "top",
        /// The lower half.
        Bottom = "bottom",
        /// Half of the rows and half of the columns, in the middle.
        Center = "center",
        /// All but the middle.
        Border = "border",
    }
}

impl Region {
    /// The mask of an image `[h, w, c]`: 1 inside the region, 0 outside.
    pub fn mask(self, [h, w, c]: [usize; 3]) -> Vec<f32> {
        let middle = |at: usize, size: usize| (size / 4..size / 4 + size / 2).contains(&at);
        let inside = |i: usize| {
            let (y, x) = (i / c / w, i / c % w);
            match self {
                Region::Left => x < w / 2,
                Region::Right => x >= w / 2,
                Region::Top => y < h / 2,
                Region::Bottom => y >= h / 2,
                Region::Center => middle(y, h) && middle(x, w),
                Region::Border => !(middle(y, h) && middle(x, w)),
            }
        };
        (0..h * w * c).map(|i| f32::from(u8::from(inside(i)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opposite_sides_make_a_whole_and_the_middle_is_a_quarter() {
        let shape = [7, 8, 3];
        for (a, b) in
            [(Region::Left, Region::Right), (Region::Top, Region::Bottom), (Region::Center, Region::Border)]
        {
            assert!(a.mask(shape).iter().zip(b.mask(shape)).all(|(a, b)| a + b == 1.0));
        }
        let middle: f32 = Region::Center.mask([8, 8, 1]).iter().sum();
        assert_eq!(middle, 16.0);
    }
}
