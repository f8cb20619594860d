//! Others' rules, written anew from what their documentation and sources say, read favourably.

mod argo;
mod brent;
mod flagger;
pub mod gavi;
pub mod kayenta;
mod lindon_malek;
mod peek_z;

pub use argo::Argo;
pub use flagger::Flagger;
pub use gavi::Gavi;
pub use kayenta::Kayenta;
pub use lindon_malek::LindonMalek;
pub use peek_z::PeekZ;
