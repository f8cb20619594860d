//! A real control plane, its pods played by KWOK. What the controllers do, held against what Sluice
//! relies on, with kubectl and plain HTTP and no Sluice; the verbs that need no server; and the server
//! at work. One module a question:
//!
//! | module | asks |
//! |---|---|
//! | `in_place` | may somebody else scale the ReplicaSets of a user's Deployment, and give it back? |
//! | `adopt` | what does `sluice adopt` find, and does it write anything? |
//! | `shipped` | does `deploy/kubernetes` do what it says, and is it all that is needed? |
//! | `readme` | is the README's tour of a Deployment what happens? |
//! | `served` | does the running server keep its promises at every instant, and on bad days? |
//!
//! The findings are told in `docs/kubernetes-in-place.md`. Another version of Kubernetes is asked
//! by naming its binary: `SLUICE_CONTROLPLANE="$(scripts/kubernetes 1.34)" cargo test -p e2e
//! --test kubernetes`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that is surprised has failed"
)]

mod adopt;
mod in_place;
mod readme;
mod served;
mod shipped;
