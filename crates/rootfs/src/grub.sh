# Runs in the new system. Lays out /boot/grub as grub-install would: the modules beside a core image for each platform.
# The core images name their prefix by partition number alone, so they find it on whatever disk they were started from.
for platform in i386-pc x86_64-efi; do
    modules=/usr/lib/grub/$platform
    [ -e $modules/kernel.img ] || continue
    mkdir -p /boot/grub/$platform
    cp $modules/*.mod $modules/*.lst /boot/grub/$platform/
    if [ $platform = i386-pc ]; then
        cp $modules/boot.img /boot/grub/i386-pc/
        disk=biosdisk core=/boot/grub/i386-pc/core.img
    else
        # The removable path, where firmware looks on a disk that no boot entry names (UEFI 3.5.1.1).
        mkdir -p /boot/efi/EFI/BOOT
        disk='' core=/boot/efi/EFI/BOOT/BOOTX64.EFI
    fi
    # The modules named here are what it takes to read the prefix; the core image loads all others
    # from there.
    grub-mkimage --format=$platform --directory=$modules --prefix="(,gpt$ROOT_PARTITION)/boot/grub" --output=$core $disk part_gpt ext2
done
mkdir -p /boot/grub/fonts
cp /usr/share/grub/unicode.pf2 /boot/grub/fonts/
