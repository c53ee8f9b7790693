
# --------------------------------------------------------------------------------------------------------------- nodes

start_node() {
    local n=$1 name=$prefix$1 port output run_path=${run//,/,,} image_path shm_path=${shm//,/,,}
    local mac second_mac
    local -a arguments shared_directories virtiofsd_processes=()
    mac=$(mac "${macs[n]}") second_mac=$(mac "${second_macs[n]}")
    # In QEMU's options a comma stands for itself where it is doubled.
    image_path=${here//,/,,}/$name.qcow2
    arguments=(
        -name "$name" -nodefaults -no-user-config -display none -rtc base=utc
        -chardev "socket,id=serial,path=$run_path/$name.console,server=on,wait=off,logfile=$run_path/$name.log"
        -serial chardev:serial
        -chardev "socket,id=qmp,path=$run_path/$name.qmp,server=on,wait=off" -mon "chardev=qmp,mode=control"
        -chardev "pipe,id=monitor,path=$run_path/$name.monitor" -mon "chardev=monitor,mode=readline"
        -pidfile "$run/$name.pid" -daemonize
    )
    add_machine
    if boots_by_uefi; then add_firmware "$name"; fi
    if [[ $accel == kvm ]]; then
        arguments+=(-accel kvm -cpu "host$cpu_flags" -smp "$cpus")
    else
        # With room for a second processor, without which atomic operations are not atomic for other nodes.
        arguments+=(-accel "tcg,thread=multi" -cpu "max$cpu_flags" -smp "cpus=$cpus,maxcpus=$most_cpus")
    fi
    if [[ $net == bridge ]]; then
        arguments+=(-netdev "bridge,id=outside,br=$bridge,helper=$helper")
        if [[ -n $(forwards "$n") ]]; then warn "$name: --forward is for user mode; here it is at ${addresses[n]}"; fi
        say "${addresses[n]} 22" >"$run/$name.ssh"
    else
        port=$(free_port "$n")
        # eth0: what lies beyond the host. eth1: all nodes' frames, multicast inside this host alone.
        arguments+=(
            -netdev "user,id=outside,ipv6=off,$(forward_to "$n" "$port" 22)$(forwards "$n")${user_network:+,$user_network}"
            -netdev "socket,id=nodes,mcast=$multicast,localaddr=127.0.0.1"
        )
        add_second_interface
        say "127.0.0.1 $port" >"$run/$name.ssh"
    fi
    add_additions "$n"
    # Behind what is added, whose names then do not depend on it.
    if [[ -r $here/$name-seed.img ]]; then
        arguments+=(
            -drive "if=none,id=seed,format=raw,readonly=on,file=${image_path%.qcow2}-seed.img"
            -device "virtio-blk-pci,bus=$bus,drive=seed"
        )
    fi

    # QEMU takes a pipe by the name that these two have before `.in` and `.out`. Bash can write to
    # it without other programs, which it cannot to a socket.
    mkfifo -m 600 -- "$run/$name.monitor.in" "$run/$name.monitor.out"
    # From within the directory, since in the path after -D a percent sign would be a directive.
    if ! start_virtiofsd "$name"; then
        output=$(virtiofsd_said "$name")
        end_virtiofsd
        forget_node "$n"
        fail "$name does not start, since $virtiofsd serves no directory:$output"
    fi
    if ! output=$(cd -- "$run" && "$qemu" "${arguments[@]}" -D "$name.qemu" 2>&1 </dev/null); then
        [[ -s $run/$name.qemu ]] && output+=$'\n'$(<"$run/$name.qemu")
        output+=$(virtiofsd_said "$name")
        end_virtiofsd
        forget_node "$n"
        fail "$name does not start: ${output#"$qemu": }"
    fi
    remove_sockets "$name"
    say "$name: started"
}

forget_node() {
    local name=$prefix$1 kind
    for kind in pid console qmp monitor.in monitor.out log qemu ssh answered vars; do rm -f -- "$run/$name.$kind"; done
    rm -f -- "$run/$name".virtiofs*
}

# Leaves things as they belong to the nodes that run now; where none is left, removes what start made.
clean_up() {
    if any_runs; then
        write_ssh_config
        return
    fi
    remove_shared_memory
    rm -f -- "$run/net" "$run/ssh_config" "$run/known_hosts"
    rmdir -- "$run" || warn "$run stays: it holds files that are not of this script"
}

# find_images N...: whether the disks of these nodes are there, and this user's to write.
find_images() {
    local n disk image missing=()
    for n in "$@"; do
        for disk in '' "${further_disks[@]+"${further_disks[@]/#/-}"}"; do
            image=$here/$prefix$n$disk.qcow2
            if [[ ! -e $image ]]; then
                missing+=("${image##*/}")
            elif [[ ! -r $image || ! -w $image ]]; then
                fail "$image belongs to the user $(stat -L -c %U -- "$image"), and this user may not read and write it" \
                    "start the nodes as that user, or have it give the images away: chown"
            fi
        done
    done
    ((${#missing[@]} == 0)) || fail "not in $here: ${missing[*]}" "build them: fam-build --output $here $nodes"
}

start() {
    local n id
    choose_with_additions "$@"
    find_images "${chosen[@]}"
    find_additions "${chosen[@]}"
    need_qemu
    if has_addition --virtiofs; then examine_virtiofsd || fail "$detail" "$hint"; fi
    make_run_directory
    # Also where a node does not start: nothing is to stay of what is made from here on.
    trap clean_up EXIT
    helper=''
    choose_acceleration
    choose_shared_memory
    choose_names
    choose_network
    prepare_shared_memory
    examine_memory "${#chosen[@]}" || warn "$detail"
    id=$(cluster_id)
    # A group of an organization's own (RFC 2365), and of this cluster, so that two clusters on one
    # host do not hear each other.
    multicast=239.192.$((id >> 8 & 255)).$((id & 255)):$((20000 + id % 10000))
    for n in "${chosen[@]}"; do
        if pid_of "$n" >/dev/null; then
            say "$prefix$n: runs already"
            continue
        fi
        forget_node "$n"
        start_node "$n"
    done
    trap - EXIT
    clean_up
    say "log in: $0 ssh ${chosen[0]}"
}

stop() {
    local n pid left=() waiting seconds=0
    choose_nodes "$@"
    for n in "${chosen[@]}"; do
        if pid_of "$n" >/dev/null; then left+=("$n"); else forget_node "$n"; fi
    done
    ((${#left[@]} > 0)) && say "shutting down: ${left[*]/#/$prefix}"
    while ((${#left[@]} > 0 && seconds < ${STOP_TIMEOUT:-90})); do
        waiting=()
        for n in "${left[@]}"; do
            if ! pid_of "$n" >/dev/null; then
                forget_node "$n"
                continue
            fi
            waiting+=("$n")
            # Pressed again now and then: a system that has not yet booted far enough does not hear the power button.
            # Opened for reading, too, which never waits for a reader.
            if ((seconds % 10 == 0)); then printf 'system_powerdown\n' 1<>"$run/$prefix$n.monitor.in" || true; fi
        done
        left=("${waiting[@]+"${waiting[@]}"}")
        ((${#left[@]} > 0)) && sleep 1
        seconds=$((seconds + 1))
    done
    for n in "${left[@]+"${left[@]}"}"; do
        warn "$prefix$n did not shut down within ${STOP_TIMEOUT:-90} seconds and is forced to"
        for signal in TERM KILL; do
            if pid=$(pid_of "$n"); then kill -s "$signal" "$pid" 2>/dev/null || true; fi
            for ((seconds = 0; seconds < 50; seconds++)); do
                pid_of "$n" >/dev/null || break
                sleep 0.1
            done
        done
        forget_node "$n"
    done
    if [[ -d $run ]]; then clean_up; fi
}

status() {
    local n pid address port
    printf '%-12s %-9s %-8s %s\n' NODE STATE PID SSH
    for ((n = 1; n <= nodes; n++)); do
        if pid=$(pid_of "$n"); then
            address=- port=
            { read -r address port <"$run/$prefix$n.ssh"; } 2>/dev/null || true
            if [[ -s $run/$prefix$n.qemu ]] && grep -q 'internal error' "$run/$prefix$n.qemu"; then
                printf '%-12s %-9s %-8s %s\n' "$prefix$n" crashed "$pid" "KVM failed; start it with ACCEL=tcg"
            else
                printf '%-12s %-9s %-8s %s\n' "$prefix$n" running "$pid" "$address port $port"
            fi
        else
            printf '%-12s %-9s %-8s %s\n' "$prefix$n" stopped - -
        fi
    done
}
