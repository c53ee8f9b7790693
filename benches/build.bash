#!/usr/bin/env bash
# Times builds against the tools that fam-build replaces, and rebuilds against a cold build. All alternate in one run: same
# mirror, same packages, four nodes.
#
#   benches/build.bash [--only-ours] [--json] [ROUNDS]
#
#   --only-ours   leave out the peers, which take longer than all else
#   --json        print the table as JSON, and everything else to standard error
#   ROUNDS        how often each is measured (default: 2); what counts is the fastest round of each
#
# The peers' pipeline is mmdebstrap to a tarball, tar into a directory, mke2fs -d into an 8 GiB file system, and four times
# a copy with qemu-img convert to qcow2. It has no partition table, no boot loader and no plugins, which is all work
# that fam-build does in addition. It needs root, mmdebstrap, e2fsprogs and qemu-utils.
#
# Ours is the default recipe and one small file more. MIRROR names the mirror; without it, it is that of the Debian host.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

json=false peers=true rounds=2
for argument in "$@"; do
    case $argument in
    --json) json=true ;;
    --only-ours) peers=false ;;
    [1-9] | [1-9][0-9]) rounds=$argument ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
done
if $json; then exec 3>&1 1>&2; fi
if $peers; then
    for program in mmdebstrap mke2fs qemu-img; do
        command -v "$program" >/dev/null || { echo "the peers need $program; --only-ours leaves them out" >&2 && exit 1; }
    done
fi
mirror=${MIRROR:-$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | head -n 1)}

scratch=$(mktemp -d "${FAM_BUILD_SCRATCH:-/var/tmp}/fam-build-bench.XXXXXX")
# What fails may do so where standard error is a file.
exec 4>&2
clean_up() {
    [ $? = 0 ] || cat "$scratch/output" >&4
    rm -rf "$scratch"
}
trap clean_up EXIT
: >"$scratch/output"

cargo build --quiet --release
build=target/release/fam-build

# The least milliseconds of each thing that is measured, and the processor's in the same round.
declare -A wall cpu
TIMEFORMAT='%3R %3U %3S'

# measure NAME COMMAND...
measure() {
    local name=$1 real user system
    shift
    sync
    { time "$@" >"$scratch/output" 2>&1; } 2>"$scratch/times"
    read -r real user system <"$scratch/times"
    real=$((10#${real/./})) user=$((10#${user/./})) system=$((10#${system/./}))
    printf '%-20s %8s s wall %8s s CPU\n' "$name" "$(thousandths "$real" 1)" "$(thousandths $((user + system)) 1)"
    if ((real < ${wall[$name]:-real + 1})); then wall[$name]=$real cpu[$name]=$((user + system)); fi
}

# thousandths NUMBER DIGITS: a number of thousandths as a decimal, with this many digits behind the point.
thousandths() {
    local digits
    printf -v digits '%04d' "$(($1 + 5 * 10 ** (2 - $2)))"
    echo "${digits::-3}.${digits:(-3):$2}"
}

common=(--mirror "$mirror" --security-mirror none)
# recipe NAME VALUE: a recipe in which the plugin `files` or `script` has this value in its settings. Only the latter runs a
# program in the new system.
recipe() {
    local settings
    case $1 in
    files) settings="settings.files = [{ target = '/etc/bench', content = '$2' }]" ;;
    script) settings="settings.script = 'echo $2 >/etc/bench'" ;;
    esac
    printf 'extends = "fabric"\n[[plugin.add]]\nname = "%s"\n%s\n' "$1" "$settings" >"$scratch/$1.toml"
}
# ours RECIPE OPTION...
ours() {
    "$build" --nodes 4 "${common[@]}" --recipe "$scratch/$1.toml" --output "$scratch/out" --cache-dir "$scratch/cache" "${@:2}"
}
images() { "$build" --nodes 4 --from-tarball "$scratch/out/fabric_template.tar" --output "$scratch/images"; }

help=$("$build" build --help)
incremental=()
if [[ $help == *--incremental* ]]; then
    incremental=(--incremental)
else
    echo "this fam-build has no --incremental: one more package is measured without"
fi

