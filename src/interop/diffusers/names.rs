//! The names and layouts of this crate's parameters in `UNet2DModel`.

use crate::config::{Config, ModelName};
use crate::interop::InteropError;
use crate::nn::{Layout, ParameterSpec, Registry};

/// One of this crate's parameters in a file of Hugging Face's.
pub(super) struct Entry {
    /// Its names there, the current one first.
    pub theirs: Vec<String>,
    pub change: Change,
}

/// The change from this crate's file order to theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Same,
    /// `[c_in, c_out]` → `[c_out, c_in]`.
    Transposed,
    /// `[c_in, c_out]` → `[c_out, c_in, 1, 1]`.
    Window,
    /// `[c_out, (sines, cosines)]` → `[c_out, (cosines, sines)]`; of an odd number of columns the last stays.
    Flipped,
}

impl Change {
    pub fn shape(self, ours: &[usize]) -> Vec<usize> {
        match self {
            Change::Same | Change::Flipped => ours.to_vec(),
            Change::Transposed => vec![ours[1], ours[0]],
            Change::Window => vec![ours[1], ours[0], 1, 1],
        }
    }

    /// Converts values from this crate's order to theirs or, given their shape, back.
    pub fn apply(self, values: &[f32], shape: &[usize]) -> Vec<f32> {
        match self {
            Change::Same => values.to_vec(),
            Change::Transposed | Change::Window => {
                let (rows, columns) = (shape[0], shape[1]);
                (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect()
            }
            Change::Flipped => {
                let half = shape[1] / 2;
                values
                    .chunks(shape[1])
                    .flat_map(|row| row[half..2 * half].iter().chain(&row[..half]).chain(&row[2 * half..]))
                    .copied()
                    .collect()
            }
        }
    }
}

/// The entries of all parameters, frozen ones first, in this crate's order.
pub(super) fn entries(
    config: &Config,
    registry: &Registry,
    flipped: bool,
) -> Result<Vec<Entry>, InteropError> {
    let modules = modules(config);
    let entry = |spec: &ParameterSpec| {
        let mut parts = spec.name.splitn(3, '.').skip(1);
        let module = parts.next().and_then(|number| number.parse::<usize>().ok());
        let found = module.and_then(|number| modules.get(number)).zip(parts.next());
        let (module, part) =
            found.ok_or_else(|| InteropError::Mismatch(format!("{} has no place in it", spec.name)))?;
        Ok(entry(module, part, spec.layout, flipped))
    };
    registry.frozen.iter().chain(&registry.trainable).map(entry).collect()
}

/// The entry of a part of a module, with its current name and the name of the first releases.
fn entry(module: &str, part: &str, layout: Layout, flipped: bool) -> Entry {
    let block = module.contains("resnet");
    let change = match layout {
        Layout::Nin { .. } if block => Change::Window,
        Layout::Nin { .. } => Change::Transposed,
        Layout::Dense { .. } if flipped && module == "time_embedding.linear_1" => Change::Flipped,
        _ => Change::Same,
    };
    let (layer, field) = part.rsplit_once('.').unwrap_or(("", part));
    let layers: &[&str] = match (layer, block) {
        ("GroupNorm_0", true) => &["norm1"],
        ("Conv_0", true) => &["conv1"],
        ("Dense_0", true) => &["time_emb_proj"],
        ("GroupNorm_1", true) => &["norm2"],
        ("Conv_1", true) => &["conv2"],
        ("Conv_2" | "NIN_0", true) => &["conv_shortcut"],
        ("GroupNorm_0", false) => &["group_norm"],
        ("NIN_0", false) => &["to_q", "query"],
        ("NIN_1", false) => &["to_k", "key"],
        ("NIN_2", false) => &["to_v", "value"],
        ("NIN_3", false) => &["to_out.0", "proj_attn"],
        // The module is a single layer.
        _ => &[""],
    };
    let fields: &[&str] = match field {
        "W" => &["weight", "W"],
        "b" => &["bias"],
        other => &[other],
    };
    let name = |layer: &str, field: &str| match layer {
        "" => format!("{module}.{field}"),
        _ => format!("{module}.{layer}.{field}"),
    };
    let theirs = layers.iter().flat_map(|layer| fields.iter().map(move |field| name(layer, field))).collect();
    Entry { theirs, change }
}

/// Their module for each of this crate's, in the order of `all_modules`.
fn modules(config: &Config) -> Vec<String> {
    let model = &config.model;
    let skip = model.name == ModelName::Ncsnpp;
    let levels = model.ch_mult.len();
    let size = |level: usize| config.data.image_size.halved(level).height;
    let mut all: Vec<String> = Vec::new();
    if skip {
        all.push("time_proj".into());
    }
    all.extend(["time_embedding.linear_1", "time_embedding.linear_2", "conv_in"].map(String::from));
    for level in 0..levels {
        let at = format!("down_blocks.{level}");
        for i in 0..model.num_res_blocks {
            all.push(format!("{at}.resnets.{i}"));
            if model.attn_resolutions.contains(&size(level)) {
                all.push(format!("{at}.attentions.{i}"));
            }
        }
        if level + 1 < levels {
            match skip {
                true => all.extend([format!("{at}.resnet_down"), format!("{at}.skip_conv")]),
                false => all.push(format!("{at}.downsamplers.0.conv")),
            }
        }
    }
    all.extend(["resnets.0", "attentions.0", "resnets.1"].map(|part| format!("mid_block.{part}")));
    let sizes_up = model.attn_resolutions_up.as_ref().unwrap_or(&model.attn_resolutions);
    for level in (0..levels).rev() {
        let at = format!("up_blocks.{}", levels - 1 - level);
        for i in 0..=model.num_res_blocks {
            all.push(format!("{at}.resnets.{i}"));
            let attends = sizes_up.contains(&size(level));
            if attends && model.attn_up_each {
                all.push(format!("{at}.attentions.{i}"));
            } else if attends && i == model.num_res_blocks {
                all.push(format!("{at}.attentions.0"));
            }
        }
        match (skip, level) {
            (true, 0) => all.extend(["conv_norm_out", "conv_out"].map(String::from)),
            (true, _) => {
                all.extend(["skip_norm", "skip_conv", "resnet_up"].map(|part| format!("{at}.{part}")));
            }
            (false, 0) => {}
            (false, _) => all.push(format!("{at}.upsamplers.0.conv")),
        }
    }
    if !skip {
        all.extend(["conv_norm_out", "conv_out"].map(String::from));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_order_applied_to_the_changed_shape_restores_the_values() {
        let values: Vec<f32> = (0..12).map(|v| v as f32).collect();
        for change in [Change::Same, Change::Transposed, Change::Window, Change::Flipped] {
            let theirs = change.shape(&[2, 6]);
            assert_eq!(change.apply(&change.apply(&values, &[2, 6]), &theirs), values, "{change:?}");
        }
        assert_eq!(
            Change::Transposed.apply(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[2, 3]),
            [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
        );
        assert_eq!(Change::Flipped.apply(&[0.0, 1.0, 2.0, 3.0], &[1, 4]), [2.0, 3.0, 0.0, 1.0]);
        // The column of zeros that makes a width odd is the last, whatever the order of the others.
        let odd: Vec<f32> = (0..10).map(|v| v as f32).collect();
        let flipped = [2.0, 3.0, 0.0, 1.0, 4.0, 7.0, 8.0, 5.0, 6.0, 9.0];
        assert_eq!(Change::Flipped.apply(&odd, &[2, 5]), flipped);
        assert_eq!(Change::Flipped.apply(&flipped, &[2, 5]), odd);
    }

    #[test]
    fn the_modules_of_the_published_ncsnpp_have_their_published_names() {
        let text = include_str!("../../../configs/ve/church_ncsnpp_continuous.toml");
        let all = modules(&Config::from_toml(text, &[]).unwrap());
        assert_eq!(all.len(), 77);
        // `score_sde_facts.md`, section 3.2.
        for (number, name) in [
            (0, "time_proj"),
            (1, "time_embedding.linear_1"),
            (3, "conv_in"),
            (6, "down_blocks.0.resnet_down"),
            (7, "down_blocks.0.skip_conv"),
            (21, "down_blocks.4.attentions.0"),
            (23, "down_blocks.4.attentions.1"),
            (31, "down_blocks.6.resnets.1"),
            (33, "mid_block.attentions.0"),
            (37, "up_blocks.0.resnets.2"),
            (38, "up_blocks.0.skip_norm"),
            (39, "up_blocks.0.skip_conv"),
            (40, "up_blocks.0.resnet_up"),
            (50, "up_blocks.2.attentions.0"),
            (71, "up_blocks.5.resnet_up"),
            (74, "up_blocks.6.resnets.2"),
            (75, "conv_norm_out"),
            (76, "conv_out"),
        ] {
            assert_eq!(all[number], name, "{number}");
        }
    }
}
