//! Those who are refused, and what of it stays on the node.

use std::{fs, time::Duration};

use kubewitness_tests::{
    agent::Agent,
    books,
    call::Call,
    cluster::{CONTAINER, POD},
    flood::Flood,
    scenarios::{Bed, annotation},
};

use crate::{Form, folder};

/// An exec, then refused requests by the hundred thousand with the longest targets that are kept: in files that hold 4 MiB together, the exec
/// is still there. Each refused request is counted.
pub(crate) fn on_the_disk(bed: &Bed, form: Form) {
    let token = bed.identity("on-disk", &["get"], &["nodes/proxy"]);
    let powerless = bed.identity("no-rights", &[], &[]);
    let mut agent = bed.agent(&["--events-max-size", "2Mi", "--events-max-files", "2"]);
    let exec = Call::websocket(&format!("/exec/default/{POD}/{CONTAINER}?command=true&output=1"), "v4.channel.k8s.io");
    assert_eq!(exec.token(&token).user_agent("before").from_node(&bed.cluster).unwrap().only(), Some(101));
    let long = "x".repeat(3800);
    let count = form.of(10_000, 500_000);
    let path = format!("/exec/default/{POD}/{CONTAINER}?command={long}&n={{n}}");
    let (nobody, forbidden) = (Flood::get(&path).times(count), Flood::get(&path).token(&powerless).times(count));
    let (nobody, forbidden) = (nobody.start(&bed.cluster).unwrap(), forbidden.start(&bed.cluster).unwrap());
    assert_eq!([nobody, forbidden].map(|flood| flood.wait().unwrap().only()), [Some(401), Some(403)]);

    let counted = |agent: &mut Agent| {
        let (seen, unseen) = books::known_requests(agent)?;
        Ok((seen + unseen == 2 * count + 1).then_some((seen, unseen)))
    };
    let (seen, unseen) = agent.until("all are counted", Duration::from_secs(60), counted).unwrap();
    let files = books::event_files(&folder(&agent));
    let lines: Vec<String> =
        files.iter().flat_map(|file| fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let events: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        events.iter().any(|event| event["userAgent"] == "before" && annotation(event, "findings") == "unlogged-exec"),
        "the exec was pushed out"
    );
    let probing = events.iter().filter(|event| annotation(event, "findings").contains("probing")).count();
    assert!(probing >= 2, "{probing}");
    let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    let withheld = books::sum(&agent, "kubewitness_events_withheld_total").unwrap();
    let written = books::sum(&agent, "kubewitness_events_written_total").unwrap();
    assert!(withheld > count, "{withheld}");
    let peak = books::peak_memory(agent.pid()).unwrap();
    let note = format!(
        "{written} events in {} KiB, an exec of before still among them; {withheld} withheld; {} MiB of memory at most",
        bytes >> 10,
        peak >> 10
    );
    form.row("refused execs, as many with 401 as with 403", 2 * count, seen - 1, unseen, &note);
}
