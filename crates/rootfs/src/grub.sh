# Runs in the new system. Lays out /boot/grub as grub-install would: the modules beside a core image for each platform.
# The core images name their prefix by partition number alone, so they find it on whatever disk they were started from.
# Where the system has Debian's signed GRUB and shim, the ESP gets these instead, for Secure Boot: all the files that
# `grub-install --force-extra-removable` puts there, but for grub.cfg, which names the disk.
signed=/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed shim=/usr/lib/shim esp=/boot/efi/EFI

# Usage: install_signed DIRECTORY NAME_OF_SHIM. GRUB looks for its grub.cfg in EFI/debian, wherever it lies itself.
install_signed() {
    mkdir -p $esp/$1
    cp $shim/shimx64.efi.signed $esp/$1/$2
    cp $signed $esp/$1/grubx64.efi
    # The manager of the machine's owner's keys.
    [ ! -e $shim/mmx64.efi.signed ] || cp $shim/mmx64.efi.signed $esp/$1/mmx64.efi
}

for platform in i386-pc x86_64-efi; do
    modules=/usr/lib/grub/$platform
    [ -e $modules/kernel.img ] || continue
    mkdir -p /boot/grub/$platform
    cp $modules/*.mod $modules/*.lst /boot/grub/$platform/
    if [ $platform = i386-pc ]; then
        cp $modules/boot.img /boot/grub/i386-pc/
        disk=biosdisk core=/boot/grub/i386-pc/core.img
    elif [ -e $signed ] && [ -e $shim/shimx64.efi.signed ]; then
        install_signed BOOT BOOTX64.EFI
        install_signed debian shimx64.efi
        # For shim's fallback, which makes a boot entry of each directory with such a list.
        [ ! -e $shim/fbx64.efi.signed ] || cp $shim/fbx64.efi.signed $esp/debian/fbx64.efi
        [ ! -e $shim/BOOTX64.CSV ] || cp $shim/BOOTX64.CSV $esp/debian/
        # Nothing starts it. But where it is missing, upgrades of grub-efi-amd64 leave the ESP alone.
        disk='' core=/boot/grub/x86_64-efi/core.efi
    else
        # The removable path, where firmware looks on a disk that no boot entry names (UEFI 3.5.1.1).
        mkdir -p $esp/BOOT
        disk='' core=$esp/BOOT/BOOTX64.EFI
    fi
    # The modules named here are what it takes to read the prefix; the core image loads all others
    # from there.
    grub-mkimage --format=$platform --directory=$modules --prefix="(,gpt$ROOT_PARTITION)/boot/grub" --output=$core $disk part_gpt ext2
done
mkdir -p /boot/grub/fonts
cp /usr/share/grub/unicode.pf2 /boot/grub/fonts/
