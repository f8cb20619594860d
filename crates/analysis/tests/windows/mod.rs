//! Windows for tests, one second each.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test is a crate of its own and uses some of it"
)]

use analysis::{Arm, Compare, ComparePolicy, CompareState, Window};

/// Requests and bad ones: the candidate's, stable's.
pub type Counts = [u64; 4];

/// The window that begins at `second`, at a share of a quarter.
pub fn window(second: i64, counts: Counts) -> Window {
    at_share(second, 2500, counts)
}

/// The window that begins at `second`.
pub fn at_share(second: i64, share: u32, [nc, xc, nb, xb]: Counts) -> Window {
    Window {
        from_ms: second * 1000,
        until_ms: (second + 1) * 1000,
        share,
        candidate: Arm::new(nc, xc),
        stable: Arm::new(nb, xb),
    }
}

/// A gate of `policy` and its state after windows of one second each.
pub fn fold(
    policy: ComparePolicy,
    windows: impl IntoIterator<Item = Counts>,
) -> (Compare, CompareState) {
    let gate = Compare::new(policy).unwrap();
    let mut state = gate.start();
    for (second, counts) in (0..).zip(windows) {
        gate.fold(&mut state, &window(second, counts)).unwrap();
    }
    (gate, state)
}
