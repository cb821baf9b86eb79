fn main() {
    println!("cargo::rerun-if-env-changed=KUBEWITNESS_EBPF");
    let p = std::env::var("KUBEWITNESS_EBPF").unwrap_or("../target/bpf/bpfel-unknown-none/release/kubewitness".into());
    println!("cargo::rerun-if-changed={p}");
    std::fs::copy(p, format!("{}/kubewitness.bpf.o", std::env::var("OUT_DIR").unwrap())).unwrap();
}
