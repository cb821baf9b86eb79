//! How a kubelet is set up, as far as that decides who may do what on its ports: from its command line and its files, read as it reads them
//! itself (`cmd/kubelet/app/server.go`, `NewKubeletCommand`). What it was told when it started: files may have changed since.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// One thing that was set, or left as it is by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// What it is about.
    pub what: &'static str,
    /// How it is set.
    pub value: String,
    /// What to do about it, where it gives away more than it must.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
    /// The field of the kubelet's configuration that does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<&'static str>,
}

/// What this line is called, which others know more about.
pub(crate) const FINER_RIGHTS: &str = "finer rights";
/// What to do where it is off.
pub(crate) const WITHOUT_FINER_RIGHTS: &str = "pods, healthz and configz need nodes/proxy, the right to run commands: turn the gate KubeletFineGrainedAuthz on (1.32 to 1.35), or upgrade";

/// A kubelet's configuration is a few kilobytes.
const MAX_FILE: u64 = 1 << 20;

/// How the kubelet of this process is set up. `minor` is its release, 36 for 1.36, if that is known. An error says why it cannot be told.
pub fn settings(pid: u32, minor: Option<u32>) -> Result<Vec<Setting>, String> {
    let root = PathBuf::from(format!("/proc/{pid}"));
    let line = read(&root.join("cmdline")).map_err(|error| format!("its command line cannot be read: {error}"))?;
    let arguments: Vec<&str> = line.split_terminator('\0').collect();
    let started_as_kubelet = arguments.first().and_then(|program| program.rsplit('/').next()).is_some_and(|name| name.contains("kubelet"));
    if !started_as_kubelet {
        return Err("it was not started by the name of kubelet, so its command line is not a kubelet's: look at the configuration of what starts it".to_owned());
    }
    let flags = Flags::parse(&arguments[1..]);
    let place = |file: &str| file.strip_prefix('/').map_or_else(|| root.join("cwd").join(file), |below| root.join("root").join(below));
    let mut files = Vec::new();
    for file in flags.config.iter().map(|file| place(file)).chain(flags.config_dir.iter().flat_map(|folder| drop_ins(&place(folder)))) {
        let parsed = read(&file).map_err(|error| error.to_string()).and_then(|text| Config::parse(&text));
        files.push(parsed.map_err(|error| format!("its configuration {} cannot be read: {error}", file.display()))?);
    }
    Ok(Effective::of(&flags, files).told(minor))
}

/// The name of the node that this process was started with, if it was; without it a kubelet takes the host's, or a cloud provider's.
pub fn node_name(pid: u32) -> Option<String> {
    let line = read(Path::new(&format!("/proc/{pid}/cmdline"))).ok()?;
    Flags::parse(&line.split_terminator('\0').skip(1).collect::<Vec<_>>()).hostname_override
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(file)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// The files of `--config-dir` that a kubelet reads: those that end in `.conf`, by their names.
fn drop_ins(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|file| file.extension().is_some_and(|extension| extension == "conf")).collect();
    files.sort();
    files
}

/// The flags that matter; the last of two equal ones counts.
#[derive(Debug, Default)]
struct Flags {
    config: Option<String>,
    config_dir: Option<String>,
    kubeconfig: Option<String>,
    hostname_override: Option<String>,
    set: Config,
}

impl Flags {
    fn parse(arguments: &[&str]) -> Self {
        let mut flags = Self::default();
        let mut rest = arguments.iter().peekable();
        while let Some(argument) = rest.next() {
            let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else { continue };
            let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
            let name = name.replace('_', "-");
            let is_switch = matches!(name.as_str(), "anonymous-auth" | "enable-debugging-handlers");
            let value = value.or_else(|| if is_switch { Some("true") } else { rest.next_if(|next| !next.starts_with('-')).copied() });
            flags.take(&name, value.unwrap_or_default());
        }
        flags
    }

