set -euo pipefail

fail() {
    printf 'error: %s\n' "$1" >&2
    exit "${2:-1}"
}

first_id=${1:-9001}
if [[ $# -gt 1 || ! $first_id =~ ^[1-9][0-9]{2,8}$ ]]; then
    fail "usage: $0 [NUMBER OF THE FIRST MACHINE]; STORAGE [local-lvm] and BRIDGE [vmbr0] are read from the environment" 2
fi
storage=${STORAGE:-local-lvm} bridge=${BRIDGE:-vmbr0}
directory=$(cd -- "$(dirname -- "$0")" && pwd)

command -v qm >/dev/null || fail "this host has no qm: run it on a host of Proxmox VE"
[[ $(id -u) == 0 ]] || fail "only root may set QEMU's own arguments"
for node in "${nodes[@]}"; do
    for disk in '' "${further_disks[@]/#/-}"; do
        image=$directory/$prefix$node$disk.qcow2
        [[ -f $image ]] || fail "$image is not there"
    done
done
if [[ -z $shared_memory ]]; then
    printf 'warning: machines are made without the shared memory, since its kind is %s\n' "$fabric" >&2
fi

for node in "${nodes[@]}"; do
    options=(
        --name "$prefix$node" --ostype l26 --memory "$memory_mib" --balloon 0 --cores "$cpus" --serial0 socket
        --net0 "virtio=${macs[node]},bridge=$bridge"
        --virtio0 "$storage:0,import-from=$directory/$prefix$node.qcow2,discard=on" --boot order=virtio0
    )
    number=0
    for label in "${further_disks[@]}"; do
        image=$directory/$prefix$node-$label.qcow2
        options+=("--virtio$((++number))" "$storage:0,import-from=$image,discard=on,serial=$label")
    done
    # What cloud-init reads, where the system has it.
    seed=$directory/$prefix$node-seed.img
    # It is FAT with sectors of 512 bytes, which no disk with larger ones holds.
    bus=${sectors:+ide0}
    if [[ -f $seed ]]; then options+=("--${bus:-virtio$((++number))}" "$storage:0,import-from=$seed"); fi
    # All machines with it must be on one host, and stay there.
    arguments=$shared_memory${sectors:+${shared_memory:+ }$sectors}
    if [[ -n $arguments ]]; then options+=(--args "$arguments"); fi
    # BIOS boots from no disk with other sectors. The disk of UEFI's variables is none of virtio.
    if [[ -n $sectors ]]; then options+=(--bios ovmf --efidisk0 "$storage:1,efitype=4m,pre-enrolled-keys=0"); fi
    qm create "$((first_id + node - 1))" "${options[@]}"
done
