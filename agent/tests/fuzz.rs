//! Every input that fuzzing found worth keeping, `fuzz/seeds/TARGET/*`, through the body of its target: what once crashed stays mended
//! also where nobody fuzzes. Each is cut in three places too, for what is half there.

mod crafted;

use std::{env, fs, path::Path};

use crafted::Crafted;
use kubewitness::target::plan::plan;

/// A target of `fuzz/`, and what it runs.
struct Target {
    name: &'static str,
    body: fn(&[u8]),
}

const TARGETS: [Target; 8] = [
    Target { name: "events", body: kubewitness::report::fuzz_entry },
    Target { name: "gobin", body: kubewitness::gobin::fuzz_entry },
    Target { name: "manifests", body: kubewitness::manifest::fuzz_entry },
    Target { name: "plan", body: kubewitness::target::plan::fuzz_entry },
    Target { name: "prometheus", body: kubewitness::report::prometheus::fuzz_entry },
    Target { name: "rbac", body: kubewitness::rbac::fuzz_entry },
    Target { name: "records", body: kubewitness::witness::fuzz_entry },
    Target { name: "uris", body: kubewitness::kubelet::fuzz_entry },
];

#[test]
fn what_fuzzing_found_stays_mended() {
    for Target { name: target, body } in TARGETS {
        let folder = seeds(target);
        let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} has no seeds", folder.display());
        for file in files {
            println!("{}", file.display());
            let bytes = fs::read(&file).unwrap();
            body(&bytes);
            for part in 1..4 {
                body(&bytes[..bytes.len() * part / 4]);
            }
        }
    }
}

/// `KUBEWITNESS_RECORD=1` writes them anew, with the functions of the kubelet in `KUBEWITNESS_KUBELET` if there is one.
#[test]
fn seeds_that_are_made_by_hand_are_what_they_are_made_for() {
    if env::var_os("KUBEWITNESS_RECORD").is_some() {
        if let Some(kubelet) = env::var_os("KUBEWITNESS_KUBELET") {
            let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions-1.36.3.txt");
            return fs::write(fixture, crafted::record(&fs::read(kubelet).unwrap())).unwrap();
        }
        fs::write(seeds("plan").join("kubelet"), Crafted::kubelet().bytes()).unwrap();
        fs::write(seeds("gobin").join("program"), Crafted::program(&["main.main", "main.work"]).bytes()).unwrap();
    }
    let kubelet = Crafted::kubelet().bytes();
    let plan = plan(&kubelet).expect("a plan");
    assert_eq!((plan.kubelet_version.as_deref(), plan.go_version.as_str()), (Some("v1.36.3"), "go1.26.8"));
    assert!(fs::read(seeds("plan").join("kubelet")).unwrap() == kubelet, "it is made otherwise now: KUBEWITNESS_RECORD=1");
    let program = Crafted::program(&["main.main", "main.work"]).bytes();
    assert!(fs::read(seeds("gobin").join("program")).unwrap() == program, "it is made otherwise now: KUBEWITNESS_RECORD=1");
}

#[test]
fn each_target_has_a_program() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let mut names: Vec<_> = fs::read_dir(programs).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let names: Vec<_> = names.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, TARGETS.map(|target| target.name));
}

fn seeds(target: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target)
}
