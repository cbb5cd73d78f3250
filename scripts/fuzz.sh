#!/usr/bin/env bash
# Runs fuzz targets, each for a number of seconds, with address sanitizer, overflow checks and debug assertions.
#
#   scripts/fuzz.sh SECONDS [TARGET...]
#
# Without a TARGET it runs all of them. It begins with the kept inputs in fuzz/corpus, writes new ones to fuzz/generated
# and a line for each target to target/reliability/fuzz.tsv: target, seconds, executions, findings. It stops at the first
# finding with a status of 1 and names the input.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo "cargo-fuzz or a nightly toolchain is missing: rustup toolchain install nightly && cargo install cargo-fuzz --locked" >&2
    exit 1
fi

seconds=${1:?the number of seconds}
shift
# Sixteen parts are built several times as fast as cargo-fuzz's one.
build=(--sanitizer address --debug-assertions --codegen-units 16)
reports=target/reliability
mkdir -p "$reports"
targets=("$@")
if [ $# -eq 0 ]; then
    mapfile -t targets < <(cargo +nightly fuzz list)
fi

# Replaces a target's line: target, seconds, executions, findings.
record() {
    local table=$reports/fuzz.tsv line
    line=$(printf '%s\t%s\t%s\t%s' "$@")
    touch "$table"
    awk -F '\t' -v target="$1" -v line="$line" '$1 != target { print } END { print line }' "$table" >"$table.new.$$"
    mv "$table.new.$$" "$table"
}

# A number of libFuzzer's final statistics.
statistic() {
    sed -n "s/^stat::$1: *//p" "$2"
}

# The versions of the crate, not the newest; cargo adds what only the targets need.
cp Cargo.lock fuzz/Cargo.lock

# The hub's target writes small files: into memory, where the system has such a folder.
TMPDIR=$(mktemp -d "$([ -d /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")/fuzz.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

for target in "${targets[@]}"; do
    log=$reports/fuzz-$target.log
    mkdir -p "fuzz/generated/$target"
    # Before the clock starts; an error of the build is no finding.
    cargo +nightly fuzz build "${build[@]}" "$target"
    status=0
    start=$(date +%s)
    cargo +nightly fuzz run "${build[@]}" "$target" "fuzz/generated/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1 || status=$?
    took=$(($(date +%s) - start))
    executions=$(statistic number_of_executed_units "$log")
    memory=$(statistic peak_rss_mb "$log")
    if [ "$status" -ne 0 ]; then
        input=$(sed -n 's/.*Test unit written to //p' "$log" | head -n 1)
        if [ -z "$input" ]; then
            echo "$target ended with status $status and left no input; see $log" >&2
            exit 1
        fi
        record "$target" "$took" "${executions:-0}" 1
        echo "$target: a finding after ${took} s, $input; see $log" >&2
        exit 1
    fi
    record "$target" "$took" "$executions" 0
    echo "$target: $executions executions in $took s, at most $memory MB, no finding"
done
