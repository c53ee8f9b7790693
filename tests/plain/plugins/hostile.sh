#!/bin/sh
# Does what the setting `do` says, at the node stage; OUTSIDE is a directory of the host.
read -r call
: "$call"

ask() {
    printf '%s\n' "$1"
    read -r reply
    echo "$reply" >&2
}

finish() { echo '{"op":"done"}'; }

case $FAM_CALL in
describe)
    ask '{"op":"describe","name":"hostile","summary":"does harm","stages":["node"]}'
    finish
    exit
    ;;
check)
    finish
    exit
    ;;
esac
case $FAM_SETTING_DO in
garbage) echo 'this is no message' ;;
unknown) echo '{"op":"wriet","path":"/x"}' ;;
endless) head -c 10G /dev/zero | tr '\0' x ;;
exit) exit 0 ;;
status)
    echo 'the reason why' >&2
    exit 7
    ;;
silent) sleep 1000 ;;
closed)
    exec >&-
    sleep 1000
    ;;
left-behind)
    setsid sleep 1000 &
    finish
    ;;
flood) while :; do printf x; done ;;
dots)
    ask '{"op":"write","path":"/../../../../../..'"$FAM_SETTING_OUTSIDE"'/dots","contents":"x"}'
    ask '{"op":"write","path":"/../../../../../../dots","contents":"inside"}'
    finish
    ;;
link)
    ask '{"op":"symlink","path":"/way-out","target":"'"$FAM_SETTING_OUTSIDE"'"}'
    ask '{"op":"write","path":"/way-out/link","contents":"x"}'
    ask '{"op":"symlink","path":"/way-in","target":"/../../etc"}'
    ask '{"op":"write","path":"/way-in/link","contents":"inside"}'
    finish
    ;;
directly)
    echo x >"$FAM_SETTING_OUTSIDE/directly"
    finish
    ;;
esac
