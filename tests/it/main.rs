//! The built binary against real parts. One module a question:
//!
//! | module | asks |
//! |---|---|
//! | `acceptance` | does every scenario work with every pair of workload and router? |
//! | `crashes` | does a rollout end as it would have when the server is killed anywhere in a pass? |
//! | `bad_days` | what happens when a part of the world fails: a clear reason, and stable keeps its traffic |
//! | `takeover` | two servers on one database: does one go on where the other ends, and never both? |
//! | `evidence` | do statistical gates judge real counters as they promise? |
//! | `races` | two orders, two deploys, two equal requests at once |
//! | `refusals` | what is refused says why, and how to put it right |
//! | `contract` | the API as documented, through plain HTTP |
//! | `freezes` | does nothing go forward in a freeze window, and everything back? |
//! | `commands` | the command line against a real server |
//! | `people` | do people come in by their identity provider, and CI jobs by theirs, and nobody else? |
//! | `notices` | is every transition told, signed, also when the receiver and the server fail? |
//! | `notifications` | are people told in Slack, in Teams and by mail, whatever hangs or dies? |
//! | `signed_hook` | does a signed alert act, sent as the documentation has it, and nothing else? |
//! | `readme` | is the README's tour what happens? |
//! | `tidy` | are the house rules that a machine can check kept? |
//! | `teeth` | does the check of the invariants find what is wrong? |
//!
//! Most of the time of a test is waiting, so more of them than cores may run at once:
//! `cargo build -p cli && cargo test -p e2e -- --test-threads=6`.

#![allow(clippy::unwrap_used, reason = "a test that is surprised has failed")]

#[macro_use]
#[path = "../acceptance/table.rs"]
mod table;

mod acceptance;
mod audit;
mod bad_days;
mod commands;
mod contract;
mod crashes;
mod evidence;
mod freezes;
mod notices;
mod notifications;
mod people;
mod races;
mod readme;
mod refusals;
mod signed_hook;
mod takeover;
mod teeth;
mod tidy;
