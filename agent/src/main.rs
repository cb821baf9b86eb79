fn main() {
    match kubewitness::probe::Probes::load(&[10250, 10255]) {
        Ok((_p, _r)) => println!("loaded"),
        Err(e) => println!("{e} {e:?}"),
    }
}
