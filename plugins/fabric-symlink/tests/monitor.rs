//! Where ndctl is installed, its monitor is masked.

use std::path::Path;

use fam_fabric_symlink::FabricSymlink;
use fam_plugin::testing::{Harness, MemoryRoot};
use fam_plugin::{Attributes, FileType, RootFs};

const MASK: &str = "/etc/systemd/system/ndctl-monitor.service";

#[test]
fn the_monitor_is_masked_where_it_is() {
    let mut image = MemoryRoot::debian();
    Harness::new().system(&FabricSymlink, &mut image).expect("applied");
    assert!(image.metadata(Path::new(MASK)).is_err());

    for dir in ["/usr/lib", "/usr/lib/systemd", "/usr/lib/systemd/system"] {
        if image.metadata(Path::new(dir)).is_err() {
            image.create_dir(Path::new(dir), 0o755).expect("a directory");
        }
    }
    let unit = Path::new("/usr/lib/systemd/system/ndctl-monitor.service");
    image.write(unit, b"[Service]\n", Attributes::mode(0o644)).expect("a file");
    for _ in 0..2 {
        Harness::new().system(&FabricSymlink, &mut image).expect("applied");
        let mask = image.metadata(Path::new(MASK)).expect("a mask");
        assert_eq!(mask.file_type, FileType::Symlink("/dev/null".into()));
    }
}
