
# ------------------------------------------------------------------------------------------------------------- libvirt

# The libvirt of the whole system, as its networks and the bridge are.
virsh() { command virsh -q -c qemu:///system "$@"; }

need_virsh() {
    examine_virsh || fail "$detail" "$hint; or do without: NET=user"
}

# `active` or `inactive`, or nothing where libvirt has no such network.
network_state() {
    { virsh net-info "$network" 2>/dev/null || true; } | awk '$1 == "Active:" { print $2 == "yes" ? "active" : "inactive" }'
}

# The description $1 of a network or a domain, with the names that they have on this host.
with_names() {
    local line first=${first_memory##*/} own=${own_memory##*/}
    while IFS= read -r line; do
        # libvirt would set up a packet filter that a kernel without IPv6 has not.
        if [[ $line == "<network ipv6="* && ! -d /proc/sys/net/ipv6 ]]; then line='<network>'; fi
        if [[ $names == own ]]; then
            case $line in
                "  <name>$first_network</name>") line="  <name>$network</name>" ;;
                *"<bridge name="*) line=${line/"'$first_bridge'"/"'$bridge'"} ;;
                *"<source network="*) line=${line/"'$first_network'"/"'$network'"} ;;
                *"<mac address="* | *"<host mac="*) line=${line/$first_mac_part/$own_mac_part} ;;
                *"<shmem name="* | *"<path>"* | *"mem-path="*) line=${line/$first/$own} ;;
            esac
        fi
        say "$line"
    done <"$1"
}

network() {
    local state
    [[ ${1:-} == up || ${1:-} == down ]] || fail "network takes up or down"
    need_virsh
    choose_libvirt_names
    case $1 in
        up)
            state=$(network_state)
            if [[ -z $state ]]; then
                with_names "$here/fabric_network.xml" | virsh net-define /dev/stdin ||
                    fail "libvirt does not take $here/fabric_network.xml" \
                        "this needs a running libvirtd, and root or the group libvirt"
            fi
            if [[ $state != active ]]; then
                virsh net-start "$network" || fail "libvirt does not start the network $network" \
                    "is another network at $subnet, or the bridge $bridge there already? see: ip address" \
                    "to have other addresses, build the nodes with them: [nodes] network in the recipe"
            fi
            say "network $network is up on bridge $bridge"
            ;;
        down)
            state=$(network_state)
            if [[ -z $state ]]; then
                say "network $network is not there"
                return
            fi
            if [[ $state == active ]]; then virsh net-destroy "$network"; fi
            virsh net-undefine "$network" || fail "libvirt does not remove the network $network" \
                "this needs root, or the group libvirt"
            say "network $network is gone"
            ;;
    esac
}

# The state of the domain $1, or nothing where libvirt has none.
domain_state() { virsh domstate "$1" 2>/dev/null || true; }

libvirt() {
    local verb=${1:-} n name taken xml
    need_virsh
    [[ $verb =~ ^(define|start|shutdown|undefine)$ ]] || fail "libvirt takes define, start, shutdown or undefine"
    shift
    if [[ $verb == define ]]; then
        choose_with_additions "$@"
        find_additions "${chosen[@]}"
        need_qemu
        choose_acceleration
    else
        choose_nodes "$@"
    fi
    if [[ $verb == start ]]; then network up; else choose_libvirt_names; fi
    for n in "${chosen[@]}"; do
        name=$(domain_name "$n")
        case $verb in
            define)
                taken=${domain_uuids[$name]:-}
                if [[ -n $taken && $taken != "${uuids[n]}" ]]; then
                    fail "libvirt has a domain $name already, which is not of this cluster" \
                        "remove that one (virsh undefine $name), or build nodes of another name: [nodes] name in the recipe"
                fi
                if [[ -n $(forwards "$n") ]]; then
                    warn "$name: --forward is for user mode; as a domain it is at ${addresses[n]}"
                fi
                xml=$(domain "$n" "$name") || exit 1
                virsh define /dev/stdin <<<"$xml" || fail "libvirt does not take $here/$prefix$n.xml and what is added to it" \
                    "this needs a running libvirtd, and root or the group libvirt"
                say "$name: defined"
                ;;
            start)
                if [[ $(domain_state "$name") == running ]]; then
                    say "$name: runs already"
                    continue
                fi
                [[ -n ${domain_names[${uuids[n]}]:-} ]] || fail "libvirt has no domain $name" "define it first: $0 libvirt define $n"
                virsh start "$name" || fail "libvirt does not start $name" \
                    "libvirt's QEMU may be another user, who must be able to pass through $here and the directories of what is added, and have the shared memory"
                say "$name: started"
                ;;
            # All at once: each may take as long as its time limit.
            shutdown) shut_down_domain "$name" & ;;
            undefine)
                [[ $(domain_state "$name") != running ]] || fail "$name is running" "first: $0 libvirt shutdown $n"
                if virsh undefine --nvram "$name"; then say "$name: undefined"; fi
                ;;
        esac
    done
    wait
    if [[ $verb == start ]]; then
        for ((n = 1; n <= nodes; n++)); do say "$n ${addresses[n]} 22"; done | ssh_configuration | publish_ssh_config
        say "log in: ssh -F $here/fabric_ssh_config ${prefix}1"
    fi
}

# The power button, now and then, as in `stop`; then force.
shut_down_domain() {
    local seconds=0
    while [[ $(domain_state "$1") == running ]]; do
        ((seconds < ${STOP_TIMEOUT:-90})) || break
        if ((seconds % 10 == 0)); then virsh shutdown "$1" || true; fi
        sleep 1
        seconds=$((seconds + 1))
    done
    if [[ $(domain_state "$1") != running ]]; then
        say "$1: off"
        return
    fi
    warn "$1 did not shut down within ${STOP_TIMEOUT:-90} seconds and is forced to"
    virsh destroy "$1"
}
