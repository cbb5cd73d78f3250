//! Every shader is valid in every variant, and translates to the languages of Vulkan, Metal and DX12, which
//! no single machine runs.

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use tweedie::gpu::Variant;
use tweedie::kernels::{FAMILIES, Family};

fn variants() -> Vec<Variant> {
    FAMILIES.iter().flat_map(Family::variants).collect()
}

/// The whole module of a variant, and its validation info.
fn validated(variant: &Variant) -> (naga::Module, ModuleInfo) {
    let text = variant.assemble().expect("an assembly");
    let module = naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|e| panic!("{variant:?}: {}", e.emit_to_string(&text)));
    let info = validate(variant, &module);
    (module, info)
}

fn validate(variant: &Variant, module: &naga::Module) -> ModuleInfo {
    let capabilities = Capabilities::IMMEDIATES | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP;
    Validator::new(ValidationFlags::all(), capabilities)
        .validate(module)
        .unwrap_or_else(|e| panic!("{variant:?}: {}", e.emit_to_string("")))
}

fn to_spirv(module: &naga::Module, info: &ModuleInfo) -> usize {
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    spv::write_vec(module, info, &options, None).expect("SPIR-V").len()
}

fn to_msl(module: &naga::Module, info: &ModuleInfo) -> usize {
    let slots = msl::EntryPointResources {
        immediates_buffer: Some(30),
        sizes_buffer: Some(29),
        ..Default::default()
    };
    let map = module.entry_points.iter().map(|entry| (entry.name.clone(), slots.clone())).collect();
    let options = msl::Options { lang_version: (2, 4), per_entry_point_map: map, ..Default::default() };
    let (text, translation) = msl::write_string(module, info, &options, &Default::default()).expect("MSL");
    for entry in &translation.entry_point_names {
        entry.as_ref().expect("an entry point that Metal takes");
    }
    text.len()
}

fn to_hlsl(module: &naga::Module, info: &ModuleInfo) -> usize {
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        immediates_target: Some(hlsl::BindTarget { space: 1, ..Default::default() }),
        ..Default::default()
    };
    let mut text = String::new();
    let pipeline = hlsl::PipelineOptions::default();
    let translation =
        hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).expect("HLSL");
    for entry in &translation.entry_point_names {
        entry.as_ref().expect("an entry point that DX12 takes");
    }
    text.len()
}

#[test]
fn every_variant_validates_and_translates_to_spirv_msl_and_hlsl() {
    for variant in &variants() {
        let (whole, _) = validated(variant);
        assert!(!whole.entry_points.is_empty(), "{variant:?}");
        // The module for a device holds one entry point.
        for entry in &whole.entry_points {
            let module = variant.module(&entry.name).expect("a module");
            let info = validate(variant, &module);
            for size in [to_spirv(&module, &info), to_msl(&module, &info), to_hlsl(&module, &info)] {
                assert!(size > 100, "{variant:?} {}", entry.name);
            }
        }
    }
}

#[test]
fn no_entry_point_binds_more_than_every_adapter_has_or_takes_more_immediates() {
    for variant in variants() {
        let (module, info) = validated(&variant);
        for (i, entry) in module.entry_points.iter().enumerate() {
            let used =
                |handle: naga::Handle<naga::GlobalVariable>| !info.get_entry_point(i)[handle].is_empty();
            let globals = || module.global_variables.iter().filter(|(handle, _)| used(*handle));
            let bound: Vec<u32> =
                globals().filter_map(|(_, v)| v.binding.as_ref()).map(|b| b.binding).collect();
            let what = format!("{:?} {}", variant.shader, entry.name);
            // Metal has 31 buffers in all, and wgpu reserves two.
            assert!(bound.len() <= 16, "{what} binds {} buffers", bound.len());
            let mut sorted = bound.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..bound.len() as u32).collect::<Vec<_>>(), "{what} leaves a binding out");
            let shared = globals().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
            let mut layouter = naga::proc::Layouter::default();
            layouter.update(module.to_ctx()).expect("a layout");
            let bytes: u32 = shared.map(|(_, v)| layouter[v.ty].size).sum();
            assert!(bytes <= 16384, "{what} takes {bytes} bytes of workgroup memory");
            assert!(entry.workgroup_size.iter().product::<u32>() <= 256, "{what}");
        }
    }
}
