//! What judges a rollout: these statistics in three profiles, and others' rules.

use analysis::{
    Arm, Compare, ComparePolicy, CompareState, Verdict, Window, compare::history_bound,
};
use rand_distr::{Distribution, Poisson};

use super::{
    peers::{Argo, Flagger, Gavi, Kayenta, LindonMalek, PeekZ},
    traffic::{Cell, Random},
};

/// Judges window after window of one rollout.
pub trait Rule {
    /// Looks at the next window; true to roll back. It is not asked again after that.
    fn look(&mut self, window: &Window) -> bool;

    /// The end of the hour; true to roll back at last.
    fn end(&mut self) -> bool {
        false
    }

    /// Whether it says that the candidate may be promoted.
    fn passes(&self) -> bool;
}

/// The rules that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No margin, no floor, α = 1 %, all of it for the sequential test.
    Sequential,
    /// No margin, no floor, α = 1 %, history, an exact test at the end: the profile `strict`.
    Strict,
    /// The recommended profile: margin 1.1, floor 0.05 %, α = 5 %, history, an exact test at the end.
    Default,
    /// Argo Rollouts' documented example.
    Argo,
    /// Flagger's documented example.
    Flagger,
    /// Kayenta's judge, at 20, 40 and 60 minutes.
    Kayenta,
    /// A z-test at 1 % at every look.
    PeekZ,
    /// The sequential test of Lindon and Malek at 1 %.
    LindonMalek,
    /// GrowthBook's sequential test at 1 %.
    Gavi,
}

impl Kind {
    /// All rules, in the order of the tables.
    pub const ALL: [Self; 9] = [
        Self::Sequential,
        Self::Strict,
        Self::Default,
        Self::Argo,
        Self::Flagger,
        Self::Kayenta,
        Self::PeekZ,
        Self::LindonMalek,
        Self::Gavi,
    ];

    /// As it is written in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sequential => "Sluice, sequential only",
            Self::Strict => "Sluice `strict`",
            Self::Default => "Sluice `default`",
            Self::Argo => "Argo Rollouts",
            Self::Flagger => "Flagger",
            Self::Kayenta => "Kayenta",
            Self::PeekZ => "z-test at each look",
            Self::LindonMalek => "Lindon-Malek",
            Self::Gavi => "GrowthBook (GAVI)",
        }
    }

    /// The rule for one rollout of `cell`.
    pub fn rule(self, cell: &Cell, random: &mut Random) -> Box<dyn Rule> {
        match self {
            Self::Sequential => Box::new(Ours::new(ComparePolicy {
                final_part: 0.0,
                final_looks: 0,
                ..ComparePolicy::strict()
            })),
            Self::Strict => Box::new(Ours::new(ComparePolicy {
                history: past(cell, 0.0, random),
                ..ComparePolicy::strict()
            })),
            Self::Default => {
                let default = ComparePolicy::default();
                Box::new(Ours::new(ComparePolicy {
                    history: past(cell, default.floor, random),
                    ..default
                }))
            }
            Self::Argo => Box::new(Argo::default()),
            Self::Flagger => Box::new(Flagger::default()),
            Self::Kayenta => Box::new(Kayenta::default()),
            Self::PeekZ => Box::new(PeekZ::default()),
            Self::LindonMalek => Box::new(LindonMalek::new(cell.share)),
            Self::Gavi => Box::new(Gavi::default()),
        }
    }
}

/// The bound that seven simulated days of stable set.
fn past(cell: &Cell, floor: f64, random: &mut Random) -> Option<f64> {
    let requests = cell.rps * 86_400.0;
    let bad = Poisson::new(requests * cell.p0).ok()?;
    let days: Vec<Arm> = (0..7)
        .map(|_| Arm::new(requests as u64, bad.sample(random) as u64))
        .collect();
    history_bound(&days, floor)
}

/// A gate of this crate.
#[derive(Debug)]
pub struct Ours {
    gate: Compare,
    state: CompareState,
}

impl Ours {
    /// A gate of `policy`, which must be sound.
    pub fn new(policy: ComparePolicy) -> Self {
        let gate = Compare::new(policy).unwrap();
        let state = gate.start();
        Self { gate, state }
    }
}

impl Rule for Ours {
    fn look(&mut self, window: &Window) -> bool {
        self.gate.fold(&mut self.state, window).unwrap();
        matches!(self.state.verdict(), Verdict::Rollback(_))
    }

    fn end(&mut self) -> bool {
        self.gate.final_look(&mut self.state).unwrap();
        matches!(self.state.verdict(), Verdict::Rollback(_))
    }

    fn passes(&self) -> bool {
        self.state.passed_ms().is_some()
    }
}
