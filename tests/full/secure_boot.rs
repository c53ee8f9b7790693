//! Secure Boot: OVMF with Microsoft's keys starts the image with Debian's signed boot loaders, also
//! after the scripts that upgrades run in the guest, and no other.

use support::documents::path;
use support::harness::ROOT;
use support::qemu::{Console, Firmware, Machine};
use support::{directory_of, user};

use crate::suites::{build_changed, build_recipe};

support::tests! {
    needs [ROOT, "newuidmap", "qemu-system-x86_64"];
    signed_boot_loaders_are_started_and_kept_by_upgrades,
    an_unsigned_boot_loader_is_refused,
}

/// The files of the ESP with their sums, but for grub.cfg, in which grub-install says where the root
/// was.
const FILES: &str = "cd /boot/efi && find . -type f ! -name grub.cfg -exec sha256sum {} + | sort -k 2";

fn assert_enforced(console: &mut Console) {
    assert_eq!(console.check("mokutil --sb-state"), "SecureBoot enabled");
    // Four bytes of attributes come first.
    let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    assert_eq!(console.check(&format!("od -A n -t u1 -j 4 {variable}")).trim(), "1");
    console.check("dmesg | grep 'Secure boot enabled'");
    // The kernel takes it from the boot loader that it is to be locked down.
    assert_eq!(console.check("cat /sys/kernel/security/lockdown"), "none [integrity] confidentiality");
}

fn signed_boot_loaders_are_started_and_kept_by_upgrades() {
    let output = directory_of(user());
    let recipe = fs_err::read_to_string(path("examples/secure-boot.toml")).unwrap();
    build_recipe(&recipe, &["1"], output.path());
    let disk = output.path().join("fabric1.qcow2");
    let mut machine = Machine::new(&disk);
    machine.firmware = Firmware::SecureBoot;
    machine.keep_writes = true;
    let mut console = machine.start();
    console.wait_for_login();
    console.log_in("root", "aresquare");
    assert_enforced(&mut console);
    let files = console.check(FILES);
    assert_eq!(files.lines().count(), 8, "{files}");
    // What an upgrade runs: the script that has Debian's grub-install lay out all anew.
    for package in ["shim-signed", "grub-efi-amd64"] {
        console.check("rm -r /boot/efi/EFI/BOOT /boot/efi/EFI/debian/*.*");
        console.check(&format!("dpkg-reconfigure --frontend=noninteractive {package}"));
        assert_eq!(console.check(FILES), files, "after {package}");
    }
    let root = console.check("findmnt --noheadings --output UUID /");
    console.check(&format!("grep 'search.fs_uuid {root} root' /boot/efi/EFI/debian/grub.cfg"));
    console.power_off();

    let mut console = machine.start();
    console.wait_for_login();
    console.log_in("root", "aresquare");
    assert_enforced(&mut console);
    assert!(console.check("cat /proc/cmdline").contains("BOOT_IMAGE=/boot/vmlinuz-"), "booted by update-grub's menu");
    console.power_off();
}

fn an_unsigned_boot_loader_is_refused() {
    let output = directory_of(user());
    build_changed("", &[], output.path());
    let disk = output.path().join("fabric1.qcow2");
    let mut machine = Machine::new(&disk);
    machine.firmware = Firmware::SecureBoot;
    machine.start().wait_for_boot("Access Denied");
    // It is the firmware's refusal, and not a fault of the disk.
    machine.firmware = Firmware::Uefi;
    machine.start().wait_for_login();
}
