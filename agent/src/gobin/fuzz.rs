//! The body of the fuzz target, which a test calls too.

use super::Executable;

/// Asks every question about hostile bytes. Whatever they are, it returns: with answers or with errors.
pub fn fuzz_entry(bytes: &[u8]) {
    let Ok(executable) = Executable::parse(bytes) else { return };
    let _ = executable.build_info();
    let _ = executable.build_id();
    let functions = executable.functions(|name| name.starts_with("main.") || name.contains("ServeHTTP"));
    let named = executable.types([("main", "main.Sample"), ("runtime", "runtime.g"), ("internal/abi", "abi.Type")]);
    let Ok(named) = named else { return };
    let found: Vec<_> = named.into_iter().flatten().flat_map(|n| [n.defined, n.pointer]).collect();
    for sample in &found {
        let Ok(fields) = sample.fields() else { continue };
        for field in fields.flatten() {
            let _ = field.of.map_shape();
            let _ = field.of.element().and_then(|element| element.name().map(str::len));
        }
    }
    if let Ok(itabs) = executable.itabs(&found) {
        let method = functions.ok().and_then(|functions| functions.first().map(|f| f.address)).unwrap_or_default();
        for itab in itabs {
            let _ = itab.slot_of(method);
        }
    }
}
