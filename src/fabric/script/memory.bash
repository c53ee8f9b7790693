
# --------------------------------------------------------------------------------------------------- memory of the host

# Where the shared memory is, into `shm`: where the nodes that run have it, else where SHM says, else where no other cluster
# has its own.
choose_shared_memory() {
    local of_running=
    if [[ -r ${run:-}/shared_memory ]] && any_runs; then of_running=$(<"$run/shared_memory"); fi
    shm=${SHM:-$of_running}
    if [[ -z $shm ]]; then
        shm=$first_memory
        if is_memory_taken "$shm"; then shm=$own_memory; fi
    fi
    [[ $shm == /* ]] || shm=$PWD/$shm
    if [[ -n $of_running && $shm != "$of_running" ]]; then
        fail "nodes are running with SHM=$of_running" "stop them before SHM=$shm is used: $0 stop"
    fi
}

# Whether directory $1, if it holds huge pages, has enough that are free. `huge` says if it does hold them.
examine_huge_pages() {
    local kib free needed pool
    huge=no
    [[ $(stat -f -c %T -- "$1") == hugetlbfs ]] || return 0
    huge=yes
    kib=$(($(stat -f -c %s -- "$1") / 1024))
    pool=/sys/kernel/mm/hugepages/hugepages-${kib}kB
    # Those that are reserved are free, and promised to somebody already.
    free=$(($(<"$pool/free_hugepages") - $(<"$pool/resv_hugepages")))
    needed=$(((shm_mib * 1024 + kib - 1) / kib))
    detail="the shared memory, $shm_mib MiB, is no whole number of huge pages of $kib KiB"
    hint="take smaller pages, or a file elsewhere: SHM=FILE $0"
    ((shm_mib * 1024 % kib == 0)) || return 1
    detail="the shared memory needs $needed huge pages of $kib KiB, and $free are free"
    hint="set more aside: echo $(($(<"$pool/nr_hugepages") + needed - free)) | sudo tee $pool/nr_hugepages"
    ((free >= needed))
}

# Whether `shm` is there and the user's, or can be made. The memory takes room only as nodes write to it, and a node that
# writes where no room is left is killed.
examine_shared_memory() {
    local directory available size
    directory=$(dirname -- "$shm")
    if [[ -e $shm ]]; then
        detail="the shared memory $shm is not this user's" hint="take another: SHM=FILE $0"
        [[ -f $shm && -r $shm && -w $shm ]] || return 1
        size=$(stat -L -c %s -- "$shm")
        detail="$shm has $size bytes, but the nodes share $shm_mib MiB"
        hint="remove it if nobody uses it (rm $shm), or take another: SHM=FILE $0"
        ((size == shm_mib * 1048576)) || return 1
        detail="$shm, which was there and keeps its contents" hint=''
        if is_memory_taken "$shm"; then detail="$shm, which other machines use, too"; fi
        return
    fi
    detail="the shared memory $shm cannot be made" hint="take another file: SHM=FILE $0"
    [[ -d $directory && -w $directory ]] || return 1
    examine_huge_pages "$directory" || return 1
    available=$(df -Pk -- "$directory" | awk 'NR == 2 { print int($4 / 1024) }')
    if [[ $huge == no ]] && ((available < shm_mib)); then
        detail="the shared memory needs $shm_mib MiB, and $directory has $available MiB left"
        hint="make it larger (sudo mount -o remount,size=${shm_mib}M $directory), or take a file elsewhere: SHM=FILE $0"
        return 1
    fi
    detail="$shm can be made; $directory has $available MiB left" hint=''
}

prepare_shared_memory() {
    examine_shared_memory || fail "$detail" "$hint"
    if [[ -e $shm ]]; then
        lock_shared_memory
        if ! any_runs; then say "shared memory: $detail"; fi
    else
        # Without overwriting: what another user may have put there meanwhile is not touched.
        (
            set -o noclobber
            umask 077
            : >"$shm"
        ) || fail "the shared memory $shm cannot be made" "take another file: SHM=FILE $0"
        lock_shared_memory
        printf '%s\n' "$shm" >"$run/shared_memory_made"
        truncate -s "${shm_mib}M" -- "$shm"
        say "shared memory: $shm, $shm_mib MiB"
    fi
    printf '%s\n' "$shm" >"$run/shared_memory"
}

# Locks the shared memory until the last node has ended: QEMU inherits the descriptor, and with it the lock. Nobody else may
# have it, unless SHM asks for that: then several clusters share one memory.
lock_shared_memory() {
    exec {memory_lock}<>"$shm"
    if [[ -z ${SHM:-} ]] && ! any_runs; then flock -x -n "$memory_lock" || memory_was_taken; fi
    flock -s -n "$memory_lock" || memory_was_taken
}

memory_was_taken() { fail "another cluster has just taken the shared memory $shm" "start again: $0"; }

# Removes the shared memory, if `start` made it and no other cluster uses it.
remove_shared_memory() {
    local made
    if [[ -n ${memory_lock:-} ]]; then exec {memory_lock}>&-; fi
    if [[ -r $run/shared_memory_made ]]; then
        made=$(<"$run/shared_memory_made")
        # QEMU's process is gone before the last of its descriptors is closed.
        if is_memory_taken "$made" 5; then
            warn "the shared memory $made stays: other machines use it"
        else
            rm -f -- "$made"
        fi
    fi
    rm -f -- "$run/shared_memory" "$run/shared_memory_made"
}

# examine_memory COUNT: whether the host has memory for so many nodes.
examine_memory() {
    local available needed
    available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
    needed=$(($1 * memory_mib + shm_mib))
    detail="the nodes may take up to $needed MiB of memory, and $available MiB are available"
    hint='build fewer or smaller nodes: --nodes N, --memory SIZE'
    ((available >= needed))
}
