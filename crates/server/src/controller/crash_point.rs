//! Places where tests kill the server with SIGKILL, to prove that a crash between any two parts of
//! a pass changes nothing. Compiled out of release builds.

/// Dies here when `SLUICE_CRASH_AT` is `NAME` or `NAME:N` (the N-th time, counted from 1).
#[cfg(debug_assertions)]
pub(crate) fn crash_point(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var("SLUICE_CRASH_AT") else {
        return;
    };
    let (point, nth) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if point == name {
        let passed = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
        if nth.parse() == Ok(passed) {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).ok();
        }
    }
}

/// Nothing, in release builds.
#[cfg(not(debug_assertions))]
pub(crate) fn crash_point(_: &str) {}
