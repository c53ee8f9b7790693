
# ----------------------------------------------------------------------------------------------------------------- ssh

# One word of an ssh configuration: quoted, and its percent signs no tokens.
quoted() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    printf '"%s"' "${text//%/%%}"
}

# An ssh configuration, from lines with a node's number, address and port.
ssh_configuration() {
    local n address port known=$here/fabric_known_hosts strict=yes
    # Where no plugin provides the nodes' keys there is no such file: then the key that is seen
    # first counts.
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
