//! Whatever targets follow each other, and whatever somebody else does in between.

use proptest::prelude::*;
use rollout::Revision;
use serde_json::json;

use super::{R1, R2, model::Model};
use crate::workload::kubernetes::{Trigger, desired::Write};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Move {
    /// A target of so many of four.
    Target(u32, u32),
    /// Only one revision is wanted.
    Only(Revision),
    /// Nothing is.
    Nothing,
    /// Somebody scales the Deployment.
    Scale(u32),
    /// Somebody unpauses it.
    Unpause,
    /// Somebody gives it another strategy.
    Strategy,
    /// Somebody sets its image.
    Image(&'static str),
    /// Somebody deletes a ReplicaSet.
    Delete(usize),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0..=4_u32, 1..=4_u32).prop_map(|(stable, candidate)| Move::Target(stable, candidate)),
        3 => prop_oneof![Just(R1), Just(R2)].prop_map(Move::Only),
        1 => Just(Move::Nothing),
        1 => (1..=9_u32).prop_map(Move::Scale),
        1 => Just(Move::Unpause),
        1 => Just(Move::Strategy),
        1 => prop_oneof![Just("web:1"), Just("web:2")].prop_map(Move::Image),
        1 => (0..3_usize).prop_map(Move::Delete),
    ]
}

fn model(trigger: Trigger) -> Model {
    let mut model = Model::new(4, "web:1");
    model.trigger = trigger;
    model.know("web:1");
    model.know("web:2");
    model.hold(&[(R1, 4)]);
    model
}

/// Brings a target about and checks each write on the way.
fn hold(model: &mut Model, target: &[(Revision, u32)]) -> Result<(), TestCaseError> {
    let first = model.desired(target);
    let deployments = |it: &&Write| matches!(it, Write::Deployment { .. });
    prop_assert!(first.iter().filter(deployments).count() <= 1);
    model.hold(target);
    prop_assert_eq!(model.desired(target), Vec::new(), "it is not idempotent");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn targets_come_about_and_the_user_gets_everything_back(
        moves in proptest::collection::vec(moves(), 1..12),
        last in prop_oneof![Just(R1), Just(R2)],
        trigger in prop_oneof![Just(Trigger::Artifact), Just(Trigger::Template)],
    ) {
        let mut model = model(trigger);
        let own = model.deployment["spec"]["strategy"].clone();
        let mut held: Vec<(Revision, u32)> = vec![(R1, 4)];
        let mut live = 4;
        for it in moves {
            match it {
                Move::Target(stable, candidate) => {
                    held = vec![(R1, stable), (R2, candidate)];
                    held.retain(|(_, count)| *count > 0);
                }
                Move::Only(revision) => held = vec![(revision, 4)],
                Move::Nothing => held = Vec::new(),
                Move::Scale(replicas) => {
                    // What was stopped on purpose is not scaled by anybody.
                    if model.deployment["spec"]["replicas"] != 0 {
                        live = replicas;
                        model.set("replicas", json!(replicas));
                    }
                }
                Move::Unpause => model.set("paused", json!(false)),
                Move::Strategy => {
                    let begun = model.deployment["spec"]["strategy"]["type"] == "Recreate";
                    if begun {
                        model.set("strategy", own.clone());
                    }
                }
                Move::Image(image) => model.set_image(image),
                Move::Delete(index) => {
                    if index < model.sets.len() {
                        model.sets.remove(index);
                    }
                }
            }
            hold(&mut model, &held)?;
            if let [(first, _), (second, _)] = held.as_slice() {
                for revision in [first, second] {
                    let image = format!("web:{}", revision.0);
                    let pods = model.pods();
                    let pods: u64 = pods.iter().filter(|it| it.0 == image).map(|it| it.1).sum();
                    prop_assert!(pods > 0, "{revision} has none: {}", model.told());
                }
            }
        }
        // Both are wanted, then one is: the end of every rollout.
        hold(&mut model, &[(R1, 4), (R2, 4)])?;
        hold(&mut model, &[(last, 4)])?;
        let spec = &model.deployment["spec"];
        prop_assert_eq!(&spec["strategy"], &own);
        prop_assert_eq!(spec["paused"] == true, trigger == Trigger::Template);
        prop_assert_eq!(&spec["replicas"], &json!(live));
        let image = format!("web:{}", last.0);
        let pods = model.pods();
        for (of, count) in pods {
            prop_assert_eq!(count, if of == image { u64::from(live) } else { 0 });
        }
    }
}
