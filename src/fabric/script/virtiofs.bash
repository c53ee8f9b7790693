
# ------------------------------------------------------------------------------------------------------------ virtiofs
#
# A directory by virtiofs is served by a process of its own, virtiofsd, to which QEMU connects. It ends when QEMU does.

# Finds virtiofsd, into `virtiofsd`: as libvirt does, by the descriptions of such programs (QEMU's
# docs/interop/vhost-user.json), and where distributions have it.
examine_virtiofsd() {
    local file text candidate candidates=()
    for file in ~/.config/qemu/vhost-user/*.json /etc/qemu/vhost-user/*.json /usr/share/qemu/vhost-user/*.json; do
        text=$(cat -- "$file" 2>/dev/null) || continue
        [[ $text =~ \"type\"[[:space:]]*:[[:space:]]*\"fs\" ]] || continue
        if [[ $text =~ \"binary\"[[:space:]]*:[[:space:]]*\"([^\"]+)\" ]]; then candidates+=("${BASH_REMATCH[1]}"); fi
    done
    candidates+=(virtiofsd /usr/libexec/virtiofsd /usr/lib/virtiofsd /usr/lib/qemu/virtiofsd)
    if [[ -n ${VIRTIOFSD:-} ]]; then candidates=("$VIRTIOFSD"); fi
    detail="virtiofsd is not installed"
    install_hint virtiofsd virtiofsd virtiofsd
    hint+='; or share the directory by 9p, with --share'
    for candidate in "${candidates[@]}"; do
        virtiofsd=$(type -P -- "$candidate") || continue
        # That of QEMU until 7.2 serves root only, and has other options.
        if virtiofsd_options=$("$virtiofsd" --help 2>&1) && [[ $virtiofsd_options == *--shared-dir* ]]; then return; fi
        detail="$virtiofsd is not the virtiofsd that is written in Rust, or does not run"
    done
    return 1
}

# Serves each of the `shared_directories` of the node with the name $1, at the socket $run/NAME.virtiofsID; returns 1 where
# one of them is not served.
start_virtiofsd() {
    local i
    virtiofsd_processes=()
    for ((i = 0; i < ${#shared_directories[@]}; i += 2)); do
        serve_directory "$run/$1.virtiofs${shared_directories[i]}" "${shared_directories[i + 1]}" || return 1
    done
}

# serve_directory SOCKET DIRECTORY
serve_directory() {
    local socket=$1 directory=$2 tries=0 sandbox=namespace
    local -a as_user=() own_namespace=()
    if ((EUID != 0)); then
        own_namespace=(--user --map-root-user)
        # The files are this user's, whoever makes them in the node: as by 9p.
        if [[ $virtiofsd_options == *--translate-uid* ]]; then
            as_user=("--translate-uid=squash-guest:0:$EUID:4294967295" "--translate-gid=squash-guest:0:$(id -g):4294967295")
        fi
    fi
    unshare "${own_namespace[@]+"${own_namespace[@]}"}" --mount --pid --net --fork true 2>/dev/null || sandbox=none
    (
        # Else it would hold the lock, too.
        exec {memory_lock}>&-
        cd /
        exec setsid "$virtiofsd" "--socket-path=$socket" "--shared-dir=$directory" "--sandbox=$sandbox" --log-level=error \
            "${as_user[@]+"${as_user[@]}"}"
    ) </dev/null >"$socket.log" 2>&1 &
    virtiofsd_processes+=("$!")
    until [[ -S $socket ]]; do
        if ! kill -0 "$!" 2>/dev/null || ((tries++ == 100)); then
            return 1
        fi
        sleep 0.1
    done
}

# What each virtiofsd of the node with the name $1 has said.
virtiofsd_said() {
    local log
    for log in "$run/$1".virtiofs*.log; do
        if [[ -s $log ]]; then printf '\n%s: %s' "${virtiofsd##*/}" "$(<"$log")"; fi
    done
}

# Once QEMU is connected, no other program needs the sockets: they go at once, and nothing has to remove them later.
remove_sockets() { rm -f -- "$run/$1".virtiofs*[0-9] "$run/$1".virtiofs*.pid; }

# Where QEMU did not start.
end_virtiofsd() {
    local pid
    for pid in "${virtiofsd_processes[@]+"${virtiofsd_processes[@]}"}"; do kill "$pid" 2>/dev/null || true; done
}
