
# ---------------------------------------------------------------------------------------------- what is added to a node

# Options and their values in turn; arguments of QEMU; the numbers of the nodes that are meant.
additions=() own_arguments=() numbers=()

# The bus of devices that are added. Without it, QEMU takes that of CXL's own bridge where there is one, and refuses.
bus=pci.0
if [[ $fabric == cxl ]]; then bus=pcie.0; fi

# read_additions DIRECTORY WORD...: reads the words of `start` or `libvirt define`. Files are seen from DIRECTORY.
read_additions() {
    local directory=$1 option value
    shift
    while (($# > 0)); do
        if [[ $1 == -- ]]; then
            own_arguments+=("${@:2}")
            return
        elif [[ $1 != -* ]]; then
            numbers+=("$1")
            shift
            continue
        elif [[ $1 == *=* ]]; then
            set -- "${1%%=*}" "${1#*=}" "${@:2}"
        fi
        option=$1
        [[ $option =~ ^--(disk|cdrom|forward|share|virtiofs|kernel|initrd|append)$ ]] ||
            fail "there is no option $option" "see: $0 help; what is QEMU's own comes after --"
        (($# > 1)) || fail "$option takes a value" "see: $0 help"
        value=$2
        shift 2
        case $option in
            --forward)
                if [[ ! $value =~ ^[1-9][0-9]{0,4}:[1-9][0-9]{0,4}$ ]] || ((${value%:*} + nodes > 65536 || ${value#*:} > 65535)); then
                    fail "--forward $value: two ports were expected, as in 8080:80"
                fi
                ;;
            --append) ;;
            *) [[ $value == /* ]] || value=$directory/$value ;;
        esac
        additions+=("$option" "$value")
    done
}

# choose_with_additions WORD...: reads what the recipe adds and then these words, and chooses the nodes that they name.
choose_with_additions() {
    read_additions "$here" "${recipe_options[@]+"${recipe_options[@]}"}"
    read_additions "$PWD" "$@"
    choose_nodes "${numbers[@]+"${numbers[@]}"}"
}

# each_addition N COMMAND...: runs the command with each option, its value for node N, and a number.
each_addition() {
    local n=$1 i
    shift
    for ((i = 0; i < ${#additions[@]}; i += 2)); do "$@" "${additions[i]}" "${additions[i + 1]//'{}'/$n}" "$i"; done
}

# Whether an option is among them.
has_addition() {
    local i
    for ((i = 0; i < ${#additions[@]}; i += 2)); do
        if [[ ${additions[i]} == "$1" ]]; then return; fi
    done
    return 1
}

# find_additions N...: whether all files that are added to these nodes are there.
find_additions() {
    local n kernel=no of_kernel=''
    for n in "$@"; do each_addition "$n" find_addition; done
    if [[ $kernel == no && -n $of_kernel ]]; then
        fail "$of_kernel is for a kernel of your own" "name that, too: --kernel FILE"
    fi
}

find_addition() {
    case $1 in
        --share | --virtiofs) [[ -d ${2%:*} || -d $2 ]] || fail "$1 $2: there is no such directory" ;;
        --disk) [[ -f $2 && -r $2 && -w $2 || -b $2 ]] || fail "--disk $2: it is not there, or not this user's to write" ;;
        --kernel) kernel=yes ;;&
        --initrd | --append) of_kernel=$1 ;;&
        --cdrom | --kernel | --initrd) [[ -f $2 && -r $2 || -b $2 ]] || fail "$1 $2: it is not there, or not this user's to read" ;;
    esac
}

# forwards N: the ports that lead to node N, as options of QEMU's user-mode network.
forwards() { each_addition "$1" forward "$1"; }

forward() {
    if [[ $2 == --forward ]]; then printf ',%s' "$(forward_to "$1" "$((${3%:*} + $1 - 1))" "${3#*:}")"; fi
}

# forward_to N PORT GUEST: an option that leads from port PORT of this host to port GUEST of node N. It goes to the node's own
# address where that is static, else to the one that QEMU's DHCP gave it.
forward_to() {
    local address=''
    if [[ $node_addresses == static ]]; then address=${addresses[$1]}; fi
    printf 'hostfwd=tcp:127.0.0.1:%d-%s:%d' "$2" "$address" "$3"
}

# Adds all others to the `arguments` of node N: behind its own devices, which have their slots.
add_additions() {
    local append='' kernel=''
    shared_directories=()
    each_addition "$1" add_addition
    # virtiofsd reads and writes the node's memory, so both must have it.
    if ((${#shared_directories[@]} > 0)); then
        arguments+=(-object "memory-backend-memfd,id=ram,share=on,size=${memory_mib}M" -machine memory-backend=ram)
    fi
    if [[ -n $kernel ]]; then arguments+=(-kernel "$kernel" -append "$(command_line "$append")"); fi
    arguments+=("${own_arguments[@]+"${own_arguments[@]}"}")
}

# The command line of a kernel of one's own, with more behind it.
command_line() { printf '%s' "root=PARTLABEL=root ro $kernel_command_line$1"; }

# The parts of the value of --share or --virtiofs, into `directory` and `tag`.
split_share() {
    directory=$1 tag=share
    if [[ ! -d $1 ]]; then directory=${1%:*} tag=${1##*:}; fi
}

add_addition() {
    local option=$1 value=$2 id=$3 path=${2//,/,,} directory tag
    case $option in
        --disk)
            arguments+=(
                -drive "if=none,id=disk$id,format=$(format_of "$value"),discard=unmap,file=$path"
                -device "virtio-blk-pci,bus=$bus,drive=disk$id"
            )
            ;;
        # Of SCSI, which all of Debian's kernels drive, that for clouds included.
        --cdrom)
            arguments+=(
                -device "virtio-scsi-pci,bus=$bus,id=bus$id"
                -drive "if=none,id=cd$id,media=cdrom,readonly=on,format=raw,file=$path"
                -device "scsi-cd,bus=bus$id.0,drive=cd$id"
            )
            ;;
        --share)
            split_share "$value"
            # The files are this user's, whoever makes them in the node.
            arguments+=(
                -fsdev "local,id=share$id,security_model=none,multidevs=remap,path=${directory//,/,,}"
                -device "virtio-9p-pci,bus=$bus,fsdev=share$id,mount_tag=${tag//,/,,}"
            )
            ;;
        --virtiofs)
            split_share "$value"
            shared_directories+=("$id" "$directory")
            arguments+=(
                -chardev "socket,id=virtiofs$id,path=$run_path/$name.virtiofs$id"
                -device "vhost-user-fs-pci,bus=$bus,chardev=virtiofs$id,tag=${tag//,/,,}"
            )
            ;;
        --kernel) kernel=$value ;;
        --initrd) arguments+=(-initrd "$value") ;;
        --append) append+=" $value" ;;
    esac
}

# The format of a disk image. QEMU would guess, and a guest could write what it guesses by.
format_of() {
    local magic=''
    # Up to a zero byte at most: bash drops these, and would go on through all of an empty disk to find three others.
    LC_ALL=C IFS= read -r -d '' -n 3 magic <"$1" 2>/dev/null || true
    if [[ $magic == QFI ]]; then printf qcow2; else printf raw; fi
}
