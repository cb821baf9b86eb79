//! What the pure parts of the agent cost: `cargo xtask bench pure`.

mod plan;
mod rbac;
mod report;
mod trace;
mod way;

use std::time::Duration;

use criterion::Criterion;

/// As in the agent.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let short = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    let mut criterion = short.configure_from_args();
    plan::benches(&mut criterion);
    way::benches(&mut criterion);
    rbac::benches(&mut criterion);
    report::benches(&mut criterion);
    criterion.final_summary();
}
