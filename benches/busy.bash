#!/usr/bin/env bash
# Shows how busy the processors are in a cold build, half a second after another, and with which programs.
#
#   benches/busy.bash [ARGUMENT...]
#
#   ARGUMENT   passed on to fam-build
#
# A line has the time since the beginning, how much of all processors was busy, and the programs that took most of it.
# `exe` is this program in its roles; what has another name is a program of the new system, or a thread. Less than 100 %
# over several lines is where something could be done at the same time, unless the disk is waited for (images).
# It needs root and perf. MIRROR names the mirror; without it, it is that of the Debian host.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

mirror=${MIRROR:-$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | head -n 1)}
scratch=$(mktemp -d "${FAM_BUILD_SCRATCH:-/var/tmp}/fam-build-busy.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cargo build --quiet --release

rate=199
perf record --output "$scratch/perf" --freq $rate --all-cpus -- target/release/fam-build --nodes 4 --mirror "$mirror" \
    --output "$scratch/vms" --cache-dir "$scratch/cache" "$@" >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2 && exit 1; }
perf script --input "$scratch/perf" --fields comm,cpu,time 2>/dev/null | awk -v rate=$rate -v processors="$(nproc)" '
    match($0, / +\[[0-9]+\] +[0-9.]+:/) {
        name = substr($0, 1, RSTART - 1); sub(/^ +/, "", name)
        place = substr($0, RSTART, RLENGTH); sub(/.*\] +/, "", place)
        if (!begin) begin = place + 0
        slice = int((place - begin) * 2)
        last = slice > last ? slice : last
        if (name == "swapper") next
        all[slice]++; of[slice, name]++; names[name]
    }
    END {
        whole = rate * processors / 2
        for (slice = 0; slice <= last; slice++) {
            line = sprintf("%5.1f s  %3d %%  ", slice / 2, 100 * all[slice] / whole)
            for (shown = 0; shown < 5; shown++) {
                best = ""
                for (name in names) if (of[slice, name] > (best == "" ? 0 : of[slice, best])) best = name
                if (best == "") break
                line = line sprintf(" %s %d", best, 100 * of[slice, best] / whole)
                of[slice, best] = 0
            }
            print line
        }
    }'
