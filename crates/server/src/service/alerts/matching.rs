//! Which alerts match which rules: by an index, so that it costs what matches and not alerts times
//! rules.

use std::collections::{BTreeMap, HashMap};

use rollout::{AlertAction, AlertRule};
use store::AlertRules;
use uuid::Uuid;

/// Where a rule is: the rollout's place, and the rule's.
type Place = (usize, usize);

/// The rules of all rollouts.
pub(super) struct RulesByLabel {
    /// Each rollout, with its rules in their order.
    rollouts: Vec<(Uuid, Vec<AlertRule>)>,
    /// Rules by the rarest of the labels that they ask for: by its name, then by its value.
    places: HashMap<String, HashMap<String, Vec<Place>>>,
}

impl RulesByLabel {
    pub(super) fn new(rules: Vec<AlertRules>) -> Self {
        let rollouts: Vec<_> = rules
            .into_iter()
            .map(|it| (it.rollout, AlertRule::listed(&it.alerts)))
            .collect();
        let mut count: HashMap<(&str, &str), usize> = HashMap::new();
        for label in rollouts
            .iter()
            .flat_map(|it| &it.1)
            .flat_map(|it| &it.labels)
        {
            *count.entry((label.0, label.1)).or_default() += 1;
        }
        let mut places: HashMap<String, HashMap<String, Vec<Place>>> = HashMap::new();
        for (place, (_, rules)) in rollouts.iter().enumerate() {
            for (index, rule) in rules.iter().enumerate() {
                let rarest = rule
                    .labels
                    .iter()
                    .min_by_key(|it| count.get(&(&**it.0, &**it.1)));
                if let Some((name, value)) = rarest {
                    let values = places.entry(name.clone()).or_default();
                    values
                        .entry(value.clone())
                        .or_default()
                        .push((place, index));
                }
            }
        }
        Self { rollouts, places }
    }

    /// The alerts that each rollout has a rule for, newest rollout first. The first rule that
    /// matches counts. `unmatched` gets those that nobody has one for.
    pub(super) fn matched<'a>(
        &self,
        alerts: &[&'a api::Alert],
        mut unmatched: impl FnMut(&'a api::Alert),
    ) -> Vec<(Uuid, Vec<(AlertAction, &'a api::Alert)>)> {
        let mut matched: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for alert in alerts {
            let first = self.first_rules(&alert.labels);
            if first.is_empty() {
                unmatched(alert);
            }
            for (place, (_, action)) in first {
                matched.entry(place).or_default().push((action, *alert));
            }
        }
        let matched = matched.into_iter();
        matched
            .filter_map(|(place, alerts)| Some((self.rollouts.get(place)?.0, alerts)))
            .collect()
    }

    /// By rollout: the first of its rules that matches, and what it causes.
    fn first_rules(
        &self,
        labels: &BTreeMap<String, String>,
    ) -> BTreeMap<usize, (usize, AlertAction)> {
        let mut first: BTreeMap<usize, (usize, AlertAction)> = BTreeMap::new();
        let places = labels
            .iter()
            .filter_map(|(name, value)| self.places.get(name)?.get(value))
            .flatten();
        for (place, index) in places {
            let rule = self.rule(*place, *index);
            if let Some(rule) = rule.filter(|it| it.matches(labels)) {
                let found = (*index, rule.action);
                let best = first.entry(*place).or_insert(found);
                *best = found.min(*best);
            }
        }
        first
    }

    fn rule(&self, place: usize, index: usize) -> Option<&AlertRule> {
        self.rollouts.get(place)?.1.get(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ACTIONS: [&str; 3] = ["rollback", "pause", "notify"];

    fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
        prop::collection::btree_map("[a-c]", "[xy]", 1..4)
    }

    proptest! {
        /// The same as asking every rule of every rollout.
        #[test]
        fn the_index_finds_what_a_search_of_all_finds(
            files in prop::collection::vec(prop::collection::vec((labels(), 0..3usize), 0..4), 0..6),
            alerts in prop::collection::vec(labels(), 0..6),
        ) {
            let rules = files.iter().enumerate().map(|(number, rules)| AlertRules {
                rollout: Uuid::from_u128(number as u128),
                alerts: rules.iter()
                    .map(|(labels, action)| json!({ "match": labels, "do": ACTIONS[*action] }))
                    .collect(),
            });
            let rules: Vec<AlertRules> = rules.collect();
            let alerts: Vec<api::Alert> = alerts.into_iter().map(|labels| api::Alert {
                status: "firing".to_owned(),
                labels,
                annotations: BTreeMap::new(),
                starts_at: jiff::Timestamp::UNIX_EPOCH,
                fingerprint: String::new(),
            }).collect();
            let mut expected = Vec::new();
            let mut met = Vec::new();
            for one in &rules {
                let rules = AlertRule::listed(&one.alerts);
                let matched: Vec<_> = alerts.iter().filter_map(|alert| {
                    let rule = rules.iter().find(|it| it.matches(&alert.labels))?;
                    met.push(&alert.labels);
                    Some((rule.action, alert))
                }).collect();
                if !matched.is_empty() {
                    expected.push((one.rollout, matched));
                }
            }
            let alerts: Vec<&api::Alert> = alerts.iter().collect();
            let mut left = Vec::new();
            let found = RulesByLabel::new(rules.clone()).matched(&alerts, |it| left.push(it));
            prop_assert_eq!(found, expected);
            let unmet: Vec<_> = alerts.into_iter().filter(|it| !met.contains(&&it.labels)).collect();
            prop_assert_eq!(left, unmet);
        }
    }
}
