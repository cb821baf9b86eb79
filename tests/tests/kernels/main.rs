//! The agent on kernels that are not this machine's: Debian's, in virtual machines.

use std::path::Path;
use std::time::Duration;

use kubewitness_tests::vm::{Machine, Processor, Series};

#[test]
#[ignore = "boots virtual machines, ten seconds each: cargo xtask matrix --only kernels"]
fn every_series_boots_and_hands_out_what_its_script_left() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels");
    for series in Series::ALL {
        let machine = Machine {
            processor: Processor::Amd64,
            kernel: series.fetch(Processor::Amd64).unwrap(),
            kernel_arguments: String::new(),
            memory: 512,
            files: vec![],
            script: "printf 'a\\nb' >/out/lines; exit 3".to_owned(),
            limit: Duration::from_secs(120),
        };
        let report = machine.run(&folder.join(series.name())).unwrap();
        assert!(report.release.starts_with(series.name()), "{}", report.release);
        assert_eq!((report.status, report.files["lines"].as_str()), (3, "a\nb"));
    }
}
