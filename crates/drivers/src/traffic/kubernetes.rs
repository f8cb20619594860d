//! What the routers of Kubernetes have in common: Services that select one revision, the pods behind
//! them, and routes that share traffic between two of them.
//!
//! ```text
//!   objects as seen ──▶ selection, endpoints, weighted ──▶ what there is
//!                                                            │
//!                              Routes ──▶ pair, single ──────┴──▶ the next move ──▶ one write
//! ```
//!
//! `pair` and `single` decide, and do nothing but that; `scene`, `two` and `one` read and write.

pub(in crate::traffic) mod acceptance;
pub(in crate::traffic) mod endpoints;
#[cfg(test)]
pub(in crate::traffic) mod json_patch;
pub(in crate::traffic) mod list_view;
pub(in crate::traffic) mod observed;
pub(in crate::traffic) mod one;
pub(in crate::traffic) mod pair;
pub(in crate::traffic) mod scene;
pub(in crate::traffic) mod selection;
pub(in crate::traffic) mod served;
pub(in crate::traffic) mod settings;
pub(in crate::traffic) mod single;
pub(in crate::traffic) mod two;
pub(in crate::traffic) mod weighted;
