#!/bin/sh
# Ensures that the machine has a Vulkan, Metal or DX12 adapter: if none is found, installs Mesa's software Vulkan
# driver, and Vulkan's headers for a test that builds a layer. The argument --release selects the release build of the program.
set -eu
cd "$(dirname "$0")/.."

program=target/debug/tweedie
[ "${1:-}" = --release ] && program=target/release/tweedie

"$program" devices >/dev/null 2>&1 && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "no Vulkan, Metal or DX12 adapter was found; install your GPU's driver, or a software one:" >&2
    echo "  Fedora: dnf install mesa-vulkan-drivers    Arch: pacman -S vulkan-swrast    Alpine: apk add mesa-vulkan-swrast" >&2
    exit 1
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "no adapter was found; as root: apt-get install mesa-vulkan-drivers" >&2
        exit 1
    }
    as_root=sudo
fi
echo "no adapter was found: installing the software Vulkan driver (mesa-vulkan-drivers)"
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers libvulkan1 libvulkan-dev
"$program" devices
