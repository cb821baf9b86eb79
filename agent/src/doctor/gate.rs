//! Whether a kubelet asks for finer rights before `nodes/proxy`, by those who know better than its files: the kubelet itself, and what an agent saw.

/// What was told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether it asks for them.
    pub on: bool,
    /// Who says so.
    pub by: String,
}

/// By the kubelet's own `/metrics` (`component-base/metrics/prometheus/feature/metrics.go`).
pub fn by_kubelet(page: &str) -> Option<Told> {
    let line =
        page.lines().find(|line| line.starts_with("kubernetes_feature_enabled{") && line.contains(r#"name="KubeletFineGrainedAuthz""#))?;
    let on = match line.rsplit_once(' ')?.1 {
        "1" => true,
        "0" => false,
        _ => return None,
    };
    Some(Told { on, by: "the kubelet says so itself (kubernetes_feature_enabled)".to_owned() })
}

/// By the checks that an agent saw, from its `/metrics`: of these endpoints the finer right is asked first where there is one. A request that was
/// refused tells nothing, and neither does one that no check let in.
pub fn by_checks(page: &str) -> Option<Told> {
    const ENDPOINTS: [&str; 4] = ["pods", "runningpods", "healthz", "configz"];
    let (mut finer, mut proxy_only) = (0.0, 0.0);
    for line in page.lines().filter(|line| line.starts_with("kubewitness_requests_total{")) {
        let (labels, count) = line.rsplit_once(' ')?;
        let has = |name: &str, value: &str| labels.contains(&format!(r#"{name}="{value}""#));
        if !ENDPOINTS.iter().any(|endpoint| has("endpoint", endpoint)) {
            continue;
        }
        let count: f64 = count.parse().ok()?;
        if has("access", "fine-grained") || has("access", "fallback") {
            finer += count;
        } else if has("access", "proxy-only") {
            proxy_only += count;
        }
    }
    let told = |on, count| Some(Told { on, by: format!("by the checks of {count} requests that the agent here saw") });
    match (finer > 0.0, proxy_only > 0.0) {
        (true, false) => told(true, finer),
        (false, true) => told(false, proxy_only),
        // Nothing was seen, or another kubelet before this one.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelet_knows_best() {
        let page = |value| {
            format!(
                "# TYPE kubernetes_feature_enabled gauge\nkubernetes_feature_enabled{{name=\"KubeletFineGrainedAuthzX\",stage=\"\"}} 1\n\
                 kubernetes_feature_enabled{{name=\"KubeletFineGrainedAuthz\",stage=\"BETA\"}} {value}\n"
            )
        };
        for (value, expected) in [("1", Some(true)), ("0", Some(false)), ("NaN", None)] {
            assert_eq!(by_kubelet(&page(value)).map(|told| told.on), expected);
        }
        assert_eq!(by_kubelet(""), None);
    }

    #[test]
    fn checks_tell_where_they_agree() {
        let line = |endpoint: &str, access: &str, count: u32| {
            format!("kubewitness_requests_total{{access=\"{access}\",code=\"200\",endpoint=\"{endpoint}\",transport=\"plain\"}} {count}\n")
        };
        for (page, expected) in [
            (line("pods", "fallback", 3), Some(true)),
            (line("healthz", "fine-grained", 1) + &line("exec", "proxy-only", 7), Some(true)),
            (line("pods", "proxy-only", 2) + &line("pods", "fallback", 0), Some(false)),
            (line("pods", "proxy-only", 2) + &line("pods", "fallback", 1), None),
            (line("exec", "proxy-only", 7) + &line("pods", "denied", 7), None),
            (String::new(), None),
        ] {
            assert_eq!(by_checks(&page).map(|told| told.on), expected, "{page}");
        }
        assert!(by_checks(&line("pods", "fallback", 3)).unwrap().by.contains("3 requests"));
    }
}
