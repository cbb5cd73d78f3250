//! A kernel family has its four files, and no list of families misses one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tweedie::kernels::{FAMILIES, Family};

/// The modules of `src/kernels` that are no families.
const SHARED: [&str; 5] = ["mod", "chunk", "gemm", "kernel", "stack"];
/// The families without a file in `benches`: the roofline's kernels are themselves the measurement that the
/// other families' cases are compared with (`src/bench/measure.rs`).
const UNMEASURED: [&str; 1] = ["roofline"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// All files below a folder, as paths relative to it without their ending.
fn files(folder: &str, ending: &str) -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(root().join(folder).join(&inner)).expect("a folder") {
            let path = inner.join(entry.expect("an entry").file_name());
            if root().join(folder).join(&path).is_dir() {
                folders.push(path);
            } else {
                assert_eq!(path.extension().and_then(|e| e.to_str()), Some(ending), "{folder}/{path:?}");
                found.insert(path.with_extension("").to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found
}

/// The names of all families but `without`, and those in `with`.
fn families(without: &[&str], with: &[&str]) -> BTreeSet<String> {
    let names = FAMILIES.iter().map(|family| family.name).filter(|name| !without.contains(name));
    names.chain(with.iter().copied()).map(str::to_string).collect()
}

/// The shaders of a family, by name.
fn shaders(family: &Family) -> BTreeSet<&'static str> {
    family.variants().iter().map(|variant| variant.shader.name()).collect()
}

#[test]
fn every_shader_file_outside_lib_is_declared_by_the_family_that_it_is_named_after() {
    let declared = FAMILIES.iter().flat_map(shaders).map(str::to_string).collect();
    let kernels: BTreeSet<String> =
        files("shaders", "wgsl").into_iter().filter(|f| !f.starts_with("lib/")).collect();
    assert_eq!(kernels, declared);
    for family in FAMILIES {
        assert!(!shaders(family).is_empty(), "{}", family.name);
        for shader in shaders(family) {
            assert_eq!(shader.split('/').next(), Some(family.name), "{shader}");
        }
    }
}

#[test]
fn every_file_of_lib_is_included_by_another() {
    let text: String = files("shaders", "wgsl").iter().map(|f| read(&format!("shaders/{f}.wgsl"))).collect();
    for file in files("shaders/lib", "wgsl") {
        assert!(text.contains(&format!("\n// include lib/{file}.wgsl\n")), "{file}");
    }
}

#[test]
fn a_family_has_a_module_a_twin_and_a_measurement() {
    assert_eq!(files("src/kernels", "rs"), families(&[], &SHARED));
    assert_eq!(files("kernels-tests", "rs"), families(&[], &["main", "support", "kernel"]));
    assert_eq!(files("benches", "rs"), families(&UNMEASURED, &["main"]));
}

#[test]
fn every_twin_and_every_measurement_is_compiled() {
    let is_module = |text: &str, name: &str| {
        let line = |l: &str| l.trim().trim_start_matches("pub(super) ") == format!("mod {name};");
        text.lines().any(line)
    };
    let (twins, cases) = (read("kernels-tests/main.rs"), read("src/bench/mod.rs"));
    for family in FAMILIES {
        assert!(is_module(&twins, family.name), "{}", family.name);
        let measured = !UNMEASURED.contains(&family.name);
        assert_eq!(is_module(&cases, family.name), measured, "{}", family.name);
    }
}
