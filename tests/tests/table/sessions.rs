//! The rows of exec, attach, run and portForward, over every transport, and the ways to write their paths differently.

use crate::people::{Caller, GET_PROXY, right};
use crate::row::{Kind, Object, Ran, Row};

const ECHO: &str = "/exec/default/web/main?command=echo&command=e2e&output=1";
const WEBSOCKET_V4: &str = "v4.channel.k8s.io";
const WEBSOCKET_V5: &str = "v5.channel.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// The rows for a kubelet of release 1.`minor`, on which the pod `default/web` has this uid.
pub(crate) fn rows(minor: u32, uid: &str) -> Vec<Row> {
    let mut rows = exec(minor, uid);
    rows.extend(evasions(minor));
    rows.extend(attach(minor));
    rows.extend(port_forward(minor));
    rows.extend(run(uid));
    rows.extend(methods());
    rows
}

/// A row of the exec class: everybody with `nodes/proxy`, and the reader, whom a GET lets in.
fn row(method: &'static str, target: impl Into<String>, subresource: &'static str, ran: Ran) -> Row {
    let object = Object::Pod { name: "web", uid: String::new(), subresource };
    Row::new(method, target, &["proxy"]).object(object).kind(Kind::Exec(ran)).and_by_a_reader()
}

fn exec(minor: u32, uid: &str) -> Vec<Row> {
    let with = |query: &str, ran| row("GET", format!("/exec/default/web/main?{query}"), "exec", ran);
    let spdy = |method| row(method, ECHO, "exec", Ran::Answered).spdy(WEBSOCKET_V4).code(101);
    let proxy = [Caller::With(right("proxy"))];
    let named = |name, uid: &str| Object::Pod { name, uid: uid.to_owned(), subresource: "exec" };
    let mut everybody = row("GET", ECHO, "exec", Ran::Answered).websocket(WEBSOCKET_V4).code(101).listen();
    everybody.callers.extend([Caller::Nobody, Caller::With(right("metrics")), Caller::With(right("pods")), Caller::ApiServer]);
    let mut rows = vec![
        everybody,
        row("GET", ECHO, "exec", Ran::Answered).websocket_without_protocol().token_in_subprotocol().code(101).listen(),
        spdy("GET"),
        spdy("POST"),
        without_upgrade(),
        row("POST", ECHO, "exec", Ran::Not).code(500),
        // The runtime does not speak it: the connection is taken over, and refused.
        row("GET", ECHO, "exec", Ran::Not).websocket("bogus.k8s.io").code(403),
        with("command=echo", Ran::Not).websocket(WEBSOCKET_V4).code(400),
        with("command=no-such-program&output=1", Ran::Answered).websocket(WEBSOCKET_V4).code(101).listen(),
        row("GET", "/exec/default/nobody/main?command=id&output=1", "exec", Ran::Not)
            .object(named("nobody", ""))
            .websocket(WEBSOCKET_V4)
            .code(404),
        row("GET", "/exec/default/web/nobody?command=id&output=1", "exec", Ran::Not).websocket(WEBSOCKET_V4).code(500),
        row("GET", format!("/exec/default/web/{uid}/main?command=id&output=1"), "exec", Ran::Answered)
            .object(named("web", uid))
            .websocket(WEBSOCKET_V4)
            .code(101)
            .listen(),
        row("GET", "/exec/default/web", "exec", Ran::Not).object(Object::Node("proxy")).websocket(WEBSOCKET_V4).code(404),
    ];
    let v5 = |query| with(query, Ran::Briefly).websocket(WEBSOCKET_V5);
    if minor >= 36 {
        rows.push(v5("command=echo&command=e2e&output=1").code(101).listen());
        rows.push(v5("command=sleep&command=1&output=1").kind(Kind::Exec(Ran::Lasting)).by(&proxy).code(101).listen());
    } else {
        // The runtime does not speak it, and no kubelet before 1.36 translates.
        rows.push(v5("command=echo&command=e2e&output=1").kind(Kind::Exec(Ran::Not)).code(403));
    }
    rows
}

/// An exec without an Upgrade header is let in and then fails.
pub(crate) fn without_upgrade() -> Row {
    row("GET", ECHO, "exec", Ran::Not).code(500)
}

/// The kubelet routes by the decoded path, and decodes the query: whoever goes by the request line is evaded.
fn evasions(minor: u32) -> Vec<Row> {
    let reader = [Caller::With(GET_PROXY)];
    let attack = |target: &str| {
        let row = row("GET", format!("{target}?command=echo&command=e2e&output=1"), "exec", Ran::Answered);
        row.websocket(WEBSOCKET_V4).code(101).listen().by(&reader)
    };
    let sent_away = if minor >= 36 { 307 } else { 301 };
    let lost = |target: &str, code, object| {
        Row::unchecked("GET", target, code).object(object).kind(Kind::Exec(Ran::Not)).websocket(WEBSOCKET_V4).by(&reader)
    };
    let harmless = |target: &str, code, subresource| lost(target, code, Object::Node(subresource)).kind(Kind::Harmless);
    let exec = Object::Pod { name: "web", uid: String::new(), subresource: "exec" };
    let by_query =
        Row { target: "/exec/default/web/main?%63ommand=echo&comm%61nd=e2e&%6futput=1".to_owned(), ..attack("/exec/default/web/main") };
    vec![
        by_query,
        attack("/%65xec/default/web/main"),
        attack("http://elsewhere/exec/default/web/main"),
        attack("/exec/default/web/main/"),
        attack("/exec/default/web/%6d%61in"),
        attack("/exec/%64efault/we%62/main"),
        harmless("//exec/default/web/main", sent_away, ""),
        harmless("/./exec/default/web/main", sent_away, ""),
        harmless("/pods/../exec/default/web/main", sent_away, "pods"),
        harmless("/EXEC/default/web/main", 404, ""),
        lost("/exec/../exec/default/web/main", sent_away, Object::Node("proxy")),
        // Since Go 1.22, by which 1.30 is built, the mux decodes each segment by itself: before, an encoded slash was one.
        if minor >= 30 { lost("/exec%2fdefault/web/main", 404, exec) } else { attack("/exec%2fdefault/web/main") },
    ]
}

