#!/bin/sh
# Stands for grub-probe in the new system: says what it will say of the disk, as far as grub-mkconfig needs it. The UUID is
# not known, as each node has its own.
target=fs
while [ $# -gt 0 ]; do
    case $1 in
    -t | --target) target=$2 && shift ;;
    --target=*) target=${1#*=} ;;
    esac
    shift
done
case $target in
device) echo /dev/disk/by-label/@LABEL@ ;;
fs) echo ext2 ;;
fs_label) echo @LABEL@ ;;
partmap) echo gpt ;;
abstraction) ;;
*) exit 1 ;;
esac
