//! Who holds `nodes/proxy`, used or not.

use maud::{Markup, html};

use super::Page;
use super::parts::{Column, number, shown, table};
use crate::report::text::sentences;
use crate::report::{Holder, HolderKind, Who};

pub(super) fn section(page: &Page<'_>) -> Markup {
    html! {
        section id="holders" aria-labelledby="holders-title" {
            h2 id="holders-title" { "Who may use nodes/proxy" }
            @match &page.report.holders {
                None => p { "Not known without RBAC objects: name them with " code { "--rbac cluster" } " or " code { "--rbac-from FILE" } "." },
                Some(holders) if holders.is_empty() => p { "Nobody." },
                Some(holders) => {
                    p { "Whoever may get or create it could run commands in every pod of the nodes." }
                    (told(page, holders))
                }
            }
        }
    }
}

fn told(page: &Page<'_>, holders: &[Holder]) -> Markup {
    let columns = [
        Column::text("Subject"),
        Column::text("Verbs"),
        Column::number("Used"),
        Column::number("Execs"),
        Column::number("Through the API server"),
        Column::text("By"),
        Column::text("What that means"),
    ];
    table("holders", "Subjects that hold nodes/proxy", &columns, holders, |holder| {
        let by = &holder.grant.by;
        let subject = sentences::subject(&holder.grant.subject);
        let user = Who::User(holder.grant.subject.name.to_string());
        html! {
            tr {
                th scope="row" { @if sentences::who(&user) == subject { (page.link(&user)) } @else { span.name { (shown(&subject)) } } }
                td { (by.verbs.words().join(", ")) }
                td.n { (sentences::times(holder.used)) }
                td.n { (sentences::times(holder.execs)) }
                td.n { (number(holder.through_api_server)) }
                td { (shown(&format!("{} ({} rule {})", holder.grant.binding, by.role, by.rule + 1))) }
                td { (remarks(holder).join("; ")) }
            }
        }
    })
}

fn remarks(holder: &Holder) -> Vec<&'static str> {
    let by = &holder.grant.by;
    let all = [
        (holder.is_unused(), "never seen to use it"),
        (holder.could_exec_and_never_did(), "could run commands, and never did"),
        (by.by_wildcard, "by a wildcard"),
        (by.nodes.is_some(), "some nodes only"),
        (holder.kind == HolderKind::ApiServer, "the API server, which needs it"),
        (holder.kind == HolderKind::Masters, "allowed everything anyway"),
        (holder.kind == HolderKind::BuiltIn, "built in"),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, remark)| remark).collect()
}
