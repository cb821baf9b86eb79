//! For each identity that holds or used `nodes/proxy`: what would be enough, how to get there, and whether it is proved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Advice, Caller, Caveat, Cluster, Coverage, Holder, HolderKind, IdentitySeen, Instead, Line, NewRole, Observed, Origin, Right, Step,
    Upgrade, Use, Who, advice,
    advice::verb_is_assumed,
    diff,
    grants::uses_proxy,
    names::{Names, bindable},
    proof::{self, Proof},
    steps,
    upgrade::Need,
    users,
    words::counted,
};
use crate::judge::Finding;
use crate::kubelet::{AccessKind, Endpoint, Verb};
use crate::rbac::{self, Snapshot, Subject, builtin};

/// What would be enough for one identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// The identity, as a binding names it.
    pub subject: Subject,
    /// What to do.
    pub verdict: Verdict,
    /// What it rests on.
    pub basis: Basis,
    /// The rights that cover what was seen, each with the endpoints and how often they were used.
    pub covers: BTreeMap<Right, BTreeMap<Endpoint, u64>>,
    /// The role that gives these rights and no more; `None` if there are none, or a role changes nothing.
    pub role: Option<NewRole>,
    /// What nothing but `nodes/proxy` lets in.
    pub kept: Vec<Kept>,
    /// How to take `nodes/proxy` away; empty without RBAC objects.
    pub steps: Vec<Step>,
    /// The roles that give it `nodes/proxy`, as far as they concern nodes.
    pub before: BTreeMap<String, Vec<rbac::Rule>>,
    /// How its rights on `nodes/*` change.
    pub diff: Vec<Line>,
    /// Which kubelets honour the role.
    pub upgrade: Arc<Upgrade>,
    /// What the RBAC objects say afterwards; `None` without them.
    pub proof: Option<Proof>,
    /// What the kubelets said granted its requests, each with its count.
    pub granted_by: BTreeMap<String, u64>,
    /// What makes the conclusion uncertain for this identity, besides what does so for all.
    pub caveats: Vec<Caveat>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The role covers all that was seen: `nodes/proxy` can go.
    Replace,
    /// The same, once all kubelets honour the role.
    UpgradeFirst,
    /// It was seen to do what only `nodes/proxy` lets in.
    Keep,
    /// It holds `nodes/proxy`, and no right was seen to be used.
    Unused,
    /// It was let in, and it was not seen to what.
    Undecided,
    /// It is a member of `system:masters`: it is let in before RBAC is asked, and no role changes that.
    Masters,
}

/// What a conclusion rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// Requests of the identity that were let in.
    pub requests: u64,
    /// The window.
    pub window: Option<(Timestamp, Timestamp)>,
    /// The nodes on which it was seen; `None` where the source does not tell them.
    pub nodes: Option<usize>,
    /// The nodes that are known.
    pub of_nodes: usize,
}

/// Something that nothing but `nodes/proxy` lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The endpoint; `None` for requests through the API server.
    pub endpoint: Option<Endpoint>,
    /// How often.
    pub count: u64,
    /// What to do instead.
    pub instead: Instead,
}

pub(super) fn replacements(
    observed: &Observed,
    origin: &Origin,
    cluster: Option<&Cluster>,
    coverage: &Coverage,
    holders: Option<&[Holder]>,
) -> Vec<Replacement> {
    let mut wanted: BTreeSet<&str> = users(observed);
    let named = holders.into_iter().flatten().filter(|holder| holder.kind == HolderKind::Ordinary);
    wanted.extend(named.filter(|holder| holder.grant.subject.kind != rbac::SubjectKind::Group).map(|holder| &*holder.grant.subject.name));
    let mut grants: BTreeMap<&str, Vec<&rbac::Holder>> = BTreeMap::new();
    for holder in holders.into_iter().flatten() {
        grants.entry(&holder.grant.subject.name).or_default().push(&holder.grant);
    }
    let mut uses: BTreeMap<&Who, Vec<(&Use, u64)>> = BTreeMap::new();
    for (seen, count) in &observed.uses {
        uses.entry(&seen.who).or_default().push((seen, *count));
    }
    let bound_to = cluster.map(|cluster| steps::BoundTo::of(&cluster.snapshot));
    let bindings = cluster.into_iter().flat_map(|cluster| cluster.snapshot.bindings());
    let unreadable = bindings.filter(|(_, binding)| binding.malformed).map(|(name, binding)| (name.clone(), binding)).collect();
    let mut advisor =
        Advisor { observed, cluster, coverage, grants, bound_to, unreadable, upgrades: BTreeMap::new(), names: Names::default() };
    let mut all = Vec::new();
    for user in wanted.into_iter().filter(|user| !user.is_empty() && !origin.is_api_server(user)) {
        let who = Who::User(user.to_owned());
        all.extend(advisor.advise(&who, user, uses.get(&who).map_or(&[], Vec::as_slice)));
    }
    all.sort_by_key(|replacement| replacement.verdict);
    all
}

