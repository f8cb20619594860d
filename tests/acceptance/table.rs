//! The table of the acceptance suite: which scenarios every pair of workload and router is told.
//! Test binaries include it by its path: what needs a namespace of its own runs in another one.

pub(crate) mod scenarios;

macro_rules! each_scenario {
    ($pair:expr; $($scenario:ident,)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $scenario() -> anyhow::Result<()> {
            scenarios::$scenario(&$pair).await
        })+
    };
}

/// One module a pair, one test a scenario.
macro_rules! acceptance {
    ($($pair:ident: $value:expr;)+) => {
        $(mod $pair {
            use super::*;
            each_scenario! { $value;
                install,
                healthy_canary,
                bad_canary,
                alert,
                blue_green,
                rolling,
                recreate,
                approve,
                reject,
                pause_and_resume,
                promote_full,
                abort_at_every_step,
                supersede,
                retry,
                undo,
                crash,
            }
        })+
    };
}