peer_tarball() {
    mmdebstrap --quiet --variant=essential --aptopt='Apt::Install-Recommends false' --include="$include" \
        trixie "$scratch/peer.tar" "deb $mirror trixie main" "deb $mirror trixie-updates main"
}
peer_images() {
    rm -rf "$scratch/root" "$scratch"/peer*.img "$scratch"/peer*.qcow2
    mkdir "$scratch/root"
    tar --extract --numeric-owner --file "$scratch/peer.tar" --directory "$scratch/root"
    truncate --size 8G "$scratch/peer.img"
    mke2fs -q -t ext4 -d "$scratch/root" "$scratch/peer.img"
    local node
    for node in 1 2 3 4; do
        cp --sparse=always "$scratch/peer.img" "$scratch/peer$node.img"
        qemu-img convert -O qcow2 "$scratch/peer$node.img" "$scratch/peer$node.qcow2"
    done
}

if $peers; then
    # The packages that fam-build chooses, so that both sides install the same.
    "$build" lock "${common[@]}" --output "$scratch" --cache-dir "$scratch/cache" >"$scratch/output" 2>&1
    include=$(sed -n 's/^name = "\(.*\)"$/\1/p' "$scratch/fabric.lock" | paste -sd,)
fi
for ((round = 1; round <= rounds; round++)); do
    echo "-- round $round of $rounds"
    recipe files "$round"
    rm -rf "$scratch/cache" "$scratch/out"
    measure cold-most ours files --initramfs most
    rm -rf "$scratch/cache" "$scratch/out"
    measure cold ours files
    memory_mib=$(sed -n 's/.*peak memory of the worker: \([0-9]*\) MiB$/\1/p' "$scratch/out/fabric_emulation.log")
    measure unchanged ours files
    recipe files "$round again"
    measure files ours files
    measure package ours files --include tree "${incremental[@]}"
    recipe script "$round"
    ours script >"$scratch/output" 2>&1
    recipe script "$round again"
    measure script ours script
    measure images images
    if $peers; then
        measure peer-tarball peer_tarball
        measure peer-images peer_images
    fi
done

# ratio NUMBER [OF]: nothing where there is nothing to compare with.
ratio() { [ -z "${2:-}" ] || thousandths $(($1 * 1000 / $2)) 2; }
# row NAME WHAT [OF WALL CPU]: a line of the table, or an object.
row() {
    local name=$1 what=$2 of=${3:-} seconds cpu_seconds wall_ratio cpu_ratio
    seconds=$(thousandths "${wall[$name]}" 1) cpu_seconds=$(thousandths "${cpu[$name]}" 1)
    wall_ratio=$(ratio "${wall[$name]}" "${4:-}") cpu_ratio=$(ratio "${cpu[$name]}" "${5:-}")
    if $json; then
        printf '%s\n    {"name": "%s", "what": "%s", "wall_seconds": %s, "cpu_seconds": %s, "of": %s, "wall_ratio": %s, "cpu_ratio": %s}' \
            "${comma-}" "$name" "$what" "$seconds" "$cpu_seconds" "${of:+\"}${of:-null}${of:+\"}" "${wall_ratio:-null}" "${cpu_ratio:-null}" >&3
        comma=,
    else
        printf '%-50s %9s %9s %9s %9s   %s\n' "$what" "$wall_ratio" "$cpu_ratio" "$seconds" "$cpu_seconds" "$of"
    fi
}

whole=() disks=() cold=(cold "${wall[cold]}" "${cpu[cold]}")
if $peers; then
    whole=(peers $((wall[peer-tarball] + wall[peer-images])) $((cpu[peer-tarball] + cpu[peer-images])))
    disks=(peer-images "${wall[peer-images]}" "${cpu[peer-images]}")
fi
if $json; then
    printf '{\n  "rounds": %s,\n  "nodes": 4,\n  "peak_memory_mib": %s,\n  "rows": [' "$rounds" "${memory_mib:-null}" >&3
else
    printf -- '-- fastest rounds; peak memory of the cold build %s MiB\n' "${memory_mib:-unknown}"
    printf '%-50s %9s %9s %9s %9s   %s\n' '' 'wall' 'CPU' 'wall, s' 'CPU, s' 'ratio to'
fi
row cold "cold, four nodes" "${whole[@]}"
row cold-most "cold, four nodes, initramfs = most" "${whole[@]}"
row images "tarball to four nodes and the raw image" "${disks[@]}"
row files "a setting of the plugin files changed" "${cold[@]}"
row script "a setting of the plugin script changed" "${cold[@]}"
row package "one more package, ${incremental[*]:-without --incremental}" "${cold[@]}"
row unchanged "unchanged" "${cold[@]}"
if $peers; then
    row peer-tarball "peers: mmdebstrap to a tarball"
    row peer-images "peers: tar, mke2fs -d, 4 x (cp, qemu-img convert)"
fi
if $json; then printf '\n  ]\n}\n' >&3; fi
