#!/bin/sh
# Points the link to the memory that this node shares with the others: a PCI device, wherever on the bus it is, or the
# device of direct access (devdax) that is made here of a memory module (NVDIMM) or of CXL memory.
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

# The kernel makes a block device of the module, which each node would read through a cache of its own. What turns it into
# one of direct access is written to the start of the memory: the first node does so for all, and two at once write the same.
of_nvdimm() {
	modprobe -a nfit nd_pmem dax_pmem device_dax
	# Waits until the kernel has probed the bus.
	ndctl list >/dev/null
	for namespace in /sys/bus/nd/devices/namespace*; do
		if grep -qx raw "$namespace/mode"; then
			ndctl create-namespace --force --reconfig="${namespace##*/}" --mode=devdax --map=mem
		fi
	done
}

# No firmware has given the memory a place, so a region is made. It holds nothing but the memory itself. The driver that
# would give it to the kernel as its own (kmem) is kept out by a file in /etc/modprobe.d.
of_cxl() {
	modprobe -a cxl_acpi cxl_pci cxl_mem dax_cxl device_dax
	tries=0
	until cxl create-region --memdevs --decoder=decoder0.0 --type=ram mem0; do
		# The bus may still be probed.
		tries=$((tries + 1))
		[ "$tries" -lt 10 ] || return 1
		sleep 1
	done
	for device in /sys/bus/dax/devices/dax*; do
		[ -e "$device/driver" ] || daxctl reconfigure-device --mode=devdax "${device##*/}"
	done
}

if ! dax_device >/dev/null; then
	if [ -e "$firmware/ACPI0012:00" ] && command -v ndctl >/dev/null; then
		of_nvdimm || echo "the NVDIMM could not be made a device of direct access"
	elif [ -e "$firmware/ACPI0017:00" ] && command -v cxl >/dev/null; then
		of_cxl || echo "the CXL memory could not be made a device of direct access"
	fi
	udevadm settle --timeout=10 || true
fi
if device=$(dax_device); then
	point_to "$device"
	exit 0
fi
echo "no shared memory (PCI 1af4:1110, NVDIMM or CXL) in this machine"
