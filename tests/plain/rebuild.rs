//! A second build into the same directory.

use crate::small::{Bench, archive};

support::tests! {
    needs ["gpg", "dpkg-deb"];
    an_unchanged_build_takes_the_template_again,
}

fn an_unchanged_build_takes_the_template_again() {
    let bench = Bench::new(archive());
    let build = || {
        let output = bench.build(&[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let image = || fs_err::read(bench.output().join("fabric1.qcow2")).unwrap();
    let template = || fs_err::metadata(bench.output().join("fabric_template.tar")).unwrap().modified().unwrap();
    assert!(!build().contains("Reusing"));
    let (made, first) = (template(), image());
    let said = build();
    assert!(said.contains("Reusing"), "{said}");
    assert_eq!(template(), made);
    assert!(image() == first, "the same bytes");
}