struct Advisor<'a> {
    observed: &'a Observed,
    cluster: Option<&'a Cluster>,
    coverage: &'a Coverage,
    /// The grants of `nodes/proxy` by the name of their subject.
    grants: BTreeMap<&'a str, Vec<&'a rbac::Holder>>,
    bound_to: Option<steps::BoundTo>,
    /// Bindings that could not be read whole.
    unreadable: Vec<(Arc<str>, rbac::Binding)>,
    upgrades: BTreeMap<Need, Arc<Upgrade>>,
    names: Names,
}

impl Advisor<'_> {
    /// `None` for an identity that neither holds nor used `nodes/proxy`.
    fn advise(&mut self, who: &Who, user: &str, requests: &[(&Use, u64)]) -> Option<Replacement> {
        let known = self.observed.identities.get(who);
        let caller = Caller::new(user, known);
        let named = caller.groups.iter().map(String::as_str).chain([user]);
        let grants: Vec<&rbac::Holder> =
            named.filter_map(|name| self.grants.get(name)).flatten().copied().filter(|grant| caller.is(&grant.subject)).collect();
        let through_api_server = known.map_or(0, |seen| seen.through_api_server);
        let needs_proxy = through_api_server > 0 || requests.iter().any(|(seen, _)| uses_proxy(seen));
        if !needs_proxy && grants.iter().all(|grant| builtin::is_holder(&grant.subject, &grant.by.role)) {
            return None;
        }
        let done = Done::of(requests, through_api_server);
        let subject = bindable(user);
        let before = self.cluster.map(|cluster| proof::around(&caller, &cluster.snapshot, &self.unreadable));
        let endpoints = done.covers.values().flat_map(BTreeMap::keys);
        let need = Need::of(endpoints);
        let upgrade = self.upgrades.entry(need).or_insert_with(|| Arc::new(Upgrade::of(need, self.coverage))).clone();
        let verdict = done.verdict(&caller, &upgrade);
        let rights: BTreeMap<Right, Option<BTreeSet<String>>> =
            done.covers.keys().map(|right| (*right, before.as_ref().and_then(|before| proof::limits(&caller, before, *right)))).collect();
        let role =
            (verdict != Verdict::Masters && !rights.is_empty()).then(|| NewRole::new(self.names.of(&subject), subject.clone(), &rights));
        let steps = match (self.cluster, &self.bound_to) {
            (Some(cluster), Some(bound_to)) => steps::steps(&caller, &grants, &cluster.snapshot, bound_to),
            _ => Vec::new(),
        };
        let after = before.as_ref().map(|before| after(before, role.as_ref(), if verdict.takes_away() { &steps } else { &[] }));
        let seen_on = known.map(|seen| &seen.nodes).filter(|nodes| !nodes.is_empty());
        Some(Replacement {
            basis: self.basis(requests, seen_on),
            before: before.as_ref().map(|before| roles(&steps, before)).unwrap_or_default(),
            diff: before.as_ref().zip(after.as_ref()).map(|(before, after)| diff::diff(&caller, before, after)).unwrap_or_default(),
            proof: after.as_ref().map(|after| Proof::of(&caller, after, &rights, seen_on)),
            granted_by: known.map(|seen| seen.granted_by.clone()).unwrap_or_default(),
            caveats: self.caveats(who, &caller, known, requests, &done),
            covers: done.covers,
            kept: done.kept,
            subject,
            verdict,
            role,
            steps,
            upgrade,
        })
    }

    fn basis(&self, uses: &[(&Use, u64)], seen_on: Option<&BTreeSet<String>>) -> Basis {
        let let_in = uses.iter().filter(|(seen, _)| seen.access.is_allowed());
        Basis {
            requests: let_in.map(|(_, count)| count).sum(),
            window: self.coverage.window,
            nodes: seen_on.map(BTreeSet::len),
            of_nodes: self.coverage.nodes.len(),
        }
    }

    fn caveats(&self, who: &Who, caller: &Caller, known: Option<&IdentitySeen>, uses: &[(&Use, u64)], done: &Done) -> Vec<Caveat> {
        let count = |wanted: &dyn Fn(&Use) -> bool| -> u64 { uses.iter().filter(|(seen, _)| wanted(seen)).map(|(_, count)| count).sum() };
        let mut caveats = Vec::new();
        let mut caveat = |id, count: u64, text: &str| {
            if count > 0 {
                caveats.push(Caveat { id, text: text.replace("{}", &counted(count, "request")) });
            }
        };
        let right = |seen: &Use| matches!(advice(seen), Some(Advice::Right(_)));
        caveat("refused", count(&|seen| seen.access == AccessKind::Denied), "{} refused: attempts, which the role does not cover.");
        let unknown = count(&|seen| seen.access == AccessKind::Unknown);
        caveat("access-unknown", unknown, "It cannot be told how {} came in, or whether.");
        caveat("endpoint-unseen", done.unseen, "{} let in whose path was not seen: what they need is not in the role.");
        let assumed = count(&|seen| verb_is_assumed(seen) && right(seen));
        caveat("verb-assumed", assumed, "{} without a verb, which the source does not tell: taken for the one that the endpoint serves.");
        let any_verb = count(&|seen| seen.verb == Verb::None && right(seen));
        caveat("any-verb", any_verb, "{} by HEAD or an unusual method, which only the verb * lets in.");
        let outside = self.observed.findings.get(&(Finding::OutsideRbac, who.clone())).map_or(0, |found| found.count);
        caveat("outside-rbac", outside, "{} let in by something else than RBAC, which may go on letting them in.");
        if self.cluster.is_some() && !caller.all_groups_known {
            let text = "The source does not tell its groups: one of them may give it more.".to_owned();
            caveats.push(Caveat { id: "groups-unknown", text });
        }
        if known.is_none_or(|seen| seen.nodes.is_empty()) && !uses.is_empty() {
            let text = "The source does not tell on which nodes it was seen.".to_owned();
            caveats.push(Caveat { id: "nodes-not-told", text });
        }
        caveats
    }
}

