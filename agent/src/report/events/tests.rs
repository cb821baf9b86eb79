use super::*;

#[test]
fn x() {
    fuzz_entry(b"{");
}
