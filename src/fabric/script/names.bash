
# ---------------------------------------------------------------------------------------------------- names on this host
#
# The first cluster of a host has the well-known names (first_*). Where another cluster has these, this one has names of
# its own (own_*), which have its id in them. `names` says which: first or own.

# use_names first|own: the names of libvirt's network and of its bridge, into `network` and `bridge`.
use_names() {
    names=$1
    if [[ $names == own ]]; then
        network=$own_network bridge=$own_bridge
    else
        network=$first_network bridge=$first_bridge
    fi
}
use_names first

# The hardware address $1, as it is with these names.
mac() {
    if [[ $names == own ]]; then say "${1/$first_mac_part/$own_mac_part}"; else say "$1"; fi
}

# Whether the bridge with the well-known name is another cluster's. That of this cluster has the hardware address that
# libvirt got with its network.
is_bridge_taken() {
    local address
    { read -r address <"/sys/class/net/$first_bridge/address"; } 2>/dev/null && [[ $address != "$bridge_mac" ]]
}

# Finds the names for nodes that are processes of this script: by what there is on the host, without asking libvirt.
choose_names() {
    if [[ -d /sys/class/net/$own_bridge ]] || is_bridge_taken; then
        use_names own
    elif [[ ! -d /sys/class/net/$first_bridge && $shm == "$own_memory" ]]; then
        use_names own
    else
        use_names first
    fi
}

# is_memory_taken FILE [SECONDS]: whether the shared memory in FILE is another cluster's, now and for so long. Nodes hold a
# lock on theirs. Domains of libvirt hold none, but are processes of another user.
is_memory_taken() {
    [[ -e $1 ]] || return
    [[ -f $1 && -r $1 && -w $1 ]] || return 0
    if ((EUID == 0)) && [[ ! -O $1 ]]; then return 0; fi
    ! (exec {lock}<>"$1" && flock -x -w "${2:-0}" "$lock") 2>/dev/null
}

# The domains that libvirt has: their names by UUID, and the other way round.
declare -A domain_names=() domain_uuids=()

read_domains() {
    local list uuid name
    list=$(virsh list --all --uuid --name 2>&1) || fail "libvirt does not answer: ${list#error: }" \
        "this needs a running libvirtd, and root or the group libvirt"
    while read -r uuid name; do
        if [[ -n $uuid ]]; then domain_names[$uuid]=$name domain_uuids[$name]=$uuid; fi
    done <<<"$list"
}

# The UUID of libvirt's network $1, or nothing where there is none.
uuid_of_network() { virsh net-uuid "$1" 2>/dev/null || true; }

# Finds the names for what libvirt is to run. What it has of this cluster already decides.
choose_libvirt_names() {
    local n uuid first other=no
    read_domains
    first=$(uuid_of_network "$first_network")
    if [[ -n $first && $first != "$network_uuid" ]] || is_bridge_taken; then other=yes; fi
    for ((n = 1; n <= nodes; n++)); do
        case ${domain_names[${uuids[n]}]:-} in
            "$prefix$n") use_names first && return ;;
            "$(own_domain_name "$n")") use_names own && return ;;
        esac
        uuid=${domain_uuids[$prefix$n]:-}
        if [[ -n $uuid && $uuid != "${uuids[n]}" ]]; then other=yes; fi
    done
    if [[ $first == "$network_uuid" ]]; then
        use_names first
    elif [[ $other == yes || -n $(uuid_of_network "$own_network") ]]; then
        use_names own
    else
        use_names first
    fi
}

own_domain_name() { printf '%s' "$prefix$1${own_network#"$first_network"}"; }

# The name of node $1's domain: that by which libvirt knows it, else the one that it is to get.
domain_name() {
    local known=${domain_names[${uuids[$1]}]:-}
    if [[ -n $known ]]; then
        say "$known"
    elif [[ $names == own ]]; then
        say "$(own_domain_name "$1")"
    else
        say "$prefix$1"
    fi
}
