//! What callers choose, each time something else.

use std::time::Duration;

use kubewitness_tests::{agent::Agent, books, flood::Flood, scenarios::Bed};

use crate::Form;

/// Targets, user agents and headers that are never the same twice, on connections that are: memory and series stay as they are.
pub(crate) fn requests(bed: &Bed, form: Form) {
    let token = bed.identity("distinct", &["get"], &["nodes/proxy"]);
    let mut agent = bed.agent(&["--events-max-size", "10Mi", "--events-max-files", "2"]);
    let count = form.of(20_000, 500_000);
    let distinct = |path: &str| {
        let flood = Flood::get(path).user_agent("agent-{n}").header("X-{n}: {n}").header("Upgrade: protocol-{n}");
        flood.connections(16).times(count)
    };
    let send = |agent: &mut Agent, already: u64| {
        let allowed = distinct("/pods/{n}/{n}?{n}={n}").token(&token).start(&bed.cluster).unwrap();
        let refused = distinct("/exec/ns-{n}/pod-{n}/container-{n}?command={n}").start(&bed.cluster).unwrap();
        let answered = allowed.wait().unwrap().answered() + refused.wait().unwrap().answered();
        let counted = |agent: &mut Agent| {
            let (seen, unseen) = books::known_requests(agent)?;
            Ok((seen + unseen == already + answered).then_some((seen, unseen)))
        };
        let counts = agent.until("all are counted", Duration::from_secs(60), counted).unwrap();
        (counts, already + answered, agent.metrics().unwrap().len(), books::peak_memory(agent.pid()).unwrap())
    };
    // The first tenth shows what there is, the rest that it does not grow.
    let (_, first, series, _) = send(&mut agent, 0);
    let ((seen, unseen), all, more_series, peak) = send(&mut agent, first);
    assert!(more_series <= series + 2, "{series} series became {more_series}");
    assert!(peak < 64 << 10, "{peak} KiB");
    let note = format!("{more_series} series, {} MiB of memory at most", peak >> 10);
    form.row("distinct targets, pods, user agents and headers", all, seen, unseen, &note);
}