fn attach(minor: u32) -> Vec<Row> {
    let attach = |method, query: &str, ran| row(method, format!("/attach/default/web/main?{query}"), "attach", ran);
    let nobody = Object::Pod { name: "nobody", uid: String::new(), subresource: "attach" };
    vec![
        attach("GET", "output=1", Ran::Answered).websocket(WEBSOCKET_V4).code(101),
        attach("GET", "output=1", Ran::Answered).spdy(WEBSOCKET_V4).code(101),
        attach("POST", "output=1", Ran::Answered).spdy(WEBSOCKET_V4).code(101),
        attach("GET", "output=1", Ran::Not).code(500),
        attach("POST", "output=1", Ran::Not).code(500),
        attach("GET", "", Ran::Not).websocket(WEBSOCKET_V4).code(400),
        attach("GET", "output=1", if minor >= 36 { Ran::Whenever } else { Ran::Not }).websocket(WEBSOCKET_V5).code(if minor >= 36 {
            101
        } else {
            403
        }),
        row("GET", "/attach/default/nobody/main?output=1", "attach", Ran::Not).object(nobody).websocket(WEBSOCKET_V4).code(404),
        row("GET", "/%61ttach/default/web/main?output=1", "attach", Ran::Answered)
            .websocket(WEBSOCKET_V4)
            .code(101)
            .by(&[Caller::With(GET_PROXY)]),
    ]
}

fn port_forward(minor: u32) -> Vec<Row> {
    let forward = |method, query: &str, ran| row(method, format!("/portForward/default/web{query}"), "portforward", ran);
    let nobody = Object::Pod { name: "nobody", uid: String::new(), subresource: "portforward" };
    let mut rows = vec![
        forward("GET", "?port=9464", Ran::Answered).websocket(WEBSOCKET_V4).code(101),
        forward("GET", "", Ran::Answered).spdy("portforward.k8s.io").code(101),
        forward("POST", "", Ran::Answered).spdy("portforward.k8s.io").code(101),
        // Let in, and then 403 by the runtime: a status is no verdict.
        forward("POST", "", Ran::Not).spdy("bogus.k8s.io").code(403),
        forward("GET", "", Ran::Not).code(500),
        forward("POST", "", Ran::Not).code(500),
        forward("GET", "", Ran::Not).websocket(WEBSOCKET_V4).code(400),
        row("POST", "/portForward/default/nobody", "portforward", Ran::Not).object(nobody).spdy("portforward.k8s.io").code(404),
    ];
    if minor >= 36 {
        rows.push(forward("GET", "", Ran::Answered).websocket(TUNNEL).code(101));
    }
    rows
}

/// No answer of the runtime passes for `run`: 200, or 500 for a command that failed as well as for a container that is not there.
fn run(uid: &str) -> Vec<Row> {
    let with = |command: &str, ran| row("POST", format!("/run/default/web/main?cmd={command}"), "run", ran);
    let named = |name, uid: &str| Object::Pod { name, uid: uid.to_owned(), subresource: "run" };
    vec![
        with("echo+e2e", Ran::Briefly),
        with("false", Ran::Briefly).code(500),
        with("sleep+1", Ran::Lasting).by(&[Caller::With(right("proxy"))]),
        row("POST", "/run/default/web/nobody?cmd=id", "run", Ran::Briefly).code(500),
        row("POST", "/run/default/nobody/main?cmd=id", "run", Ran::Not).object(named("nobody", "")).code(404),
        row("POST", format!("/run/default/web/{uid}/main?cmd=id"), "run", Ran::Briefly).object(named("web", uid)),
        row("POST", "/%72un/default/web/main?cmd=id", "run", Ran::Briefly),
        row("GET", "/run/default/web/main?cmd=id", "run", Ran::Not).code(405),
    ]
}

/// Whoever may do everything on `nodes/proxy` is let in with any method, and then refused by the router.
fn methods() -> Vec<Row> {
    let callers = [Caller::With(right("proxy")), Caller::With(GET_PROXY), Caller::Forger];
    let all = ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BOGUS", "get"];
    let row = |method| row(method, ECHO, "exec", Ran::Not).websocket(WEBSOCKET_V4).code(405).by(&callers);
    all.map(row).into()
}

impl Row {
    fn websocket_without_protocol(self) -> Self {
        self.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    fn websocket(self, protocol: &str) -> Self {
        self.websocket_without_protocol().header("Sec-WebSocket-Protocol", protocol)
    }

    fn spdy(self, protocol: &str) -> Self {
        self.header("Upgrade", "SPDY/3.1").header("X-Stream-Protocol-Version", protocol)
    }
}
