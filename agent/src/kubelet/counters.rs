//! What the kubelet counts itself, from its `/metrics`.

/// The kubelet's own count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counters {
    /// Requests since it started, that for this page included: all series of `kubelet_http_requests_total`, on both ports
    /// (`pkg/kubelet/server/metrics/metrics.go`; counted at the begin of `ServeHTTP`, `pkg/kubelet/server/server.go`, 1.29 to 1.37).
    pub requests: u64,
    /// When it started, in seconds since 1970.
    pub started: f64,
}

impl Counters {
    /// Reads Prometheus' text format. `None` where one of the metrics is missing or is not a number.
    pub fn parse(page: &str) -> Option<Self> {
        let mut requests = None;
        let mut started = None;
        for line in page.lines() {
            if line.starts_with("kubelet_http_requests_total{") {
                let total: &mut f64 = requests.get_or_insert(0.0);
                *total += value(line)?;
            } else if line.starts_with("process_start_time_seconds ") {
                started = Some(value(line)?);
            }
        }
        let requests: f64 = requests.filter(|total| (0.0..1e15).contains(total))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, as just checked; a count has no fraction")]
        let requests = requests as u64;
        Some(Self { requests, started: started? })
    }
}

/// The sample, the last word of a line without a time stamp, as Go's Prometheus client writes it.
fn value(line: &str) -> Option<f64> {
    line.rsplit_once(' ')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP kubelet_http_requests_total [ALPHA] Number of the http requests received since the server started
# TYPE kubelet_http_requests_total counter
kubelet_http_requests_total{long_running=\"false\",method=\"GET\",path=\"healthz\",server_type=\"readwrite\"} 1.000002e+06
kubelet_http_requests_total{long_running=\"true\",method=\"GET\",path=\"exec\",server_type=\"readwrite\"} 3
kubelet_http_requests_total_bucket{le=\"1\"} 77
process_start_time_seconds 1.76411234567e+09
";

    #[test]
    fn all_series_are_added_up() {
        assert_eq!(Counters::parse(PAGE), Some(Counters { requests: 1_000_005, started: 1_764_112_345.67 }));
    }

    #[test]
    fn what_is_missing_or_no_number_is_not_made_up() {
        for (from, to) in
            [("kubelet_http_requests_total{", "x{"), ("process_start", "x"), ("} 3", "} NaN"), ("} 3", "} many"), ("} 3", "} -9e9")]
        {
            assert_eq!(Counters::parse(&PAGE.replace(from, to)), None, "{from} {to}");
        }
        assert_eq!(Counters::parse(""), None);
    }
}
