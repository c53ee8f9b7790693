#!/bin/sh
# Stands for grub-probe in the new system: says what it will say of the disk, as far as grub-mkconfig needs it. The device
# has no name yet, and goes into `root=` as it is said here.
target=fs
while [ $# -gt 0 ]; do
    case $1 in
    -t | --target) target=$2 && shift ;;
    --target=*) target=${1#*=} ;;
    esac
    shift
done
case $target in
device) echo UUID=@UUID@ ;;
fs) echo ext2 ;;
fs_label) echo @LABEL@ ;;
fs_uuid) echo @UUID@ ;;
partmap) echo gpt ;;
abstraction) ;;
*) exit 1 ;;
esac
