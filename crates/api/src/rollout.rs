//! Rollouts: asking for one, ordering it about, seeing where it stands and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::order::ActionView;

/// Asks for a rollout.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deploy {
    /// What to roll out: a path, an image, the name of a pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Go back to this earlier revision (`r6`) instead; straight, without steps and gates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_to: Option<String>,
    /// Go back to the revision that was stable before; straight, without steps and gates.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undo: bool,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Why freeze windows shall not hold it; needs the role operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
}

/// What a rollout waits for: one sentence, and the facts behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The kind, e.g. `gates`.
    pub kind: String,
    /// The sentence.
    pub sentence: String,
    /// The facts.
    #[schema(value_type = Object)]
    pub facts: Value,
}

/// An approval step that a rollout waits at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalView {
    /// Members of this group only; null: whoever may approve in the project.
    pub group: Option<String>,
    /// How many must approve.
    pub needed: u32,
    /// Those who did, in order.
    pub given: Vec<GivenApproval>,
    /// When it is taken back, unless enough did; null: never.
    pub expires_at: Option<Timestamp>,
    /// Whether the caller may approve now.
    pub may_i: bool,
    /// Why not.
    pub why_not: Option<String>,
}

/// One approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GivenApproval {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// In their words.
    pub comment: Option<String>,
    /// From which address.
    pub from: Option<String>,
}

/// Why a rollout was taken back or cancelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhyEnded {
    /// The kind, e.g. `gateFailed`.
    pub kind: String,
    /// The sentence.
    pub sentence: String,
    /// The facts.
    #[schema(value_type = Object)]
    pub facts: Value,
    /// When it was decided.
    pub at: Timestamp,
}

/// A rollout in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSummary {
    /// Its id.
    pub id: Uuid,
    /// The app's project.
    pub project: String,
    /// The app.
    pub app: String,
    /// The strategy's word, or `install` or `undo`.
    pub strategy: String,
    /// The revision that had the traffic before.
    pub stable: Option<String>,
    /// The revision being rolled out.
    pub candidate: String,
    /// pending, progressing, paused, promoting, aborting, succeeded, rolledBack or cancelled.
    pub phase: String,
    /// The current step's title and place, e.g. `setWeight 25 (3/8)`.
    pub step: String,
    /// Percent of the traffic asked for the candidate.
    #[serde(default)]
    pub share: f64,
    /// What it waits for, in one sentence.
    pub waiting: Option<String>,
    /// Whether it goes on only when a person acts.
    #[serde(default)]
    pub needs_person: bool,
    /// Why it was taken back, in one sentence.
    pub reason: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Where a step of the list being walked stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum StepState {
    /// Seen to hold.
    Done,
    /// Being worked on.
    Current,
    /// Still to come.
    Ahead,
    /// Never reached, because the rollout went back or straight ahead.
    Left,
}

/// One step of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// In the words of the app file.
    pub title: String,
    /// Where it stands.
    pub state: StepState,
}

/// One revision's part of the traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionTraffic {
    /// `r7`.
    pub revision: String,
    /// `stable` or `candidate`.
    pub role: String,
    /// Percent asked of the router.
    pub asked: f64,
    /// Percent as read back from the data plane; absent when it cannot be read.
    pub observed: Option<f64>,
    /// Instances it should have.
    pub desired: u32,
    /// Instances that are ready; absent when the workload cannot be read.
    pub ready: Option<u32>,
    /// Its instances.
    pub instances: Vec<InstanceView>,
    /// What is wrong with them, in sentences.
    pub problems: Vec<String>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceView {
    /// Its name.
    pub name: String,
    /// Where it serves.
    pub address: Option<String>,
    /// starting, ready, notReady, draining or exited.
    pub state: String,
    /// How often it was started again.
    pub restarts: u32,
}

/// How a gate stands in the current step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateView {
    /// Its name.
    pub gate: String,
    /// pass, fail, inconclusive or noData.
    pub verdict: String,
    /// Measurements in this step and attempt.
    pub measured: u32,
    /// The last reading, in words.
    pub last: Option<String>,
    /// When it was taken.
    pub at: Option<Timestamp>,
    /// What would be good, in words.
    pub bound: String,
    /// The numbers of what a statistical gate has learnt in this attempt: counts, ratio and its bounds,
    /// chances of error, logs of the e-values.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<serde_json::Value>,
}

/// A rollout in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    /// What a list shows of it.
    #[serde(flatten)]
    pub summary: RolloutSummary,
    /// What is rolled out.
    pub artifact: String,
    /// Grows with each write; the ETag.
    pub version: i64,
    /// Counts from 1; a retry is a new attempt.
    pub attempt: u32,
    /// Index of the current step in the list being walked.
    pub step_index: usize,
    /// Since when this step is worked on.
    pub since: Timestamp,
    /// The list being walked: `main`, `promote` or `abort`.
    pub track: String,
    /// Its steps.
    pub steps: Vec<StepView>,
    /// What it waits for.
    pub waiting_on: Option<Waiting>,
    /// The approval step that it waits at, as the caller may use it.
    #[serde(default)]
    pub approval: Option<ApprovalView>,
    /// Why it was taken back.
    pub why: Option<WhyEnded>,
    /// Who has which share of the traffic.
    pub traffic: Vec<RevisionTraffic>,
    /// How the gates stand.
    pub gates: Vec<GateView>,
    /// What keeps a part of the world from what was asked for; it is tried again and again.
    #[serde(default)]
    pub obstacles: Vec<ObstacleView>,
    /// When traffic, instances and gates were last seen.
    pub observed_at: Option<Timestamp>,
    /// Who asked for it.
    pub created_by: String,
    /// Why, in their words.
    pub comment: Option<String>,
}

/// A part of the world that does not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObstacleView {
    /// The part: `router` or `workload`.
    pub part: String,
    /// What it says.
    pub detail: String,
}

/// One committed change: a row of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransitionView {
    /// Counts from 1 without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who caused it.
    pub by: String,
    /// The kind, e.g. `stepDone`.
    pub event: String,
    /// The sentence.
    pub sentence: String,
    /// The phase after it.
    pub phase: String,
    /// The step after it.
    pub step: String,
    /// The attempt after it.
    pub attempt: u32,
    /// The row's place in the hash chain, hexadecimal SHA-256.
    pub hash: String,
}

/// One measurement of a gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeasurementView {
    /// The gate.
    pub gate: String,
    /// When.
    pub at: Timestamp,
    /// The step it was taken in.
    pub step: usize,
    /// The attempt it was taken in.
    pub attempt: u32,
    /// The reading, in words.
    pub reading: String,
    /// The number, when there was one.
    pub value: Option<f64>,
    /// The gate's verdict after it.
    pub verdict: String,
    /// What was counted in this measurement alone, of both revisions: `{ candidate, stable }`, each
    /// `{ requests, errors }` or `{ value }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub evidence: Option<Value>,
}

/// The answer of a long poll.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitAnswer {
    /// The rollout.
    pub rollout: RolloutView,
    /// Whether what was waited for came before the time was over.
    pub reached: bool,
}

/// Why a rollout is where it is: sentences for people, with the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The rollout.
    pub rollout: RolloutView,
    /// One sentence that answers "what is going on?".
    pub headline: String,
    /// The facts behind it, most important first.
    pub facts: Vec<String>,
    /// What can be done now: commands with what each would do.
    pub next: Vec<String>,
    /// Every order there is, whether it can be given now by whoever asks, and what it would do.
    #[serde(default)]
    pub actions: Vec<ActionView>,
}
