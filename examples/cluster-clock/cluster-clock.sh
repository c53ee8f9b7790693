#!/bin/sh
# cluster-clock: one node of the cluster serves the time, and all others follow it. The setting `server` is its number.
set -eu

read -r call # what the variables say, as JSON, and more
: "$call"

# What fam-build answers to a request begins with {"ok":true, or else says why not.
ask() {
    printf '%s\n' "$1"
    read -r reply
    case $reply in
    '{"ok":true'*) ;;
    *)
        echo "$reply" >&2
        exit 1
        ;;
    esac
}

# The network of the nodes has 254 addresses, of which node N has the Nth.
network=${FAM_NODE_ADDRESS-}
network=${network%.*}

case $FAM_CALL in
describe)
    ask '{"op":"describe","name":"cluster-clock","summary":"has one node serve the time","version":"1","stages":["node"]}'
    ;;
check)
    case ${FAM_SETTING_SERVER-} in
    '' | *[!0-9]*)
        echo '{"op":"fail","kind":"setting","key":"server","message":"is not the number of a node","hint":"as in: server = 1"}'
        exit
        ;;
    esac
    ;;
apply-node)
    if [ "$FAM_NODE_NUMBER" = "$FAM_SETTING_SERVER" ]; then
        configuration="local stratum 8\\nallow $network.0/24\\n"
    else
        configuration="server $network.$FAM_SETTING_SERVER iburst\\n"
    fi
    ask '{"op":"create-dirs","path":"/etc/chrony/conf.d"}'
    ask "{\"op\":\"write\",\"path\":\"/etc/chrony/conf.d/cluster.conf\",\"contents\":\"$configuration\"}"
    ;;
esac
echo '{"op":"done"}'
