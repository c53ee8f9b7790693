#!/usr/bin/env bash
# Times fam-build against the tools it replaces, alternating in one run: same mirror, same packages, four nodes.
#
#   benches/build.bash [ROUNDS]      default 2; the figures are those of the fastest round of each
#
# The peers' pipeline is mmdebstrap to a tarball, tar into a directory, mke2fs -d into an 8 GiB file system, and four times
# a copy with qemu-img convert to qcow2. It has no partition table, no boot loader and no plugins, which all is work
# that fam-build does beside. Needs root (for the peers), mmdebstrap, e2fsprogs, qemu-utils; MIRROR, or a Debian host.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-2}
mirror=${MIRROR:-$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | head -n 1)}
scratch=$(mktemp -d "${FAM_BUILD_SCRATCH:-/var/tmp}/fam-build-bench.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cargo build --quiet --release
build=target/release/fam-build
TIMEFORMAT='%R %U %S'

# The packages that fam-build chooses, so that both sides install the same.
common=(--mirror "$mirror" --security-mirror none)
"$build" lock "${common[@]}" --output "$scratch" >/dev/null
include=$(sed -n 's/^name = "\(.*\)"$/\1/p' "$scratch/fabric.lock" | paste -sd,)

# measure NAME COMMAND...: notes wall, user and system seconds under NAME.
declare -A best
measure() {
    local name=$1 wall user system
    shift
    sync
    read -r wall user system < <({ time "$@" >"$scratch/output" 2>&1 || { cat "$scratch/output" >&2; echo failed; }; } 2>&1 | tail -n 1)
    [ "$wall" != failed ] || exit 1
    printf '%-34s %7.1f s wall %7.1f s CPU\n' "$name" "$wall" "$(bc <<<"$user + $system")"
    if [ -z "${best[$name]:-}" ] || [ "$(bc <<<"$wall < ${best[$name]}")" = 1 ]; then best[$name]=$wall; fi
}

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
# shellcheck disable=SC2120
ours() { "$build" --nodes 4 "${common[@]}" --output "$scratch/out" --cache-dir "$scratch/cache" "$@"; }
images() { "$build" --nodes 4 --from-tarball "$scratch/out/fabric_template.tar" --output "$scratch/images"; }

for ((round = 1; round <= rounds; round++)); do
    echo "-- round $round of $rounds"
    for initramfs in vm most; do
        rm -rf "$scratch/cache" "$scratch/out"
        measure "fam-build, cold, $initramfs" ours --initramfs $initramfs
    done
    rm -rf "$scratch/cache" "$scratch/out"
    # shellcheck disable=SC2119
    ours >/dev/null 2>&1
    measure "fam-build, again" ours
    measure "fam-build, tarball to images" images
    measure "mmdebstrap" peer_tarball
    measure "tar, mke2fs, 4 x (cp, convert)" peer_images
done

ratio() { bc <<<"scale=2; $1 / ($2)" | sed 's/^\./0./'; }
peer="${best[mmdebstrap]} + ${best[tar, mke2fs, 4 x (cp, convert)]}"
cat <<END
-- ratios of wall time, fastest rounds
cold, initramfs = "vm", to the peers' pipeline      $(ratio "${best[fam-build, cold, vm]}" "$peer")
cold, initramfs = "most", to the peers' pipeline    $(ratio "${best[fam-build, cold, most]}" "$peer")
tarball to four qcow2, to the peers' image part     $(ratio "${best[fam-build, tarball to images]}" "${best[tar, mke2fs, 4 x (cp, convert)]}")
unchanged rebuild                                   ${best[fam-build, again]} s
END
grep -h 'peak memory' "$scratch/out/fabric_emulation.log" | tail -n 1 || true
