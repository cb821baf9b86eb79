//! What somebody may have meant: names that clap does not know of.

use std::collections::BTreeSet;

use clap::Command;

/// How much of a name must agree; 1 is all of it.
const NEAR: f64 = 0.75;

/// The nearest of some names, if one is near enough.
pub(super) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let rated = known.into_iter().map(|name| (strsim::normalized_damerau_levenshtein(typed, name), name));
    rated.filter(|(rate, _)| *rate >= NEAR).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, name)| name)
}

/// Environment variables that are nearly those of a flag: each a sentence. Others with our prefix are somebody else's, such as those that
/// Kubernetes makes of a Service with our name.
pub(super) fn misspelt(command: &Command, set: impl IntoIterator<Item = String>) -> Vec<String> {
    const PREFIX: &str = "KUBEWITNESS_";
    let mut known = BTreeSet::new();
    let mut commands = vec![command];
    while let Some(command) = commands.pop() {
        known.extend(command.get_arguments().filter_map(|flag| flag.get_env()?.to_str()?.strip_prefix(PREFIX)));
        commands.extend(command.get_subcommands());
    }
    let set = set.into_iter().filter_map(|name| name.strip_prefix(PREFIX).map(str::to_owned));
    let unknown = set.filter(|name| !known.contains(name.as_str()));
    unknown
        .filter_map(|name| {
            let meant = nearest(&name, known.iter().copied())?;
            Some(format!("the environment variable {PREFIX}{name} means nothing here; did you mean {PREFIX}{meant}?"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn only_what_is_near_is_meant() {
        let known = ["ServiceAccount:monitoring/agent", "User:jane", "info", "debug"];
        for (typed, meant) in [
            ("Serviceaccount:monitoring/agent", Some("ServiceAccount:monitoring/agent")),
            ("User:jnae", Some("User:jane")),
            ("inof", Some("info")),
            ("Group:ops", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }

    #[test]
    fn misspelt_variables_are_told_and_those_of_others_are_not() {
        let set = [
            "KUBEWITNESS_EVENT",
            "KUBEWITNESS_EVENTS",
            "KUBEWITNESS_SERVICE_HOST",
            "KUBEWITNESS_PORT_9464_TCP_ADDR",
            "KUBEWITNESS_HOST",
            "EVENT",
        ];
        let said = misspelt(&Cli::command(), set.map(str::to_owned));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("KUBEWITNESS_EVENT ") && said[0].contains("KUBEWITNESS_EVENTS?"), "{said:?}");
    }
}
