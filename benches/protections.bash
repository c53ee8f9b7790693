#!/usr/bin/env bash
# Measures what the protections cost: the CPU time of a build with them against one without, alternating in one run.
#
#   benches/protections.bash [ROUNDS]      default 5; the ratios are those of the least times and of the medians
#
# Without are: ids of their own for the programs of root's builds, the filters of system calls, Landlock. The program without
# them is compiled for this alone, by `--cfg fam_build_unprotected`. Packages come from a cache, by a lock. Needs MIRROR, or a
# Debian host.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}
mirror=${MIRROR:-$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | head -n 1)}
scratch=$(mktemp -d "${FAM_BUILD_SCRATCH:-/var/tmp}/fam-build-bench.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cargo build --quiet --release
RUSTFLAGS="--cfg fam_build_unprotected" cargo build --quiet --release --target-dir target/unprotected
TIMEFORMAT='%U %S'

common=(--mirror "$mirror" --security-mirror none --nodes 4 --fresh --cache-dir "$scratch/cache" --output "$scratch/out")
target/release/fam-build lock "${common[@]}" >/dev/null
mv "$scratch/out/fabric.lock" "$scratch"
common+=(--locked "$scratch/fabric.lock")
target/release/fam-build "${common[@]}" >/dev/null 2>&1

# cpu_seconds PROGRAM: user and system seconds of a build.
cpu_seconds() {
    sync
    { time "$1" "${common[@]}" >/dev/null 2>&1; } 2>&1 | tr ' ' + | bc
}
# least FILE, median FILE
least() { sort -n "$1" | head -n 1; }
median() { sort -n "$1" | sed -n "$(((rounds + 1) / 2))p"; }

for ((round = 1; round <= rounds; round++)); do
    # Whoever is first has other caches than the second, so each is first in every other round.
    if ((round % 2)); then order='with without'; else order='without with'; fi
    for which in $order; do
        if [[ $which == with ]]; then program=target/release/fam-build; else program=target/unprotected/release/fam-build; fi
        cpu_seconds "$program" >>"$scratch/$which"
    done
    echo "round $round: $(tail -n 1 "$scratch/with") s with, $(tail -n 1 "$scratch/without") s without"
done
# What else runs on a machine only ever adds to a time, so the least of each says most.
for measure in least median; do
    with=$($measure "$scratch/with") without=$($measure "$scratch/without")
    echo "CPU time, $measure: $with s with the protections, $without s without: $(bc <<<"scale=3; $with / $without")"
done
