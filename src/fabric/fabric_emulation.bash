
set -euo pipefail

# Of the caller's choice:
#   NET=bridge|user      the libvirt network, or user-mode networking   (default: bridge where it can be used)
#   ACCEL=kvm|tcg        the host's processors, or translation          (default: kvm where it really works)
#   SHM=FILE             the shared memory                              (default: /dev/shm/fabric_em)
#   PORT=NUMBER          node N's ssh is at this port plus N            (default: 10022; user-mode networking only)
#   RUN=DIRECTORY        sockets, logs and pid files                    (default: fabric_run beside the images)
#   BOOT_TIMEOUT=SECONDS how long ssh waits for a node that says nothing (default: 300)
#   STOP_TIMEOUT=SECONDS how long nodes may take to shut down           (default: 90)
#   QEMU=PROGRAM         the emulator                                   (default: qemu-system-x86_64)

readonly bridge=fabric_em network=fabric_emul host_address=192.168.42.254

here=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
readonly here
why_not=

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }

# fail MESSAGE [HINT...]
fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    if (($# > 0)); then printf 'hint: %s\n' "$@" >&2; fi
    exit 1
}

usage() {
    cat <<EOF
Usage: $(basename -- "$0") [COMMAND]

Runs the $nodes virtual machines that were built here. They share one memory.

  start [N...]       start all nodes, or these (also without a command)
  stop [N...]        shut down all nodes, or these; force what does not end by itself
  status             what runs, and how to reach it
  ssh N [COMMAND]    log in to node N as the user fabric, or run a command there
  console N          the serial console of node N; leave it with Ctrl-]
  log N [-f]         what node N wrote to its serial console; -f goes on as it grows
  network up|down    define and start, or stop and remove, the libvirt network $network
  libvirt define|start|shutdown|undefine [N...]
                     all nodes, or these, as domains of libvirt instead of processes of this script
  help               this text

Environment: NET=bridge|user, ACCEL=kvm|tcg, SHM=FILE, PORT=NUMBER, RUN=DIRECTORY, BOOT_TIMEOUT=SECONDS,
STOP_TIMEOUT=SECONDS, QEMU=PROGRAM
EOF
}

# ---------------------------------------------------------------------------------------------------- state of a run

# A name for this cluster that no other directory has.
cluster_id() {
    local sum
    sum=$(printf '%s' "$here" | cksum)
    printf '%s' "${sum%% *}"
}

