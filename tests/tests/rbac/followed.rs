//! A watch and what it told so far, as the daemon has it.

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use kubewitness::rbac::cluster::{Connection, WatchOptions, watch};
use kubewitness::rbac::{Mirror, Snapshot, Update};

/// A running watch. It ends with this value.
pub(crate) struct Followed {
    mirror: Mirror,
    updates: Receiver<Update>,
    /// How often something was lost.
    pub(crate) lost: u32,
    task: tokio::task::JoinHandle<()>,
}

impl Followed {
    /// Begins at once, whatever the options say.
    pub(crate) fn start(connection: &Connection, options: WatchOptions) -> Self {
        let (sender, updates) = sync_channel(16);
        let (connection, options) = (connection.clone(), WatchOptions { jitter: Duration::ZERO, ..options });
        let task = tokio::spawn(async move { watch(&connection, options, sender).await });
        Self { mirror: Mirror::default(), updates, lost: 0, task }
    }

    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        self.mirror.snapshot()
    }

    /// Takes what is told for a while.
    pub(crate) async fn for_a_while(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.take();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Takes what is told until it is so; returns how long that took.
    pub(crate) async fn until(&mut self, what: &str, so: impl Fn(Option<&Snapshot>) -> bool) -> Duration {
        let begun = Instant::now();
        loop {
            self.take();
            if so(self.mirror.snapshot()) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < Duration::from_secs(40), "after 40 s still not: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn take(&mut self) {
        for update in self.updates.try_iter() {
            self.lost += u32::from(matches!(update, Update::Lost(_)));
            self.mirror.take(update);
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}
