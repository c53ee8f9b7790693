#!/bin/sh
# Calls the plugin, answers everything with "ok", and compares what it asks for.
set -eu
cd "$(dirname "$0")"

# asks CALL EXPECTED [NAME=VALUE...]
asks() {
    call=$1 expected=$2
    shift 2
    said=$( (echo '{}'; yes '{"ok":true}' | head -n 100) | env "$@" FAM_CALL="$call" ./@NAME@)
    if [ "$said" != "$expected" ]; then
        printf '%s: expected\n%s\nbut it said\n%s\n' "$call" "$expected" "$said" >&2
        exit 1
    fi
}

done='{"op":"done"}'
asks check "$done" FAM_SETTING_TEXT=hello
asks check '{"op":"fail","kind":"setting","key":"text","message":"is missing","hint":"say what to greet with"}' \
    FAM_SETTING_TEXT=
asks apply-system "{\"op\":\"write\",\"path\":\"/etc/motd\",\"contents\":{\"base64\":\"$(echo hello | base64)\"}}
$done" FAM_SETTING_TEXT=hello
asks apply-node "{\"op\":\"append\",\"path\":\"/etc/motd\",\"contents\":{\"base64\":\"$(echo 'This is fabric2.' | base64)\"}}
$done" FAM_NODE_NAME=fabric2
echo ok
