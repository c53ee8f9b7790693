
# --------------------------------------------------------------------------------------------------------------- check

# report THING VERDICT MORE EXAMINE...: prints a line about what the function EXAMINE finds: ok, or if it fails VERDICT, with
# MORE behind its detail. Returns as it does.
report() {
    local thing=$1 verdict=$2 more=$3 found=0
    shift 3
    if "$@"; then
        verdict=ok more='' hint=''
    else
        found=1
        if [[ $verdict == fault ]]; then faults=$((faults + 1)); fi
    fi
    detail+=$more
    # What programs say may have tabs and newlines.
    printf '%s\t%s\t%s\t%s\n' "$verdict" "$thing" "${detail//[$'\t\n']/ }" "${hint//[$'\t\n']/ }"
    return "$found"
}

# examine_program PROGRAM PURPOSE DEBIAN FEDORA ARCH
examine_program() {
    if detail=$(type -P "$1"); then return; fi
    detail="it is not installed, and serves to $2"
    install_hint "$3" "$4" "$5"
    return 1
}

examine_libvirt() {
    local said
    examine_virsh || return
    if said=$(timeout 10 virsh -q -c qemu:///system net-list --all --name 2>&1); then
        detail="the daemon answers; the network $network is not defined"
        if grep -qxF -e "$network" <<<"${said//[[:blank:]]/}"; then detail="the daemon answers; the network $network is defined"; fi
        return
    fi
    said=${said##*$'\n'}
    detail="the daemon does not answer: ${said#error: }"
    # shellcheck disable=SC2016 # The reader's shell is to expand it.
    if [[ $said == *authentication* || $said == *[Pp]ermission* ]]; then
        hint='sudo usermod -aG libvirt $USER, and log in again'
    else
        hint+='; sudo systemctl start libvirtd'
    fi
    return 1
}

# Everything that running nodes needs of this host: tried rather than looked for, as far as a trial leaves nothing behind.
check() {
    local faults=0
    # Without these nothing else can be examined.
    report tools fault '' examine_tools || return
    locate
    choose_shared_memory
    choose_names
    if report QEMU fault '' examine_qemu; then
        report "fabric $fabric" fault '' examine_device || true
        if boots_by_uefi; then report UEFI fault '' examine_firmware || true; fi
        report KVM warning '; nodes run emulated (TCG), some ten times slower' examine_kvm_for_fabric || true
        report bridge warning '; nodes use user-mode networking' examine_bridge || true
    fi
    report 'bridge helper' warning '; nodes use user-mode networking' examine_bridge_helper || true
    report 'memory of the nodes' warning '' examine_memory "$nodes" || true
    report 'shared memory' fault '' examine_shared_memory || true
    report libvirt warning "; it is needed for the bridge $bridge and for domains only" examine_libvirt || true
    report ssh warning '' examine_program ssh 'log in to nodes' openssh-client openssh-clients openssh || true
    report socat warning '' examine_program socat "use the nodes' serial consoles" socat socat socat || true
    ((faults == 0))
}
