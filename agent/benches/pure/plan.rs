//! From a kubelet's executable to the probe plan, read from the disk as the agent reads it.

use std::{
    env,
    path::{Path, PathBuf},
};

use criterion::{BenchmarkId, Criterion};
use kubewitness::target::{ExecutableFile, plan::plan};

/// Those that the testbed builds for its default release, by their folders in the cache.
const KUBELETS: [&str; 2] = ["1.36.3-go1.26.8", "1.36.3-go1.26.8-arm64"];

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    for name in KUBELETS {
        let Some(kubelet) = cached(name) else {
            eprintln!("plan/{name} is left out: there is no such kubelet in the cache, the end-to-end tests build it");
            continue;
        };
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| plan(&ExecutableFile::open(&kubelet).expect("the kubelet can be read")).expect("a plan"));
        });
    }
    group.finish();
}

/// A kubelet in `$KUBEWITNESS_CACHE`, else `~/.cache/kubewitness`.
fn cached(name: &str) -> Option<PathBuf> {
    let cache = env::var_os("KUBEWITNESS_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache/kubewitness")))?;
    Some(cache.join("kubernetes").join(name).join("kubelet")).filter(|path| path.is_file())
}
