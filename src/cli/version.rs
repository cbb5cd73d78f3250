//! The version in full, for reports of faults.

/// The version, the commit, the features and the backends, on lines of their own.
pub fn long() -> String {
    let features: Vec<&str> =
        [("cli", true), ("hub", cfg!(feature = "hub")), ("images", true), ("torch", true)]
            .into_iter()
            .filter_map(|(name, built)| built.then_some(name))
            .collect();
    let backends = match std::env::consts::OS {
        "macos" | "ios" => "Metal",
        "windows" => "DX12, Vulkan",
        _ => "Vulkan",
    };
    format!(
        "{}\ncommit    {}\nwgpu      {}\nfeatures  {}\nbackends  {backends}\nsystem    {} {}",
        env!("CARGO_PKG_VERSION"),
        env!("TWEEDIE_COMMIT"),
        env!("TWEEDIE_WGPU"),
        features.join(", "),
        std::env::consts::OS,
        std::env::consts::ARCH,
    )
}