/// What an identity did, by what lets it in.
#[derive(Default)]
struct Done {
    covers: BTreeMap<Right, BTreeMap<Endpoint, u64>>,
    kept: Vec<Kept>,
    unseen: u64,
}

impl Done {
    fn of(uses: &[(&Use, u64)], through_api_server: u64) -> Self {
        let mut done = Self::default();
        for (seen, count) in uses {
            match advice(seen) {
                Some(Advice::Right(right)) => *done.covers.entry(right).or_default().entry(seen.endpoint.clone()).or_default() += count,
                Some(Advice::Instead(instead)) => done.keep(Some(seen.endpoint.clone()), *count, instead),
                Some(Advice::Unseen) => done.unseen += count,
                None => {}
            }
        }
        if through_api_server > 0 {
            done.keep(None, through_api_server, Instead::Directly);
        }
        done
    }

    fn keep(&mut self, endpoint: Option<Endpoint>, count: u64, instead: Instead) {
        match self.kept.iter_mut().find(|kept| kept.endpoint == endpoint) {
            Some(kept) => kept.count += count,
            None => self.kept.push(Kept { endpoint, count, instead }),
        }
    }

    fn verdict(&self, caller: &Caller, upgrade: &Upgrade) -> Verdict {
        if caller.is_master() {
            Verdict::Masters
        } else if !self.kept.is_empty() {
            Verdict::Keep
        } else if self.unseen > 0 {
            Verdict::Undecided
        } else if self.covers.is_empty() {
            Verdict::Unused
        } else if upgrade.is_needed() {
            Verdict::UpgradeFirst
        } else {
            Verdict::Replace
        }
    }
}

impl Verdict {
    /// A word for programs.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::UpgradeFirst => "upgrade-first",
            Self::Keep => "keep",
            Self::Unused => "unused",
            Self::Undecided => "undecided",
            Self::Masters => "system-masters",
        }
    }

    /// Whether `nodes/proxy` is to be taken away.
    pub const fn takes_away(self) -> bool {
        matches!(self, Self::Replace | Self::UpgradeFirst | Self::Unused)
    }
}

/// The objects once the role is there and the steps are done.
fn after(before: &Snapshot, role: Option<&NewRole>, steps: &[Step]) -> Snapshot {
    let mut after = before.clone();
    for change in role.into_iter().flat_map(NewRole::changes) {
        after.apply(change);
    }
    for step in steps {
        if let Some(change) = step.change(&after) {
            after.apply(change);
        }
    }
    after
}

fn roles(steps: &[Step], before: &Snapshot) -> BTreeMap<String, Vec<rbac::Rule>> {
    let names = steps.iter().filter_map(|step| Some((step.role.to_string(), before.role(&step.role)?.rules.to_vec())));
    names.collect()
}
