//! The sources of published data sets.

/// The beginning of a data set's name, and the place that publishes it.
pub(super) const SOURCES: &[(&str, &str)] = &[
    ("cifar10", "https://www.cs.toronto.edu/~kriz/cifar.html, the binary version"),
    ("celebahq", "https://github.com/tkarras/progressive_growing_of_gans"),
    ("celeba", "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, the aligned and cropped images"),
    ("ffhq", "https://github.com/NVlabs/ffhq-dataset"),
    ("lsun", "https://github.com/fyu/lsun"),
    ("mnist", "https://yann.lecun.com/exdb/mnist"),
];