    fn take(&mut self, name: &str, value: &str) {
        let given = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match name {
            "config" => self.config = given(),
            "config-dir" => self.config_dir = given(),
            "kubeconfig" | "bootstrap-kubeconfig" => self.kubeconfig = given(),
            "hostname-override" => self.hostname_override = given(),
            "authorization-mode" => self.set.authorization.mode = given(),
            "anonymous-auth" => self.set.authentication.anonymous.enabled = switch(value),
            "enable-debugging-handlers" => self.set.enable_debugging_handlers = switch(value),
            "read-only-port" => self.set.read_only_port = value.parse().ok(),
            "feature-gates" => {
                let gates = value.split(',').filter_map(|gate| gate.split_once('='));
                self.set.feature_gates.extend(gates.filter_map(|(name, on)| Some((name.trim().to_owned(), switch(on)?))));
            }
            _ => {}
        }
    }
}

/// As Go's `strconv.ParseBool`.
fn switch(text: &str) -> Option<bool> {
    match text.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The fields of a `KubeletConfiguration` that matter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    authentication: Authentication,
    authorization: Authorization,
    read_only_port: Option<u16>,
    enable_debugging_handlers: Option<bool>,
    feature_gates: BTreeMap<String, bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Authentication {
    anonymous: Anonymous,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Anonymous {
    enabled: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Authorization {
    mode: Option<String>,
}

impl Config {
    /// From YAML, of which JSON is a part.
    fn parse(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    /// What `over` sets, and else what this one does.
    fn under(mut self, over: Self) -> Self {
        self.authorization.mode = over.authorization.mode.or(self.authorization.mode);
        self.authentication.anonymous.enabled = over.authentication.anonymous.enabled.or(self.authentication.anonymous.enabled);
        self.read_only_port = over.read_only_port.or(self.read_only_port);
        self.enable_debugging_handlers = over.enable_debugging_handlers.or(self.enable_debugging_handlers);
        self.feature_gates.extend(over.feature_gates);
        self
    }
}

/// What is in force.
#[derive(Debug, PartialEq, Eq)]
struct Effective {
    authorization: String,
    anonymous: bool,
    read_only_port: u16,
    debugging: bool,
    fine_grained: Option<bool>,
    api_server: bool,
}

impl Effective {
    /// Flags over files over defaults. A kubelet that reads no file has other defaults than one that does, as its flags had them once
    /// (`cmd/kubelet/app/options/options.go`, `applyLegacyDefaults`).
    fn of(flags: &Flags, files: Vec<Config>) -> Self {
        let legacy = files.is_empty();
        let set = files.into_iter().chain([flags.set.clone()]).fold(Config::default(), Config::under);
        Self {
            authorization: set.authorization.mode.unwrap_or_else(|| if legacy { "AlwaysAllow" } else { "Webhook" }.to_owned()),
            anonymous: set.authentication.anonymous.enabled.unwrap_or(legacy),
            read_only_port: set.read_only_port.unwrap_or(if legacy { 10255 } else { 0 }),
            debugging: set.enable_debugging_handlers.unwrap_or(true),
            fine_grained: set.feature_gates.get("KubeletFineGrainedAuthz").copied(),
            api_server: flags.kubeconfig.is_some(),
        }
    }

    fn told(&self, minor: Option<u32>) -> Vec<Setting> {
        let fine = |what, value: String| Setting { what, value, advice: None, fix: None };
        let setting = |what, value: String, risky: bool, advice, fix| {
            if risky { Setting { what, value, advice: Some(advice), fix } } else { fine(what, value) }
        };
        let on = |on| if on { "on" } else { "off" }.to_owned();
        let port = if self.read_only_port == 0 { on(false) } else { self.read_only_port.to_string() };
        let (finer, without) = self.finer_rights(minor);
        vec![
            fine("API server", if self.api_server { "by a kubeconfig" } else { "none: standalone" }.to_owned()),
            setting(
                "authorization",
                self.authorization.clone(),
                self.authorization == "AlwaysAllow",
                "whoever is authenticated may do everything: set authorization.mode to Webhook",
                Some("authorization: {mode: Webhook}"),
            ),
            setting(
                "anonymous",
                on(self.anonymous),
                self.anonymous,
                "callers without credentials are let in as system:anonymous: set authentication.anonymous.enabled to false",
                Some("authentication: {anonymous: {enabled: false}}"),
            ),
            setting(
                "read-only port",
                port,
                self.read_only_port != 0,
                "nobody is asked who they are there: set readOnlyPort to 0",
                Some("readOnlyPort: 0"),
            ),
            fine("debugging", on(self.debugging)),
            setting(FINER_RIGHTS, finer.to_owned(), without, WITHOUT_FINER_RIGHTS, has_gate(minor).then_some(GATE)),
        ]
    }

    /// Whether the kubelet asks for them, and whether it surely does not. Since 1.32 behind a gate, which is on by default since 1.33 and
    /// cannot be turned off since 1.36.
    fn finer_rights(&self, minor: Option<u32>) -> (&'static str, bool) {
        match (minor, self.fine_grained) {
            (None, _) => ("unknown, as its release is", false),
            (Some(..32), _) => ("off: its release has none", true),
            (Some(36..), _) => ("on", false),
            (_, Some(true)) => ("on, by its gate", false),
            (_, Some(false)) => ("off, by its gate", true),
            (Some(32), None) => ("off, by default", true),
            (_, None) => ("on, by default", false),
        }
    }
}

/// The gate that turns finer rights on, in the releases that have it and can be without it.
pub(crate) const GATE: &str = "featureGates: {KubeletFineGrainedAuthz: true}";

pub(crate) fn has_gate(minor: Option<u32>) -> bool {
    minor.is_some_and(|minor| (32..36).contains(&minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str, files: &[&str], minor: u32) -> Vec<String> {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let files = files.iter().map(|text| Config::parse(text).expect("YAML")).collect();
        let settings = Effective::of(&Flags::parse(&arguments), files).told(Some(minor));
        settings.into_iter().map(|setting| setting.value + if setting.advice.is_some() { "!" } else { "" }).collect()
    }

    #[test]
    fn flags_come_before_files_and_the_last_file_before_the_others() {
        let by_kubeconfig = "by a kubeconfig";
        let file = "authorization: {mode: Webhook}\nreadOnlyPort: 0\n";
        let open = r#"{"readOnlyPort": 10255, "authentication": {"anonymous": {"enabled": true}}}"#;
        for (line, files, minor, expected) in [
            ("--kubeconfig=/k", vec![file], 36, [by_kubeconfig, "Webhook", "off", "off", "on", "on"]),
            ("--kubeconfig /k", vec![file, open], 36, [by_kubeconfig, "Webhook", "on!", "10255!", "on", "on"]),
            (
                "--kubeconfig=/k --read-only-port=0 --anonymous-auth=false",
                vec![open],
                36,
                [by_kubeconfig, "Webhook", "off", "off", "on", "on"],
            ),
            ("--kubeconfig=/k --kubeconfig=", vec![file], 36, ["none: standalone", "Webhook", "off", "off", "on", "on"]),
            ("--anonymous_auth", vec!["{}"], 36, ["none: standalone", "Webhook", "on!", "off", "on", "on"]),
            ("", vec![], 36, ["none: standalone", "AlwaysAllow!", "on!", "10255!", "on", "on"]),
            (
                "--authorization-mode Webhook --enable-debugging-handlers=0",
                vec![],
                31,
                ["none: standalone", "Webhook", "on!", "10255!", "off", "off: its release has none!"],
            ),
            ("", vec!["{}"], 32, ["none: standalone", "Webhook", "off", "off", "on", "off, by default!"]),
            (
                "--feature-gates=A=true,KubeletFineGrainedAuthz=true",
                vec!["{}"],
                32,
                ["none: standalone", "Webhook", "off", "off", "on", "on, by its gate"],
            ),
            (
                "",
                vec!["featureGates: {KubeletFineGrainedAuthz: false}"],
                33,
                ["none: standalone", "Webhook", "off", "off", "on", "off, by its gate!"],
            ),
        ] {
            assert_eq!(told(line, &files, minor), expected, "{line} {files:?}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_an_error() {
        assert!(Config::parse("readOnlyPort: [").is_err());
        assert!(Config::parse("readOnlyPort: 70000").is_err());
        assert!(Config::parse("").is_ok_and(|config| config.read_only_port.is_none()));
    }

    #[test]
    fn this_process_is_no_kubelet() {
        let error = settings(std::process::id(), None).expect_err("a test");
        assert!(error.contains("not started by the name of kubelet"), "{error}");
    }
}
