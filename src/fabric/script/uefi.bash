
# ---------------------------------------------------------------------------------------------------------------- UEFI

# The firmware of UEFI, and what its variables are at first.
firmware='' firmware_variables=''

# BIOS boots from no disk whose sectors have another size.
boots_by_uefi() { ((sector_size != 512)); }

# Finds the firmware, where distributions have it and where QEMU installs its own.
examine_firmware() {
    local name i places=(
        /usr/share/OVMF/OVMF_{CODE,VARS}_4M.fd /usr/share/OVMF/OVMF_{CODE,VARS}.fd # Debian, Ubuntu
        /usr/share/edk2/ovmf/OVMF_{CODE,VARS}.fd /usr/share/edk2/x64/OVMF_{CODE,VARS}.4m.fd # Fedora, Arch
        /usr/share/qemu/ovmf-x86_64-{code,vars}.bin # openSUSE
        /usr/share/qemu/edk2-{x86_64-code,i386-vars}.fd /usr/local/share/qemu/edk2-{x86_64-code,i386-vars}.fd
    )
    detail='OVMF, the firmware that starts nodes by UEFI, is not installed'
    install_hint ovmf edk2-ovmf edk2-ovmf
    if [[ -n ${OVMF:-} ]]; then
        name=${OVMF##*/}
        name=${name/CODE/VARS} name=${name/code/vars}
        places=("$OVMF" "${OVMF%"${OVMF##*/}"}$name")
        detail="OVMF=$OVMF: that file cannot be read, or there is none for its variables beside it, called ${places[1]##*/}"
        hint='name the file whose name has CODE in it, as OVMF_CODE_4M.fd'
    fi
    for ((i = 0; i < ${#places[@]}; i += 2)); do
        firmware=${places[i]} firmware_variables=${places[i + 1]}
        if [[ -r $firmware && -r $firmware_variables && $firmware != "$firmware_variables" ]]; then
            detail=$firmware
            return
        fi
    done
    return 1
}

# Adds the firmware to the `arguments` of the node of this name. Its variables last as long as it runs: firmware finds the
# boot loader without an entry for it.
add_firmware() {
    cat -- "$firmware_variables" >"$run/$1.vars"
    arguments+=(
        -drive "if=pflash,unit=0,format=raw,readonly=on,file=${firmware//,/,,}"
        -drive "if=pflash,unit=1,format=raw,file=${run//,/,,}/$1.vars"
    )
}
