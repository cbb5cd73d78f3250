#!/usr/bin/env bash
# Compares two builds of the program on one device: 60 steps of training, and samples of that model by every sampler.
#
#   scripts/bit_equality.sh BEFORE AFTER [CONFIG.toml] [STEPS]
#
# BEFORE and AFTER are binaries. Each trains (the checkpoints are compared byte for byte) and samples the *same* model,
# that of BEFORE. Prints a line for each comparison: "same bytes", or the largest difference of two samples.
set -euo pipefail
before=$(realpath "$1") after=$(realpath "$2")
config=${3:-configs/digits_ve.toml} steps=${4:-60}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export NODEVICE_SELECT=1

for side in before after; do
    "${!side}" train "$config" --out "$work/$side" --steps "$steps" --set training.snapshot_freq="$steps" \
        --set training.snapshot_sampling=false >/dev/null 2>&1
done
# The header holds the configuration, in which a newer program may write more keys: the tensors are what counts.
python3 - "$work" "$config" "$steps" <<'PYTHON'
import json, struct, sys
from pathlib import Path
work, config, steps = sys.argv[1:]
def tensors(side):
    data = next(Path(work, side, "checkpoints").glob("*.safetensors")).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    start = 8 + length
    return {k: data[start + v["data_offsets"][0] : start + v["data_offsets"][1]] for k, v in header.items()}
a, b = tensors("before"), tensors("after")
differ = [k for k in a if a[k] != b.get(k)]
print(f"{config}: {steps} steps of training, {len(a)} tensors:", f"{len(differ)} differ" if differ else "same bytes")
PYTHON

for options in "" "--sampler ode" "--sampler heun" "--sampler stochastic_heun" "--sampler dpmpp_2m" "--sampler dpmpp_3m" \
    "--sampler ddim" "--sampler adaptive_sde" "--predictor ancestral_sampling" "--predictor stochastic_runge_kutta" \
    "--predictor euler_maruyama --corrector hmc"; do
    for side in before after; do
        # shellcheck disable=SC2086
        "${!side}" sample "$work/before" -n 8 $options --out "$work/$side.npz" >/dev/null 2>&1 || true
    done
    python3 - "$work" "${options:-default sampler}" <<'PYTHON'
import io, struct, sys, zipfile
work, name = sys.argv[1:]
def samples(side):
    member = zipfile.ZipFile(f"{work}/{side}.npz").read("samples.npy")
    start = 10 + struct.unpack("<H", member[8:10])[0]
    return struct.unpack(f"<{(len(member) - start) // 4}f", member[start:])
a, b = samples("before"), samples("after")
print(f"{name}: 8 samples:", "same bytes" if a == b else f"at most {max(abs(x - y) for x, y in zip(a, b)):.1e} apart")
PYTHON
    rm -f "$work/before.npz" "$work/after.npz"
done
