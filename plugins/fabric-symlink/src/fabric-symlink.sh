#!/bin/sh
# Points the link to the memory that this node shares with the others: a PCI device, wherever on the bus it is, or the
# device of direct access (devdax) that is made here of a memory module (NVDIMM) or of a CXL device.
set -eu

link=@LINK@
devices=${FABRIC_DEVICES:-/sys/bus/pci/devices}
firmware=${FABRIC_FIRMWARE:-/sys/bus/acpi/devices}

point_to() {
	[ "$(readlink "$link" || true)" = "$1" ] || ln -sfn "$1" "$link"
}

for device in "$devices"/*; do
	[ -e "$device/resource2" ] || continue
	read -r vendor < "$device/vendor"
	read -r id < "$device/device"
	[ "$vendor:$id" = 0x1af4:0x1110 ] || continue
	# No driver claims the device, and some firmware leaves such a device switched off.
	read -r enabled < "$device/enable"
	[ "$enabled" != 0 ] || echo 1 > "$device/enable"
	point_to "$device/resource2"
	exit 0
done

dax_device() {
	for device in /dev/dax*; do
		[ -c "$device" ] && echo "$device" && return
	done
	return 1
}

# The kernel makes a block device of the module, which each node would read through a cache of its own. A block of
# information at the start of the memory turns it into one of direct access. It is the same from every node, so that it
# does not matter who writes it first: nodes may start at the same time. ndctl's own way to reconfigure clears the block,
# writes another, and waits for all events of the boot.
of_nvdimm() {
	modprobe -a nfit nd_pmem dax_pmem device_dax
	bus=/sys/bus/nd
	cat "$bus"/devices/ndbus*/wait_probe >/dev/null
	for namespace in "$bus"/devices/namespace*; do
		# Again, where another node had written half of the block.
		for _ in 1 2 3; do
			grep -qx raw "$namespace/mode" || break
			inform "$namespace"
			echo "${namespace##*/}" > "$bus"/drivers/nd_pmem/unbind
			# The driver gives the namespace away, which it tells as an error.
			echo "${namespace##*/}" > "$bus"/drivers/nd_pmem/bind || true
			cat "$bus"/devices/ndbus*/wait_probe >/dev/null
		done
	done
}

# Writes the block to the memory of a namespace, unless something is there.
inform() {
	for block in "$1"/block/pmem*; do
		block=/dev/${block##*/}
		[ "$(head -c 8192 "$block" | tr -d '\0' | wc -c)" = 0 ] || continue
		ndctl write-infoblock --stdout --size="$(cat "$1/size")" --mode=devdax --map=mem --align=2M \
			--uuid=66616272-6963-4d65-ad6f-727900000001 |
			dd of="$block" bs=8k iflag=fullblock conv=nocreat,fsync status=none
	done
}

# No firmware has mapped the memory of the device, so a region is made: it lives in the machine's decoders, and nothing is
# written to the memory. The driver that would make it the kernel's own (kmem) is kept away by a file in /etc/modprobe.d,
# and since the kernel means that one to be taken, the other has to be told.
of_cxl() {
	modprobe -a cxl_acpi cxl_pci cxl_mem dax_cxl device_dax
	bus=/sys/bus/dax
	# The ports may still be probed.
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		! cxl create-region --memdevs --decoder=decoder0.0 --type=ram mem0 >/dev/null || break
		sleep 1
	done
	for device in "$bus"/devices/dax*; do
		[ -e "$device/driver" ] || echo "${device##*/}" > "$bus"/drivers/device_dax/new_id
	done
}

again=
if ! dax_device >/dev/null; then
	if [ -e "$firmware/ACPI0012:00" ] && command -v ndctl >/dev/null; then
		again=yes
		of_nvdimm || true
	elif [ -e "$firmware/ACPI0017:00" ] && command -v cxl >/dev/null; then
		again=yes
		of_cxl || true
	fi
fi
if device=$(dax_device); then
	point_to "$device"
	exit 0
fi
if [ "$again" ]; then
	echo "the shared memory of this machine is no device yet" >&2
	exit 1
fi
echo "no shared memory (PCI 1af4:1110, NVDIMM or CXL) in this machine"
