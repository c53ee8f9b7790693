
# ------------------------------------------------------------------------------------------------------------ commands

for variable in PORT BOOT_TIMEOUT STOP_TIMEOUT; do
    [[ ${!variable:-0} =~ ^(0|[1-9][0-9]{0,4})$ ]] || fail "$variable=${!variable} is not a number from 0 to 99999"
done
command=${1:-start}
if (($# > 0)); then shift; fi
# Before the tools are asked for: `check` tells of them itself.
case $command in
    check)
        check
        exit
        ;;
    help | -h | --help)
        usage
        exit
        ;;
esac
examine_tools || fail "$detail" "$hint"
locate
case $command in
    start) start "$@" ;;
    stop) stop "$@" ;;
    status) status ;;
    ssh) ssh_to "$@" ;;
    console) console "$@" ;;
    log) show_log "$@" ;;
    network) network "$@" ;;
    libvirt) libvirt "$@" ;;
    savevm | loadvm | snapshot)
        fail "a running node cannot be saved: QEMU does not save a machine whose memory others share" \
            "stop it, and keep its disk: $0 stop N; qemu-img snapshot -c NAME $here/${prefix}N.qcow2" \
            "to go back to that: qemu-img snapshot -a NAME $here/${prefix}N.qcow2"
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac
