
# ------------------------------------------------------------------------------------------------------------- domains
#
# The descriptions of domains lie beside the images. What only this host knows, and what is added to a node, comes into
# them here.

# What is added to a domain: what its memory is backed by, devices, elements that say how it boots, and arguments of QEMU. How
# many disks and CDs it has.
added_memory='' added_devices='' added_boot='' added_arguments='' disk_count=0 cd_count=0

# The domain of node $1, which is to have the name $2, as this host can run it: only here is it known where the images are,
# whether KVM works, and what is added.
domain() {
    local line kind=kvm cpu=host-model place
    if [[ $accel == tcg ]]; then kind=qemu cpu=maximum; fi
    escape "$here"
    place=$escaped
    describe_additions "$1"
    with_names "$here/$prefix$1.xml" | while IFS= read -r line; do
        case $line in
            "  <name>"*) line="  <name>$2</name>" ;;
            "<domain type="*) line="<domain type='$kind'${line#*\'*\'}" ;;
            *"<cpu mode="*) line="  <cpu mode='$cpu'${line##*\'}" ;;
            *"<source file="*) line=${line%\'*} && line="      <source file='$place/${line##*/}'/>" ;;
            "  <memory unit="*) line+=$added_memory ;;
            "  </os>") line=$added_boot$line ;;
            "  </devices>") line=$added_devices$line ;;
            # With a fabric of the kind cxl there are some already.
            "  </qemu:commandline>") line=$added_arguments$line added_arguments='' ;;
            "</domain>")
                if [[ -n $added_arguments ]]; then
                    say "  <qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
                    say "$added_arguments  </qemu:commandline>"
                fi
                ;;
        esac
        say "$line"
    done
}

# escape TEXT: the text as it stands in an element, or in an attribute within apostrophes, into `escaped`.
escape() {
    [[ $1 != *[[:cntrl:]]* ]] || fail "libvirt can be told no control characters, as in $(printf '%q' "$1")"
    escaped=${1//&/\&amp;} escaped=${escaped//</\&lt;} escaped=${escaped//>/\&gt;} escaped=${escaped//\'/\&apos;}
}

# All that is added to node N, as in start_node.
describe_additions() {
    local append='' kernel='' word seed=$here/$prefix$1-seed.img
    added_memory='' added_devices='' added_boot='' added_arguments='' disk_count=$((1 + ${#further_disks[@]})) cd_count=0
    each_addition "$1" describe_addition
    # No CD: it is FAT with sectors of 512 bytes, which Linux mounts from no medium with larger ones. Nor read-only: what is
    # so, libvirt leaves to its QEMU's user when the domain has ended.
    if [[ -e $seed ]]; then describe_disk "$seed" "type='raw'"; fi
    if [[ -n $kernel ]]; then
        escape "$(command_line "$append")"
        added_boot+="    <cmdline>$escaped</cmdline>"$'\n'
    fi
    for word in "${own_arguments[@]+"${own_arguments[@]}"}"; do
        escape "$word"
        added_arguments+="    <qemu:arg value='$escaped'/>"$'\n'
    done
}

describe_addition() {
    local value=$2
    escape "$value"
    case $1 in
        --disk) describe_disk "$value" "type='$(format_of "$value")' discard='unmap'" ;;
        --cdrom) describe_cd "$value" ;;
        # The mode `squash` is QEMU's security_model=none: the files belong to the user as whom libvirt runs QEMU.
        --share) describe_share "$value" "accessmode='squash' multidevs='remap'" '' ;;
        # libvirt starts virtiofsd, as root.
        --virtiofs)
            describe_share "$value" "accessmode='passthrough'" $'      <driver type=\'virtiofs\'/>\n'
            added_memory=$'\n  <memoryBacking>\n    <source type=\'memfd\'/>\n    <access mode=\'shared\'/>\n  </memoryBacking>'
            ;;
        --kernel) kernel=$value added_boot+="    <kernel>$escaped</kernel>"$'\n' ;;
        --initrd) added_boot+="    <initrd>$escaped</initrd>"$'\n' ;;
        --append) append+=" $value" ;;
    esac
}

# The element `source` of a disk, which may be a device of this host; and the type of that disk, into `disk_type`.
source_of_disk() {
    local attribute=file
    disk_type='file'
    if [[ -b $1 ]]; then disk_type=block attribute=dev; fi
    escape "$1"
    source_element="      <source $attribute='$escaped'/>"$'\n'
}

# The letter of disk or CD $1, counted from 0, into `letter`.
letter_of() {
    local letters=abcdefghijklmnopqrstuvwxyz
    (($1 < ${#letters})) || fail "a domain can have no more than ${#letters} disks"
    letter=${letters:$1:1}
}

# describe_disk FILE DRIVER: a disk with these attributes of its driver.
describe_disk() {
    local letter disk_type source_element
    source_of_disk "$1"
    letter_of "$disk_count"
    disk_count=$((disk_count + 1))
    added_devices+="    <disk type='$disk_type' device='disk'>
      <driver name='qemu' $2/>
$source_element      <target dev='vd$letter' bus='virtio'/>
    </disk>
"
}

describe_cd() {
    local letter disk_type source_element
    source_of_disk "$1"
    letter_of "$cd_count"
    if ((cd_count == 0)); then
        added_devices+="    <controller type='scsi' index='0' model='virtio-scsi'/>"$'\n'
    fi
    cd_count=$((cd_count + 1))
    added_devices+="    <disk type='$disk_type' device='cdrom'>
      <driver name='qemu' type='raw'/>
$source_element      <target dev='sd$letter' bus='scsi'/>
      <readonly/>
    </disk>
"
}

# describe_share VALUE ATTRIBUTES DRIVER
describe_share() {
    local directory tag
    split_share "$1"
    escape "$directory"
    added_devices+="    <filesystem type='mount' $2>
$3      <source dir='$escaped'/>
"
    escape "$tag"
    added_devices+="      <target dir='$escaped'/>
    </filesystem>
"
}
