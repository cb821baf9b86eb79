//! What the kernel programs say about themselves, off unless `KUBEWITNESS_LOG` asks for `kubewitness::kernel=debug`: then the programs are
//! loaded with their messages, which else the verifier removes.

use aya::Ebpf;
use aya_log::EbpfLogger;
use tracing::{Level, debug, enabled, warn};

const TARGET: &str = "kubewitness::kernel";

/// The level that the programs are loaded with (`aya_log_common::Level`): 4 is debug, 0 is nothing.
pub(super) fn level() -> u8 {
    if enabled!(target: TARGET, Level::DEBUG) { 4 } else { 0 }
}

/// Takes the messages of loaded programs to the log.
pub(super) struct KernelLog(Option<EbpfLogger<Forward>>);

impl KernelLog {
    pub(super) fn new(ebpf: &mut Ebpf) -> Self {
        if level() == 0 {
            return Self(None);
        }
        let logger = EbpfLogger::init_with_logger(ebpf, Forward);
        Self(logger.inspect_err(|error| warn!("the kernel programs' messages cannot be read: {error}")).ok())
    }

    /// Logs what is there.
    pub(super) fn flush(&mut self) {
        if let Some(logger) = &mut self.0 {
            logger.flush();
        }
    }
}

struct Forward;

impl log::Log for Forward {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        debug!(target: TARGET, "{}", record.args());
    }

    fn flush(&self) {}
}
