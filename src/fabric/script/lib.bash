set -euo pipefail

# What the functions named examine_* say of the host: what was found, or what is in the way; and what to do about that.
detail='' hint=''

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
    cat <<USAGE
Usage: $(basename -- "$0") [COMMAND]

Runs the $nodes virtual machines that were built here. They share one memory.

  start [OPTION...] [N...] [-- ARGUMENT...]
                     start all nodes, or these (also without a command), with what is added to them:
      --disk FILE            a further disk, qcow2 or raw; {} in FILE stands for the node's number
      --cdrom FILE           a CD
      --forward PORT:GUEST   in user mode, port PORT of this host leads to port GUEST of node 1, PORT + 1 to that of node 2
      --share DIR[:TAG]      a directory of this host; in the node: mount -t 9p TAG /mnt [TAG: share]
      --virtiofs DIR[:TAG]   the same by virtiofsd, which is faster; in the node: mount -t virtiofs TAG /mnt [TAG: share]
      --kernel FILE          boot this kernel, without GRUB
      --initrd FILE          its initramfs
      --append TEXT          more for its command line; root=PARTLABEL=root and what the recipe says is there
      -- ARGUMENT...         arguments of QEMU
  stop [N...]        shut down all nodes, or these; force what does not end by itself
  status             what runs, and how to reach it
  ssh N [COMMAND]    log in to node N as the user fabric, or run a command there
  console N          the serial console of node N; leave it with Ctrl-]
  log N [-f]         what node N wrote to its serial console; -f goes on as it grows
  network up|down    define and start, or stop and remove, the libvirt network $first_network
  libvirt define [OPTION...] [N...] [-- ARGUMENT...]
                     make all nodes, or these, domains of libvirt instead of processes of this script, with what start would
                     add to them; they keep it until they are defined again
  libvirt start|shutdown|undefine [N...]
                     run, end or remove these domains
  check              examine this host: a line for each thing, with tabs between verdict (ok, warning, fault), thing,
                     what was found, and what to do about it; the exit code is 1 if something keeps nodes from running
  help               this text

Environment:
  NET=bridge|user       bridge: the libvirt network; user: QEMU's own [default: bridge where it can be used]
  ACCEL=kvm|tcg         the host's processors, or emulated ones [default: kvm where a trial system runs in it]
  SHM=FILE              the shared memory; in a hugetlbfs it is made of huge pages [default: $first_memory]
  PORT=NUMBER           node N's ssh is at 127.0.0.1, this port plus N, in user mode [default: $first_port]
  RUN=DIRECTORY         sockets, logs and pid files [default: fabric_run beside the images]
  BOOT_TIMEOUT=SECONDS  how long ssh waits for a node whose console says nothing [default: 300]
  STOP_TIMEOUT=SECONDS  how long nodes may take to shut down [default: 90]
  QEMU=PROGRAM          the emulator [default: qemu-system-x86_64]
  OVMF=FILE             the firmware of nodes that start by UEFI, with its variables beside it [default: the host's]
  VIRTIOFSD=PROGRAM     what serves directories for --virtiofs [default: that which QEMU's vhost-user descriptions name, or virtiofsd]

Where another cluster of this host has such a name, this one has names of its own: $own_memory, $own_network.
USAGE
}

# A name for this cluster that no other directory has.
cluster_id() {
    local sum
    sum=$(printf '%s' "$here" | cksum)
    printf '%s' "${sum%% *}"
}

# Finds the images, and what is there of nodes that run. Without a file of its own (`bash -c`) this script has neither.
locate() {
    [[ -f ${BASH_SOURCE[0]:-} ]] || return 0
    # It may be called by a link; the images lie beside the file itself.
    here=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
    readonly here
    choose_run_directory
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
    # In /tmp anyone may have made it, or a link in its place.
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
