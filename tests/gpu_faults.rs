//! Devices that are lost and memory that runs out, by a Vulkan layer whose calls fail.
//!
//! The layer is built here; where there is no C compiler or no header of Vulkan, the test is skipped and says so.

use crate::cli::{checkpoint, folder, refuse, succeed, train, trained, tweedie};
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "VK_LAYER_TWEEDIE_faults";

/// Builds the layer in a folder.
fn build(folder: &Path) -> Option<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vulkan_faults/layer.c");
    let library = folder.join("libfaults.so");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
    if !built.is_ok_and(|built| built.status.success()) {
        println!("skipped: no C compiler, or no vulkan/vulkan.h (Debian: libvulkan-dev)");
        return None;
    }
    let manifest = serde_json::json!({
        "file_format_version": "1.0.0",
        "layer": {
            "name": NAME, "type": "GLOBAL", "library_path": library, "api_version": "1.3.0",
            "implementation_version": "1", "description": "calls that fail",
            "functions": {
                "vkGetInstanceProcAddr": "layer_GetInstanceProcAddr", "vkGetDeviceProcAddr": "layer_GetDeviceProcAddr",
            },
        },
    });
    std::fs::write(folder.join("faults.json"), manifest.to_string()).expect("a file");
    Some(())
}

/// A folder with the layer, or `None` and a printed reason.
pub fn layer() -> Option<tempfile::TempDir> {
    let layers = folder();
    build(layers.path())?;
    // The driver is another one, or the loader takes no layers: then nothing fails.
    let mut probe = tweedie();
    probe.arg("sample").arg(trained()).args(["-n", "1", "--out"]).arg(layers.path().join("probe.npz"));
    if faulty(probe, layers.path(), "submit", 0, LOST).status().expect("a start").success() {
        println!("skipped: the Vulkan loader does not load the layer");
        return None;
    }
    Some(layers)
}

/// The program with a fault.
pub fn faulty(mut command: Command, layers: &Path, call: &str, after: u32, result: i32) -> Command {
    command.env("VK_LAYER_PATH", layers).env("VK_INSTANCE_LAYERS", NAME);
    command
        .env("FAULT_CALL", call)
        .env("FAULT_AFTER", after.to_string())
        .env("FAULT_RESULT", result.to_string());
    command
}

/// No device.
pub const LOST: i32 = -4;
/// No memory of the device.
pub const NO_MEMORY: i32 = -2;

#[cfg(target_os = "linux")]
#[test]
fn every_fault_of_a_driver_is_one_sentence_and_nothing_is_lost() {
    let folder = folder();
    let Some(layers) = layer() else { return };
    let layers = layers.path();
    let lost = "the device was lost (";
    let memory = "the driver is out of memory (";
    let closed = "could not be opened: ";
    for (call, after, result, said) in [
        ("submit", 0, LOST, lost),
        ("submit", 60, LOST, lost),
        ("submit", 60, NO_MEMORY, memory),
        ("wait", 0, LOST, lost),
        ("wait", 10, LOST, lost),
        ("wait", 10, -1, memory),
        ("alloc", 0, NO_MEMORY, closed),
        ("alloc", 0, LOST, closed),
        ("map", 0, -5, closed),
        ("pipeline", 0, NO_MEMORY, closed),
        ("pipeline", 5, NO_MEMORY, memory),
        ("pipeline", 5, LOST, lost),
    ] {
        let out: PathBuf = folder.path().join("samples.npz");
        let mut sample = tweedie();
        sample.arg("sample").arg(trained()).args(["-n", "2", "--steps", "60", "--out"]).arg(&out);
        let message = refuse(&mut faulty(sample, layers, call, after, result));
        assert!(message.contains(said), "{call} {result} after {after}: {message}");
        assert!(!out.exists(), "{call} {result} after {after}");
    }
    // A run whose device is lost goes on bit for bit.
    let (run, whole) = (folder.path().join("run"), folder.path().join("whole"));
    let set = ["training.log_freq=1"];
    succeed(train(&whole, &set).args(["--steps", "20"]));
    let mut broken = train(&run, &set);
    broken.args(["--steps", "20"]);
    let message = refuse(&mut faulty(broken, layers, "wait", 24, LOST));
    assert!(message.contains(lost) && message.contains("--resume"), "{message}");
    assert!(run.join("config.toml").exists() && !checkpoint(&run, 20).exists());
    succeed(tweedie().args(["train", "--resume", "--out"]).arg(&run));
    let read = |run: &Path| std::fs::read(checkpoint(run, 20)).expect("a checkpoint");
    assert!(read(&run) == read(&whole));
}

#[test]
fn with_checked_shaders_every_command_computes_the_same() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let run = |checked: bool, name: &str| {
        let mut command = tweedie();
        if checked {
            command.arg("--checked");
        }
        let out = at(&format!("{name}-{checked}"));
        (command, out)
    };
    let read = |path: &Path| std::fs::read(path).expect("a file");
    let both = |name: &str, command: &dyn Fn(&mut Command, &Path) -> PathBuf| {
        let [plain, checked] = [false, true].map(|checked| {
            let (mut program, out) = run(checked, name);
            let written = command(&mut program, &out);
            succeed(&mut program);
            read(&written)
        });
        assert!(plain == checked, "{name}");
    };
    both("train", &|program, out| {
        program.args(["train", "configs/digits_ve.toml", "--steps", "2", "--out"]).arg(out);
        program.args(["--set", "model.nf=4", "--set", "training.batch_size=4"]);
        checkpoint(out, 2)
    });
    both("sample", &|program, out| {
        let out = out.with_extension("npz");
        program.arg("sample").arg(trained()).args(["-n", "2", "--out"]).arg(&out);
        out
    });
    let problem = at("problem.toml");
    std::fs::write(&problem, "kind = \"super_resolution\"\nfactor = 2\n").expect("a file");
    both("restore", &|program, out| {
        let out = out.with_extension("npz");
        program.arg("restore").arg(trained()).args(["--in", "data:digits:3", "--simulate", "--steps", "3"]);
        program.arg("--problem").arg(&problem).arg("--out").arg(&out);
        out
    });
    let likelihood = [false, true].map(|checked| {
        let (mut program, _) = run(checked, "likelihood");
        succeed(
            program.arg("likelihood").arg(trained()).args(["-n", "1", "--rtol", "1e-2", "--atol", "1e-2"]),
        )
    });
    assert_eq!(likelihood[0], likelihood[1]);
}
