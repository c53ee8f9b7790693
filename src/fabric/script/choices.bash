
# ------------------------------------------------------------------------------------------------------- how nodes run

need_qemu() {
    examine_qemu || fail "$detail" "$hint"
    examine_device || fail "$detail" "$hint"
    if boots_by_uefi; then examine_firmware || fail "$detail" "$hint"; fi
}

choose_acceleration() {
    local why_not=''
    case ${ACCEL:-} in
        kvm | tcg) accel=$ACCEL ;;
        '') if examine_kvm_for_fabric; then accel=kvm; else accel=tcg why_not=$detail; fi ;;
        *) fail "ACCEL=$ACCEL is neither kvm nor tcg" ;;
    esac
    if [[ $accel == kvm ]]; then
        say "processors: KVM"
    else
        say "processors: emulated (TCG), slower than KVM${why_not:+: $why_not}"
    fi
    if [[ $fabric == cxl ]]; then say "CXL memory: $cxl_access"; fi
}

# Nodes that run already decide, since all must be on one network.
choose_network() {
    local wanted=${NET:-} running=
    if any_runs && [[ -r $run/net ]]; then running=$(<"$run/net"); fi
    if [[ -n $running ]]; then
        if [[ -n $wanted && $wanted != "$running" ]]; then
            fail "nodes are running with NET=$running" "stop them before NET=$wanted is used: $0 stop"
        fi
        wanted=$running
    fi
    case $wanted in
        user) net=user ;;
        bridge)
            examine_bridge || fail "NET=bridge cannot be used: $detail" "$hint"
            net=bridge
            ;;
        '') if examine_bridge; then net=bridge; else net=user; fi ;;
        *) fail "NET=$wanted is neither bridge nor user" ;;
    esac
    if [[ $net == bridge ]]; then
        say "network: bridge $bridge of libvirt's network $network"
    elif [[ -n $wanted ]]; then
        say "network: user mode"
    else
        say "network: user mode, since $detail (to change that: $hint)"
    fi
    printf '%s\n' "$net" >"$run/net"
}

# A TCP port on which nothing listens: PORT + N, or else some hundreds above. Nodes that run hold theirs.
free_port() {
    local port=$first_port try
    # Of the cluster's own where another one is there, so that each has its ports whichever starts first.
    if [[ $shm == "$own_memory" ]]; then port=$own_port; fi
    port=$((${PORT:-$port} + $1))
    for try in 1 2 3 4 5; do
        if ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            printf '%s' "$port"
            return
        fi
        port=$((port + 300))
    done
    fail "no port is free for ssh to $prefix$1 (the last one tried, the ${try}th, was $((port - 300)))" \
        "begin elsewhere: PORT=20022 $0"
}
