//! The requests of one run, and what came of each.

use std::io::Write as _;
use std::time::{Duration, Instant};

use kubewitness_tests::cluster::Cluster;

use crate::expect::{Expected, expect};
use crate::http::{Kubelet, Then};
use crate::http2;
use crate::people::{Caller, People, right};
use crate::row::Row;
use crate::seen::Sent;

/// The requests of one run.
pub(crate) struct Run {
    kubelet: Kubelet,
    as_the_api_server: Kubelet,
    people: People,
    /// All of them, in order.
    pub(crate) sent: Vec<Sent>,
    /// How often a connection was opened.
    pub(crate) connections: usize,
    /// How many of them carried nothing that became a request.
    pub(crate) silent: usize,
    /// What the client did not expect.
    pub(crate) wrong: Vec<String>,
}

impl Run {
    pub(crate) fn new(cluster: &Cluster, people: People) -> Self {
        Self {
            kubelet: Kubelet::of(cluster),
            as_the_api_server: Kubelet::to_the_api_server(cluster),
            people,
            sent: Vec::new(),
            connections: 0,
            silent: 0,
            wrong: Vec::new(),
        }
    }

    pub(crate) fn people(&self) -> &People {
        &self.people
    }

    /// Sends a row as everybody whom it names.
    pub(crate) fn try_row(&mut self, row: &Row) {
        for &caller in &row.callers {
            let (what, user_agent, expected) = self.prepare(row, caller, self.sent.len());
            let request = row.bytes(&user_agent, self.people.token(caller));
            let kubelet = if caller == Caller::ApiServer { &self.as_the_api_server } else { &self.kubelet };
            let begun = Instant::now();
            let response = kubelet.send(&request, row.then);
            self.connections += 1;
            let took = begun.elapsed();
            match response {
                Ok(response) if response.status == expected.code => {}
                Ok(response) => {
                    let said: String = String::from_utf8_lossy(&response.rest).chars().take(300).collect();
                    self.wrong.push(format!("{what}: the kubelet answers {}, not {}: {said}", response.status, expected.code));
                }
                Err(error) => self.wrong.push(format!("{what}: {error}")),
            }
            self.sent.push(Sent { what, user_agent, expected, took });
        }
    }

    /// These rows by their callers on one connection, all sent before the first is answered.
    pub(crate) fn pipeline(&mut self, rows: &[Row]) {
        let calls: Vec<_> = rows.iter().flat_map(|row| row.callers.iter().map(move |caller| (row, *caller))).collect();
        let mut text = String::new();
        for (place, (row, caller)) in calls.iter().enumerate() {
            let (what, user_agent, expected) = self.prepare(row, *caller, self.sent.len());
            let request = String::from_utf8(row.bytes(&user_agent, self.people.token(*caller))).expect("rows are text");
            let last = place + 1 == calls.len();
            text += &if last { request } else { request.replace("close\r\n", "keep-alive\r\n") };
            self.sent.push(Sent { what: format!("{what}, pipelined"), user_agent, expected, took: Duration::ZERO });
        }
        if let Err(error) = self.kubelet.send(text.as_bytes(), Then::Listen) {
            self.wrong.push(format!("a pipeline: {error}"));
        }
        self.connections += 1;
    }

    /// These rows by their callers, all on one HTTP/2 connection. Where the kubelet does not speak it, nothing is sent on that connection.
    pub(crate) fn http2(&mut self, rows: &[Row], spoken: bool) {
        let mut requests = Vec::new();
        let mut sent = Vec::new();
        for row in rows {
            for &caller in &row.callers {
                let (what, user_agent, expected) = self.prepare(row, caller, self.sent.len() + sent.len());
                let mut request = ::http::Request::builder().method(row.method).uri(format!("https://kubelet{}", row.target));
                request = request.header("user-agent", &user_agent);
                if let Some(token) = self.people.token(caller) {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                requests.push(request.body(()).expect("rows are requests"));
                sent.push(Sent { what: format!("{what}, HTTP/2"), user_agent, expected, took: Duration::ZERO });
            }
        }
        self.connections += 1;
        let expected: Vec<_> = sent.iter().map(|sent| sent.expected.code).collect();
        match http2::send(&self.kubelet, requests) {
            Ok(Some(statuses)) if spoken && statuses == expected => {}
            Ok(None) if !spoken => {
                self.silent += 1;
                return;
            }
            other => self.wrong.push(format!("HTTP/2: {other:?}, not {expected:?}")),
        }
        self.sent.extend(sent);
    }

    /// Connections that end before the kubelet's server has a request: it never sees one, and neither may anybody else.
    pub(crate) fn silence(&mut self) {
        let closed_at_once = self.kubelet.connect().map(drop);
        let no_tls = self.kubelet.connect().and_then(|mut stream| stream.write_all(b"GET /pods HTTP/1.1\r\n\r\n"));
        // `net/http` answers both by itself: one is no request, the other is about the whole server.
        let malformed = self.kubelet.send(b"BAD\r\n\r\n", Then::Leave).map(drop);
        let whole_server = self.kubelet.send(b"OPTIONS * HTTP/1.1\r\nHost: kubelet\r\nConnection: close\r\n\r\n", Then::Leave).map(drop);
        for result in [closed_at_once, no_tls, malformed, whole_server] {
            self.connections += 1;
            self.silent += 1;
            if let Err(error) = result {
                self.wrong.push(format!("a connection without a request: {error}"));
            }
        }
    }

    /// What the kubelet counted, this question included.
    pub(crate) fn counted(&mut self) -> usize {
        // HTTP/1.0 knows no chunks, which would cut lines in two.
        let row = Row::new("GET", "/metrics", &["metrics"]);
        let caller = Caller::With(right("metrics"));
        let (what, user_agent, expected) = self.prepare(&row, caller, self.sent.len());
        let request = String::from_utf8(row.bytes(&user_agent, self.people.token(caller))).expect("rows are text");
        let response = self.kubelet.send(request.replace("HTTP/1.1", "HTTP/1.0").as_bytes(), Then::Leave);
        self.connections += 1;
        self.sent.push(Sent { what, user_agent, expected, took: Duration::ZERO });
        let page = response.expect("the kubelet's metrics can be read").rest;
        let page = String::from_utf8_lossy(&page);
        let lines = page.lines().filter(|line| line.starts_with("kubelet_http_requests_total{"));
        lines.map(|line| line.rsplit_once(' ').and_then(|(_, count)| count.parse::<usize>().ok()).expect("a count")).sum()
    }

    fn prepare(&self, row: &Row, caller: Caller, number: usize) -> (String, String, Expected) {
        let user_agent = format!("table/{number}");
        let address = self.kubelet.address.ip().to_string();
        let expected = expect(row, caller, &self.people, &user_agent, &address);
        let upgrade = if row.transport() == "plain" { "" } else { row.transport() };
        (format!("{} {} {upgrade} by {caller:?}", row.method, row.target), user_agent, expected)
    }
}
