
# ------------------------------------------------------------------------------------------------------------ the host
#
# Each examine_* returns 0 where nothing is in the way, and leaves `detail`; else 1, and leaves `detail` and `hint`.

# install_hint DEBIAN FEDORA ARCH: the command that installs a package, which each distribution names otherwise.
install_hint() {
    local word words
    # shellcheck disable=SC1091 # os-release(5) has assignments, for shells to read.
    words=$({ . /etc/os-release || . /usr/lib/os-release; } 2>/dev/null && say "${ID:-} ${ID_LIKE:-}") || true
    for word in $words; do
        case $word in
            debian | ubuntu) hint="sudo apt install $1" && return ;;
            fedora | rhel | centos) hint="sudo dnf install $2" && return ;;
            arch) hint="sudo pacman -S $3" && return ;;
        esac
    done
    hint="install it (Debian: apt install $1; Fedora: dnf install $2; Arch: pacman -S $3)"
}

# The programs that this script cannot do without.
examine_tools() {
    local tool missing=()
    for tool in awk basename cat chmod cksum df dirname flock grep id mkdir mkfifo mktemp mv readlink rm rmdir setsid sleep stat \
        tail timeout tr truncate unshare wc; do
        type -P "$tool" >/dev/null || missing+=("$tool")
    done
    detail='all of them are there'
    ((${#missing[@]} == 0)) && return
    detail="not installed: ${missing[*]}"
    install_hint 'coreutils grep gawk util-linux' 'coreutils grep gawk util-linux' 'coreutils grep gawk util-linux'
    return 1
}

# Finds QEMU, into `qemu`. Enterprise distributions hide it.
examine_qemu() {
    local candidate version
    qemu=
    for candidate in "${QEMU:-qemu-system-x86_64}" /usr/libexec/qemu-kvm; do
        if qemu=$(type -P "$candidate"); then break; fi
    done
    if [[ -z $qemu ]]; then
        detail="${QEMU:-qemu-system-x86_64} is not installed"
        install_hint qemu-system-x86 qemu-system-x86-core qemu-system-x86
        return 1
    fi
    if ! version=$("$qemu" --version 2>&1); then
        detail="$qemu does not run: ${version##*$'\n'}"
        install_hint '--reinstall qemu-system-x86' qemu-system-x86-core qemu-system-x86
        return 1
    fi
    version=${version%%$'\n'*}
    detail="$qemu, ${version#QEMU emulator }"
}

# Whether `qemu` has the device that shows nodes the shared memory; and what it does with CXL memory, into `cxl_is_mapped`
# and, as words, `cxl_access`.
examine_device() {
    local devices
    cxl_is_mapped=no cxl_access='emulates each access to its memory: slow, and not atomic across nodes (QEMU 11.1 maps it)'
    devices=$("$qemu" -device help 2>&1) || true
    if [[ $devices != *"\"$shm_device\""* ]]; then
        detail="$qemu was built without the device $shm_device, which shows the shared memory to the nodes"
        hint="install another build, as Debian's or Arch's qemu-system-x86, or name one: QEMU=PROGRAM"
        return 1
    fi
    if [[ $fabric == cxl && $("$qemu" -device cxl-type3,help) != *volatile-memdev* ]]; then
        detail="$qemu is too old for a CXL device with volatile memory"
        hint="install QEMU 8.1 or newer, or name one: QEMU=PROGRAM"
        return 1
    fi
    detail="$qemu has the device $shm_device"
    if [[ $fabric == cxl ]]; then
        if maps_cxl_memory; then cxl_is_mapped=yes cxl_access='maps its memory, which is as fast as other memory'; fi
        detail+=" and $cxl_access"
    fi
}

# A KVM that can be opened may still fail to run a system, nested in another hypervisor above all. So a boot sector is run
# that goes to long mode, turns paging on, runs an instruction that decompressors use, and ends QEMU with exit status 85.
examine_kvm() {
    local image status=0
    detail='there is no /dev/kvm'
    hint='turn on virtualization in the firmware, or nested virtualization in the hypervisor around this host; then: '
    hint+='sudo modprobe -a kvm_intel kvm_amd'
    [[ -e /dev/kvm ]] || return 1
    detail='/dev/kvm may not be used by this user (the group kvm may)'
    # shellcheck disable=SC2016 # The reader's shell is to expand it.
    hint='sudo usermod -aG kvm $USER, and log in again'
    [[ -r /dev/kvm && -w /dev/kvm ]] || return 1
    image=$(mktemp)
    printf '%b' "$kvm_probe" >"$image"
    truncate -s 510 "$image"
    printf '\x55\xaa' >>"$image"
    timeout 10 "$qemu" -accel kvm -cpu host -machine pc -m 32 -nodefaults -no-user-config -display none -no-reboot \
        -device isa-debug-exit,iobase=0xf4,iosize=1 -drive "file=${image//,/,,},format=raw,if=ide" \
        >"$image.said" 2>&1 </dev/null &
    # After an error of KVM itself QEMU stays, paused, for somebody to look at. That it was killed, or aborted by itself,
    # is not for bash to report.
    {
        while kill -0 $!; do
            if grep -q 'internal error' "$image.said"; then kill $! || true; fi
            sleep 0.1
        done
        wait $! || status=$?
    } 2>/dev/null
    rm -f -- "$image" "$image.said"
    detail='a trial system ran in it' hint=''
    # The device ends QEMU with twice the value that the guest writes to it, and one: the boot
    # sector writes 42.
    ((status == 85)) && return
    detail='/dev/kvm is there, but a trial system did not run in it'
    hint='allow nested virtualization in the hypervisor around this host'
    return 1
}

# As examine_kvm, after examine_device. Where QEMU emulates each access to CXL memory, that access leaves the guest, and KVM
# emulates but plain instructions: no vectors.
examine_kvm_for_fabric() {
    detail='programs may fail in KVM on CXL memory that QEMU emulates'
    hint="install QEMU 11.1 or newer, which maps it; or use KVM all the same: ACCEL=kvm $0"
    if [[ $fabric == cxl && $cxl_is_mapped == no ]]; then return 1; fi
    examine_kvm
}

# Whether `qemu` maps CXL memory into the guest, as other memory. QEMU 11.1 does; distributions may have brought that to
# older versions, so the program is searched for the name that it gives to such a mapping. A wrapper has only its version.
maps_cxl_memory() {
    if grep -qaF cxl-direct-mapping -- "$(readlink -f -- "$qemu")"; then return; fi
    [[ $("$qemu" --version 2>/dev/null) =~ version\ ([0-9]+)\.([0-9]+) ]] &&
        ((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2] >= 11001))
}

# Finds the program by which a user plugs a node into a bridge, into `helper`; whether this user may use it.
examine_bridge_helper() {
    local candidate
    helper=
    for candidate in /run/wrappers/bin /usr/lib/qemu /usr/libexec /usr/lib64/qemu /usr/lib /usr/libexec/qemu \
        /usr/lib/qemu/bin /usr/local/libexec; do
        if [[ -x $candidate/qemu-bridge-helper ]]; then
            helper=$candidate/qemu-bridge-helper
            break
        fi
    done
    detail='qemu-bridge-helper is not installed'
    install_hint qemu-system-common qemu-common qemu-base
    [[ -n $helper ]] || return 1
    # It has root's rights, or the one capability that it needs.
    detail="$helper may not make interfaces for users" hint="sudo chmod u+s $helper"
    # Debian's way outlasts upgrades.
    if type -P dpkg-statoverride >/dev/null; then hint="sudo dpkg-statoverride --update --add root root 4755 $helper"; fi
    [[ $EUID == 0 || -u $helper ]] || has_capabilities "$helper" || return 1
    detail='/dev/net/tun, which makes interfaces, is not there' hint='sudo modprobe tun'
    [[ -e /dev/net/tun ]] || return 1
    # The helper gives up root's right to pass over modes before it opens this.
    detail='/dev/net/tun may not be used by this user' hint='sudo chmod 666 /dev/net/tun'
    [[ -r /dev/net/tun && -w /dev/net/tun ]] || return 1
    detail=$helper hint=''
}

# Whether file $1 has capabilities. Without getcap it is taken to have them, and the trial decides.
has_capabilities() {
    PATH=$PATH:/usr/sbin:/sbin type -P getcap >/dev/null || return 0
    [[ -n $(PATH=$PATH:/usr/sbin:/sbin getcap "$1" 2>/dev/null) ]]
}

# Whether virsh is there. `hint` installs it and libvirt's daemon, which may be missing without it, too.
examine_virsh() {
    detail='virsh is not installed'
    install_hint 'libvirt-daemon-system libvirt-clients' libvirt 'libvirt dnsmasq'
    type -P virsh >/dev/null
}

# Whether this user can plug a node into the bridge. The helper is given a real try: its rules may be unreadable.
examine_bridge() {
    local output
    detail="the bridge $bridge is not up" hint="$0 network up"
    [[ -d /sys/class/net/$bridge/bridge ]] || return 1
    examine_bridge_helper || return 1
    if output=$(printf 'quit\n' | timeout 10 "$qemu" -machine none -nodefaults -no-user-config -display none \
        -monitor stdio -netdev "bridge,id=trial,br=$bridge,helper=$helper" 2>&1); then
        detail="$helper gave access to $bridge"
        return
    fi
    detail="$helper does not give access to $bridge"
    if [[ $output == *[Aa]cl* || $output == *denied* ]]; then
        hint="sudo mkdir -p /etc/qemu; echo 'allow $bridge' | sudo tee -a /etc/qemu/bridge.conf"
    else
        hint="see what it says: ${output##*$'\n'}"
    fi
    return 1
}