# The address of a UNIX socket has at most 107 bytes, so a deep directory's sockets go to /tmp.
choose_run_directory() {
    if [[ -n ${RUN:-} ]]; then
        run=$RUN
        [[ $run == /* ]] || run=$PWD/$run
    elif [[ -w $here ]] && ((${#here} + ${#prefix} < 70)); then
        run=$here/fabric_run
    else
        run=/tmp/fabric_emulation-$EUID-$(cluster_id)
    fi
}

make_run_directory() {
    if [[ ! -d $run ]]; then mkdir -m 700 -- "$run" || fail "$run cannot be made" "name another directory: RUN=DIRECTORY"; fi
    if [[ -L $run || ! -O $run ]]; then
        fail "$run belongs to somebody else" "name another directory: RUN=DIRECTORY"
    fi
    chmod 700 -- "$run"
}

# The process of node $1, if it runs. A pid file may be old and its number taken by another process, so that process must
# have been started with this very pid file.
pid_of() {
    local file=$run/$prefix$1.pid pid
    { read -r pid <"$file"; } 2>/dev/null || return 1
    [[ $pid =~ ^[0-9]+$ ]] || return 1
    { tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -xF -e "$file" >/dev/null || return 1
    printf '%s' "$pid"
}

any_runs() {
    local n
    for ((n = 1; n <= nodes; n++)); do
        if pid_of "$n" >/dev/null; then return 0; fi
    done
    return 1
}

# The numbers in the arguments, or of all nodes, into `chosen`.
choose_nodes() {
    local n
    chosen=()
    if (($# == 0)); then
        for ((n = 1; n <= nodes; n++)); do chosen+=("$n"); done
        return
    fi
    for n in "$@"; do
        n=${n#"$prefix"}
        if [[ ! $n =~ ^[1-9][0-9]{0,2}$ ]] || ((n > nodes)); then
            fail "there is no node $n" "the nodes are 1 to $nodes"
        fi
        chosen+=("$n")
    done
}

# one_node COMMAND [N...]: exactly one number, of a node that runs.
one_node() {
    (($# == 2)) || fail "$1 takes the number of one node" "as in: $0 $1 1"
    choose_nodes "$2"
    pid_of "${chosen[0]}" >/dev/null || fail "$prefix${chosen[0]} does not run" "start it: $0 start ${chosen[0]}"
}

# ---------------------------------------------------------------------------------------------- what the host can do

find_qemu() {
    local candidate output device
    qemu=
    for candidate in "${QEMU:-qemu-system-x86_64}" /usr/libexec/qemu-kvm; do
        if qemu=$(command -v -- "$candidate"); then break; fi
    done
    [[ -n $qemu ]] || fail "QEMU is not installed" \
        "Debian, Ubuntu: apt install qemu-system-x86; Fedora: dnf install qemu-system-x86; Arch: pacman -S qemu-system-x86"
    output=$("$qemu" -device help 2>&1) || fail "$qemu does not run: $output"
    case $fabric in
        ivshmem) device=ivshmem-plain ;;
        nvdimm) device=nvdimm ;;
        cxl) device=cxl-type3 ;;
    esac
    if [[ $output != *"\"$device\""* ]]; then
        fail "$qemu was built without the device $device, which shows the shared memory to the nodes" \
            "install another build, as Debian's or Arch's qemu-system-x86, or name one: QEMU=PROGRAM"
    fi
    [[ $fabric != cxl || $("$qemu" -device cxl-type3,help) == *volatile-memdev* ]] ||
        fail "$qemu is too old for a CXL device with volatile memory" "install QEMU 8.1 or newer, or name one: QEMU=PROGRAM"
}

# A KVM that can be opened may still fail to run a system, nested in another hypervisor above all. So a boot sector is run
# that goes to long mode, turns paging on, runs an instruction that decompressors use, and ends QEMU with exit status 85.
kvm_works() {
    local code image status=0
    why_not='there is no /dev/kvm'
    [[ -e /dev/kvm ]] || return 1
    why_not='/dev/kvm may not be used by this user (the group kvm may)'
    [[ -r /dev/kvm && -w /dev/kvm ]] || return 1
    code='@KVM_PROBE@'
    image=$(mktemp)
    printf '%b' "$code" >"$image"
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
    why_not='/dev/kvm is there, but a trial system did not run in it'
    ((status == 85))
}

choose_acceleration() {
    case ${ACCEL:-} in
        kvm | tcg) accel=$ACCEL ;;
        '')
            # Each access to CXL memory leaves the guest, and KVM emulates but plain instructions there: no vectors.
            if [[ $fabric == cxl ]]; then
                accel=tcg why_not='programs may fail on CXL memory in KVM; ACCEL=kvm insists'
            elif kvm_works; then
                accel=kvm
            else
                accel=tcg
            fi
            ;;
        *) fail "ACCEL=$ACCEL is neither kvm nor tcg" ;;
    esac
    if [[ $accel == kvm ]]; then
        say "processors: KVM"
    else
        say "processors: emulated (TCG), slower than KVM${why_not:+: $why_not}"
    fi
}

# Whether this user can plug a node into the bridge. The helper is given a real try: its rules may be unreadable.
bridge_works() {
    local candidate output
    why_not="the bridge $bridge is not up" hint="$0 network up"
    [[ -d /sys/class/net/$bridge/bridge ]] || return 1
    helper=
    for candidate in /run/wrappers/bin /usr/lib/qemu /usr/libexec /usr/lib64/qemu /usr/lib /usr/libexec/qemu \
        /usr/lib/qemu/bin /usr/local/libexec; do
        if [[ -x $candidate/qemu-bridge-helper ]]; then
            helper=$candidate/qemu-bridge-helper
            break
        fi
    done
    why_not='qemu-bridge-helper is not installed' hint='Fedora: dnf install qemu-common; elsewhere it comes with QEMU'
    [[ -n $helper ]] || return 1
    why_not="$helper may not make interfaces for users" hint="sudo chmod u+s $helper"
    # Debian's way outlasts upgrades.
    if command -v dpkg-statoverride >/dev/null; then hint="sudo dpkg-statoverride --update --add root root 4755 $helper"; fi
    [[ $EUID == 0 || -u $helper ]] || return 1
    why_not='/dev/net/tun, which makes interfaces, is not there' hint='sudo modprobe tun'
    [[ -e /dev/net/tun ]] || return 1
    # The helper gives up root's right to pass over modes before it opens this.
    why_not='/dev/net/tun may not be used by this user' hint='sudo chmod 666 /dev/net/tun'
    [[ -r /dev/net/tun && -w /dev/net/tun ]] || return 1
    if output=$(printf 'quit\n' | timeout 10 "$qemu" -machine none -nodefaults -no-user-config -display none \
        -monitor stdio -netdev "bridge,id=trial,br=$bridge,helper=$helper" 2>&1); then
        return 0
    fi
    why_not="$helper does not give access to $bridge"
    if [[ $output == *[Aa]cl* || $output == *denied* ]]; then
        hint="sudo mkdir -p /etc/qemu; echo 'allow $bridge' | sudo tee -a /etc/qemu/bridge.conf"
    else
        hint="see what it says: ${output##*$'\n'}"
    fi
    return 1
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
            bridge_works || fail "NET=bridge cannot be had: $why_not" "$hint"
            net=bridge
            ;;
        '') if bridge_works; then net=bridge; else net=user; fi ;;
        *) fail "NET=$wanted is neither bridge nor user" ;;
    esac
    if [[ $net == bridge ]]; then
        say "network: bridge $bridge of libvirt's network $network"
    elif [[ -n $wanted ]]; then
        say "network: user mode"
    else
        say "network: user mode, since $why_not (to change that: $hint)"
    fi
    printf '%s\n' "$net" >"$run/net"
}

# A TCP port on which nothing listens: PORT + N, or else some hundreds above. Nodes that run hold theirs.
free_port() {
    local port=$((${PORT:-10022} + $1)) try
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

# Whether directory $1 holds huge pages, into `huge`; they must be free already.
check_huge_pages() {
    local kib free needed pool
    huge=no
    [[ $(stat -f -c %T -- "$1") == hugetlbfs ]] || return 0
    huge=yes
    kib=$(($(stat -f -c %s -- "$1") / 1024))
    pool=/sys/kernel/mm/hugepages/hugepages-${kib}kB
    free=$(($(<"$pool/free_hugepages") - $(<"$pool/resv_hugepages")))
    needed=$(((shm_mib * 1024 + kib - 1) / kib))
    ((shm_mib * 1024 % kib == 0)) || fail "the shared memory, $shm_mib MiB, is no whole number of huge pages of $kib KiB" \
        "take smaller pages, or a file elsewhere: SHM=FILE $0"
    ((free >= needed)) || fail "the shared memory needs $needed huge pages of $kib KiB, and $free are free" \
        "set more aside: echo $(($(<"$pool/nr_hugepages") + needed - free)) | sudo tee $pool/nr_hugepages"
}

# The memory takes room only as nodes write to it, and a node that writes where no room is left is killed.
prepare_shared_memory() {
    local directory available size
    shm=${SHM:-/dev/shm/fabric_em}
    [[ $shm == /* ]] || shm=$PWD/$shm
    directory=$(dirname -- "$shm")
    if [[ -e $shm ]]; then
        [[ -f $shm && -r $shm && -w $shm ]] || fail "the shared memory $shm is not this user's" "take another: SHM=FILE $0"
        size=$(stat -L -c %s -- "$shm")
        if ((size != shm_mib * 1048576)); then
            fail "$shm has $size bytes, but the nodes share $shm_mib MiB" "remove it if nobody uses it, or take another: SHM=FILE"
        fi
        if ! any_runs; then say "shared memory: $shm, which was there and keeps its contents"; fi
        return
    fi
    [[ -d $directory && -w $directory ]] || fail "the shared memory $shm cannot be made" "take another file: SHM=FILE $0"
    check_huge_pages "$directory"
    available=$(df -Pk -- "$directory" | awk 'NR == 2 { print int($4 / 1024) }')
    if [[ $huge == no ]] && ((available < shm_mib)); then
        fail "the shared memory needs $shm_mib MiB, and $directory has $available MiB left" \
            "make it larger (sudo mount -o remount,size=${shm_mib}M $directory), or take a file elsewhere: SHM=FILE $0"
    fi
    # Without overwriting: what another user may have put there meanwhile is not touched.
    (
        set -o noclobber
        umask 077
        : >"$shm"
    ) || fail "the shared memory $shm cannot be made" "take another file: SHM=FILE $0"
    printf '%s\n' "$shm" >"$run/shared_memory_made"
    truncate -s "${shm_mib}M" -- "$shm"
    say "shared memory: $shm, $shm_mib MiB"
}

check_memory() {
    local available needed
    available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
    needed=$((${#chosen[@]} * memory_mib + shm_mib))
    if ((available < needed)); then
        warn "the nodes may take up to $needed MiB of memory, and $available MiB are available"
    fi
}

# ------------------------------------------------------------------------------------------------------------ commands

# The machine, its memory, and the device that shows it the shared memory, into `machine`; its first bus into `bus`; what
# its processors do not tell Linux into `hidden`.
choose_machine() {
    bus=pci.0 hidden=
    local memory="memory-backend-file,id=fabric,share=on,mem-path=${shm//,/,,},size=${shm_mib}M"
    case $fabric in
        ivshmem)
            machine=(-machine pc -m "${memory_mib}M" -object "$memory" -device "ivshmem-plain,memdev=fabric,bus=$bus,addr=04.0")
            ;;
        nvdimm)
            # Without a label area, of which each node would need its own: the whole module is one namespace.
            machine=(
                -machine "pc,nvdimm=on" -m "${memory_mib}M,slots=1,maxmem=$((memory_mib + shm_mib))M"
                -object "$memory" -device "nvdimm,memdev=fabric,id=module"
            )
            ;;
        cxl)
            # Volatile memory, which has no label area. The window is as large as the memory.
            bus=pcie.0
            # Where Linux sees a hypervisor, it makes no region of CXL memory: caches might not be flushed for it.
            hidden=,hypervisor=off
            machine=(
                -machine "q35,cxl=on,cxl-fmw.0.targets.0=cxl_host,cxl-fmw.0.size=${shm_mib}M" -m "${memory_mib}M"
                -object "$memory" -device "pxb-cxl,id=cxl_host,bus=$bus,addr=08.0,bus_nr=12"
                -device "cxl-rp,id=cxl_port,bus=cxl_host,port=0,chassis=0,slot=1"
                -device "cxl-type3,id=cxl_memory,bus=cxl_port,volatile-memdev=fabric"
            )
            ;;
    esac
}

# Every device has its slot written down, so that the shared memory is at 00:04.0 whatever else there is.
start_node() {
    local n=$1 name=$prefix$1 number port output image bus hidden
    local -a arguments machine
    choose_machine
    number=$(printf '%02x' "$n")
    image=$here/$name.qcow2
    arguments=(
        -name "$name" -nodefaults -no-user-config -display none -rtc base=utc
        "${machine[@]}"
        -device "VGA,bus=$bus,addr=02.0"
        -drive "if=none,id=disk,format=qcow2,discard=unmap,file=${image//,/,,}"
        -device "virtio-blk-pci,drive=disk,bus=$bus,addr=05.0,bootindex=1"
        -object "rng-random,id=random,filename=/dev/urandom" -device "virtio-rng-pci,rng=random,bus=$bus,addr=07.0"
        -chardev "socket,id=serial,path=${run//,/,,}/$name.console,server=on,wait=off,logfile=${run//,/,,}/$name.log"
        -serial chardev:serial
        -chardev "socket,id=qmp,path=${run//,/,,}/$name.qmp,server=on,wait=off" -mon "chardev=qmp,mode=control"
        -chardev "pipe,id=monitor,path=${run//,/,,}/$name.monitor" -mon "chardev=monitor,mode=readline"
        -pidfile "$run/$name.pid" -daemonize
    )
    if [[ $accel == kvm ]]; then
        arguments+=(-accel kvm -cpu "host$hidden" -smp "$cpus")
    else
        # With room for a second processor, without which atomic operations are not atomic for other nodes.
        arguments+=(-accel "tcg,thread=multi" -cpu "max$hidden" -smp "cpus=$cpus,maxcpus=$most_cpus")
    fi
    if [[ $net == bridge ]]; then
        arguments+=(-netdev "bridge,id=outside,br=$bridge,helper=$helper")
        printf '192.168.42.%d 22\n' "$n" >"$run/$name.ssh"
    else
        port=$(free_port "$n")
        # eth0: what lies beyond the host. Its small network lies around vmhost's address, so that vmhost answers, too;
        # that takes the numbers from 248 on. eth1: all nodes' frames, multicast inside this host alone.
        arguments+=(
            -netdev "user,id=outside,ipv6=off,hostfwd=tcp:127.0.0.1:$port-:22$user_network"
            -netdev "socket,id=nodes,mcast=$multicast,localaddr=127.0.0.1"
            -device "virtio-net-pci,netdev=nodes,mac=52:54:48:50:46:$number,bus=$bus,addr=06.0,romfile="
        )
        printf '127.0.0.1 %d\n' "$port" >"$run/$name.ssh"
    fi
    arguments+=(-device "virtio-net-pci,netdev=outside,mac=52:54:48:50:45:$number,bus=$bus,addr=03.0,romfile=")

    mkfifo -m 600 -- "$run/$name.monitor.in" "$run/$name.monitor.out"
    # From within the directory, since in the path after -D a percent sign would be a directive.
    if ! output=$(cd -- "$run" && "$qemu" "${arguments[@]}" -D "$name.qemu" 2>&1 </dev/null); then
        [[ -s $run/$name.qemu ]] && output+=$'\n'$(<"$run/$name.qemu")
        forget_node "$n"
        fail "$name does not start: ${output#"$qemu": }"
    fi
    say "$name: started"
}

forget_node() {
    local name=$prefix$1 kind
    for kind in pid console qmp monitor.in monitor.out log qemu ssh answered; do rm -f -- "$run/$name.$kind"; done
}

# Leaves things as they belong to the nodes that run now; where none is left, removes what start made.
settle() {
    local made
    if any_runs; then
        write_ssh_config
        return
    fi
    if [[ -r $run/shared_memory_made ]]; then
        made=$(<"$run/shared_memory_made")
        rm -f -- "$made" "$run/shared_memory_made"
    fi
    rm -f -- "$run/net" "$run/ssh_config" "$run/known_hosts"
    rmdir -- "$run" || warn "$run stays: it holds files that are not of this script"
}

# One word of an ssh configuration: quoted, and its percent signs no tokens.
quoted() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    printf '"%s"' "${text//%/%%}"
}

# An ssh configuration, from lines with a node's number, address and port.
ssh_configuration() {
    local n address port known=$here/fabric_known_hosts strict=yes
    if [[ ! -r $known ]]; then known=$run/known_hosts strict=accept-new; fi
    say "# Written by $(basename -- "$0"); ssh -F fabric_ssh_config NODE"
    while read -r n address port; do
        printf 'Host %s\n    HostName %s\n    Port %d\n' "$prefix$n" "$address" "$port"
        printf '    HostKeyAlias %s\n' "$prefix$n"
    done
    printf 'Host %s*\n    User fabric\n' "$prefix"
    if [[ -r $here/fabric_ssh_key ]]; then
        printf '    IdentityFile %s\n    IdentitiesOnly yes\n' "$(quoted "$here/fabric_ssh_key")"
    fi
    printf '    UserKnownHostsFile %s\n    StrictHostKeyChecking %s\n' "$(quoted "$known")" "$strict"
}

# Puts the configuration on standard input over the one that was built, if that is the user's own. What root writes stays
# its owner's.
publish_ssh_config() {
    local config=$here/fabric_ssh_config
    if [[ -f $config && -w $here && (-O $config || $EUID == 0) ]]; then
        cat >"$config.part"
        if ((EUID == 0)); then chown --reference="$config" -- "$config.part"; fi
        mv -- "$config.part" "$config"
    else
        # Whoever writes to the pipe is not cut off.
        cat >/dev/null
    fi
}

# For the nodes as they run now.
write_ssh_config() {
    local n place
    for ((n = 1; n <= nodes; n++)); do
        if { read -r place <"$run/$prefix$n.ssh"; } 2>/dev/null; then say "$n $place"; fi
    done | ssh_configuration >"$run/ssh_config"
    publish_ssh_config <"$run/ssh_config"
}

start() {
    local n id missing=()
    choose_nodes "$@"
    for n in "${chosen[@]}"; do
        [[ -r $here/$prefix$n.qcow2 ]] || missing+=("$prefix$n.qcow2")
    done
    ((${#missing[@]} == 0)) || fail "not in $here: ${missing[*]}" "build them: fam-build --output $here $nodes"
    find_qemu
    make_run_directory
    trap settle EXIT
    helper='' hint=''
    choose_acceleration
    choose_network
    prepare_shared_memory
    check_memory
    id=$(cluster_id)
    multicast=239.192.$((id >> 8 & 255)).$((id & 255)):$((20000 + id % 10000))
    user_network=
    if ((nodes < 248)); then
        user_network=,net=192.168.42.248/29,host=$host_address,dns=192.168.42.253,dhcpstart=192.168.42.249
    fi
    for n in "${chosen[@]}"; do
        if pid_of "$n" >/dev/null; then
            say "$prefix$n: runs already"
            continue
        fi
        forget_node "$n"
        start_node "$n"
    done
    trap - EXIT
    settle
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
    if [[ -d $run ]]; then settle; fi
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

# Whether an ssh server is heard at this address and port. QEMU accepts a connection before the guest does.
answers() (
    banner=
    exec 3<>"/dev/tcp/$1/$2" && IFS= read -r -t 10 banner <&3
    [[ $banner == SSH-* ]]
) 2>/dev/null

# How many bytes node N has written to its console: they grow while it boots.
console_size() { wc -c <"$run/$prefix$1.log"; }

# Waits until node N's ssh server answers, for as long as it boots. A server soon refuses who often asks and does not log
# in, so it is not asked again while the console says nothing new.
await_ssh() {
    local name=$prefix$1 patience=${BOOT_TIMEOUT:-300} address port size last='' since=$SECONDS
    if [[ -r $run/$name.answered && $(<"$run/$name.answered") == "$(console_size "$1")" ]]; then return; fi
    read -r address port <"$run/$name.ssh"
    until answers "$address" "$port"; do
        pid_of "$1" >/dev/null || fail "$name has stopped" "start it again: $0 start $1"
        size=$(console_size "$1")
        if [[ -z $last ]]; then printf 'waiting for %s to boot …\n' "$name" >&2; fi
        if [[ $size != "$last" ]]; then last=$size since=$SECONDS; fi
        ((SECONDS - since < patience)) || fail "$name does not answer, and wrote nothing to its console for $patience s" \
            "see what it wrote: $0 log $1" "start it again: $0 stop $1; $0 start $1"
        sleep 1
    done
    # root may ask about a user's node; then this file is not the user's to write.
    { console_size "$1" >"$run/$name.answered"; } 2>/dev/null || true
}

ssh_to() {
    local n
    (($# > 0)) || fail "ssh takes the number of a node" "as in: $0 ssh 1"
    one_node ssh "$1"
    n=${chosen[0]}
    shift
    await_ssh "$n"
    exec ssh -F "$run/ssh_config" "$prefix$n" "$@"
}

console() {
    local socket
    one_node console "$@"
    socket=$run/$prefix${chosen[0]}.console
    if command -v socat >/dev/null; then
        say "console of $prefix${chosen[0]}; Ctrl-] leaves it, Enter shows the prompt"
        exec socat "-,raw,echo=0,escape=0x1d" "UNIX-CONNECT:$socket"
    elif nc -h 2>&1 | grep -q -e '-U'; then
        say "console of $prefix${chosen[0]}; Ctrl-C leaves it, Enter shows the prompt"
        exec nc -U "$socket"
    fi
    fail "neither socat nor an nc with -U is installed" "install socat; or read along: $0 log ${chosen[0]} -f"
}

# Also of a node that has stopped by itself, to see why.
show_log() {
    local log
    (($# == 1)) || [[ $# == 2 && $2 == -f ]] || fail "log takes the number of one node, and -f" "as in: $0 log 1 -f"
    choose_nodes "$1"
    log=$run/$prefix${chosen[0]}.log
    [[ -r $log ]] || fail "$prefix${chosen[0]} has no log: it was not started, or was stopped" "start it: $0 start ${chosen[0]}"
    if (($# == 2)); then exec tail -n +1 -f -- "$log"; fi
    cat -- "$log"
}

# The libvirt of the whole system, as its networks and the bridge are.
virsh() { command virsh -q -c qemu:///system "$@"; }

need_virsh() {
    type -P virsh >/dev/null || fail "virsh is not installed" \
        "Debian, Ubuntu: apt install libvirt-daemon-system libvirt-clients; Fedora: dnf install libvirt; or do without: NET=user"
}

network() {
    local state
    need_virsh
    case ${1:-} in
        up)
            if ! state=$(virsh net-info "$network" 2>/dev/null); then
                virsh net-define "$here/fabric_network.xml" || fail "libvirt does not take $here/fabric_network.xml" \
                    "this needs a running libvirtd, and root or the group libvirt"
                state=
            fi
            if [[ $state != *Active:*yes* ]]; then
                virsh net-start "$network" || fail "libvirt does not start the network $network" \
                    "is another network at 192.168.42.0/24, or the bridge $bridge there already? see: ip address"
            fi
            say "network $network is up on bridge $bridge"
            ;;
        down)
            if ! state=$(virsh net-info "$network" 2>/dev/null); then
                say "network $network is not there"
                return
            fi
            if [[ $state == *Active:*yes* ]]; then virsh net-destroy "$network"; fi
            virsh net-undefine "$network" || fail "libvirt does not remove the network $network" \
                "this needs root, or the group libvirt"
            say "network $network is gone"
            ;;
        *) fail "network takes up or down" ;;
    esac
}

# The domain of node $1 as this host can run it: only here is it known where the images are and whether KVM works.
domain() {
    local line kind=kvm cpu=host-model image=$here/$prefix$1.qcow2
    if [[ $accel == tcg ]]; then kind=qemu cpu=maximum; fi
    image=${image//&/\&amp;} image=${image//</\&lt;} image=${image//\'/\&apos;}
    while IFS= read -r line; do
        case $line in
            "<domain type="*) line="<domain type='$kind'${line#*\'*\'}" ;;
            *"<cpu mode="*) line="  <cpu mode='$cpu'${line##*\'}" ;;
            *"<source file="*) line="      <source file='$image'/>" ;;
        esac
        say "$line"
    done <"$here/$prefix$1.xml"
}

# The state of the domain of node $1, or nothing where libvirt has none.
domain_state() { virsh domstate "$prefix$1" 2>/dev/null || true; }

libvirt() {
    local verb=${1:-} n name
    need_virsh
    [[ $verb =~ ^(define|start|shutdown|undefine)$ ]] || fail "libvirt takes define, start, shutdown or undefine"
    shift
    choose_nodes "$@"
    if [[ $verb == define ]]; then
        find_qemu
        choose_acceleration
    elif [[ $verb == start ]]; then
        network up
    fi
    for n in "${chosen[@]}"; do
        name=$prefix$n
        case $verb in
            define)
                domain "$n" | virsh define /dev/stdin || fail "libvirt does not take $here/$name.xml" \
                    "this needs a running libvirtd, and root or the group libvirt"
                say "$name: defined"
                ;;
            start)
                if [[ $(domain_state "$n") == running ]]; then
                    say "$name: runs already"
                    continue
                fi
                [[ -n $(domain_state "$n") ]] || fail "libvirt has no domain $name" "define it first: $0 libvirt define $n"
                virsh start "$name" || fail "libvirt does not start $name" \
                    "libvirt's QEMU may be another user, who must be able to pass through $here, and have the shared memory"
                say "$name: started"
                ;;
            shutdown) shut_down_domain "$n" & ;;
            undefine)
                [[ $(domain_state "$n") != running ]] || fail "$name is running" "first: $0 libvirt shutdown $n"
                if virsh undefine "$name"; then say "$name: undefined"; fi
                ;;
        esac
    done
    wait
    if [[ $verb == start ]]; then
        for ((n = 1; n <= nodes; n++)); do say "$n 192.168.42.$n 22"; done | ssh_configuration | publish_ssh_config
        say "log in: ssh -F $here/fabric_ssh_config ${prefix}1"
    fi
}

# The power button, now and then, as in `stop`; then force.
shut_down_domain() {
    local seconds=0
    while [[ $(domain_state "$1") == running ]]; do
        ((seconds < ${STOP_TIMEOUT:-90})) || break
        if ((seconds % 10 == 0)); then virsh shutdown "$prefix$1" || true; fi
        sleep 1
        seconds=$((seconds + 1))
    done
    if [[ $(domain_state "$1") != running ]]; then
        say "$prefix$1: off"
        return
    fi
    warn "$prefix$1 did not shut down within ${STOP_TIMEOUT:-90} seconds and is forced to"
    virsh destroy "$prefix$1"
}

for variable in PORT BOOT_TIMEOUT STOP_TIMEOUT; do
    [[ ${!variable:-0} =~ ^(0|[1-9][0-9]{0,4})$ ]] || fail "$variable=${!variable} is not a number from 0 to 99999"
done
choose_run_directory
command=${1:-start}
if (($# > 0)); then shift; fi
case $command in
    start) start "$@" ;;
    stop) stop "$@" ;;
    status) status ;;
    ssh) ssh_to "$@" ;;
    console) console "$@" ;;
    log) show_log "$@" ;;
    network) network "$@" ;;
    libvirt) libvirt "$@" ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
