//! What must not outlive the process.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// A crash leaves nothing of the memory on a disk: it holds credentials, the callers' commands, and for a moment the tokens of those who scrape.
/// The limit is heeded where the kernel writes a file, the other where it hands the memory to a program.
pub(super) fn leave_no_core() {
    // Both are always allowed to whoever makes them stricter; without them there is a core as there would be of any program.
    let _limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
