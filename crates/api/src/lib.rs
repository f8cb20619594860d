//! Says what travels over the wire, for server, command line, tests and OpenAPI alike, and speaks
//! it: [`Client`].
//!
//! Storage and wire evolve apart: what is computed is shown through views. Knows no database, no
//! drivers and no web framework.

mod app;
mod audit;
mod client;
mod event;
mod freeze;
mod hook;
mod order;
mod page;
mod plan;
mod problem;
mod project;
mod rollout;
mod session;
mod token;
mod trial;

pub use app::{AppSummary, AppView, OutcomesView, PutApp, ReleaseRequest, Released, RevisionView};
pub use audit::{AuditOutcome, AuditVerification, AuditView};
pub use client::{Client, ClientError, Events, Found};
pub use event::EventView;
pub use freeze::{FreezeOnce, FreezeRecurring, FreezeRequest, FreezeRunning, FreezeView};
pub use hook::{Alert, AlertmanagerPayload, HookAnswer, SignedAlert};
pub use order::{ActionView, Approve, CommandRequest, Decision, OrderWord};
pub use page::Page;
pub use plan::{GateCheck, GateOutlook, PlanRequest, PlanView, StepPlan};
pub use problem::{FieldProblem, PROBLEM_JSON, ProblemBody};
pub use project::{ProjectSettingsView, PutProjectSettings};
pub use rollout::{
    ApprovalView, Deploy, Explanation, GateView, GivenApproval, InstanceView, MeasurementView,
    ObstacleView, RevisionTraffic, RolloutSummary, RolloutView, StepState, StepView,
    TransitionView, WaitAnswer, Waiting, WhyEnded,
};
pub use session::{
    ExchangeRequest, Exchanged, GrantView, OidcView, SignIn, SignInWays, Via, Whoami,
};
pub use token::{CreateToken, CreatedToken, RoleWord, TokenView};
pub use trial::{
    Backtest, BacktestGate, BacktestRequest, BacktestRollout, CalibrateRequest, CalibrationView,
    Calibrations, NoticedView,
};
