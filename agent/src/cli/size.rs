//! Sizes as people write them.

/// Bytes: `1048576`, `1024Ki`, `1Mi`, `1Gi`, or by thousands `1k`, `1M`, `1G`, as Kubernetes writes quantities.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let units = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("k", 1000), ("M", 1_000_000), ("G", 1_000_000_000)];
    let in_units = units.into_iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)));
    let (number, bytes) = in_units.unwrap_or((text, 1));
    let size = number
        .parse()
        .ok()
        .filter(|_| number.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|number: u64| number.checked_mul(bytes));
    size.ok_or_else(|| "write a whole number of bytes, or of Ki, Mi, Gi, k, M or G, such as 100Mi".to_owned())
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_those_of_kubernetes() {
        for (text, bytes) in
            [("0", 0), ("1048576", 1 << 20), ("1Ki", 1024), ("100Mi", 100 << 20), ("2Gi", 2 << 30), ("3k", 3000), ("1G", 1_000_000_000)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "Mi", "-1", "+1", "1.5Gi", "1 Mi", "1mi", "1MB", "ten", "99999999999Gi"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
