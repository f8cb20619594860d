//! Lists of backends with weights inside a route, read and changed without touching anything else.
//!
//! An object has any number of such lists (rules); those that name the user's Service are concerned.
//! In each, the candidate stands beside it as a copy with another name: same port, same filters.
//!
//! Arithmetic: what the user's entry had is what the two have together, so that nobody else's share
//! changes. Where they are the only ones with a weight, the two get integers out of the kind's whole
//! (10,000: exact to a hundredth of a percent), and the user's own number is kept in an annotation.
//! Beside others the two share the user's number: give it as a large one, such as 100, because 1 cannot
//! be shared at all.
//!
//! A change is a JSON patch whose `test`s name each entry that it touches: a rule that somebody moved
//! in between makes it a conflict, not a mistake.

use std::collections::BTreeMap;

use rollout::Weight;
use serde_json::{Map, Value, json};

use super::pair::Listed;

/// The annotation with the user's own weights by list, while ours stand there.
pub(in crate::traffic) const OWN_WEIGHTS: &str = "sluice.dev/own-weights";

/// How the entries of one kind of route are written.
pub(in crate::traffic) struct Shape {
    /// Where in an entry its backend is named.
    pub(in crate::traffic) name: &'static str,
    /// Whether an entry names a Service. Gets the entry, the route's namespace and the Service.
    pub(in crate::traffic) names: fn(&Value, &str, &str) -> bool,
    /// What the entry's name becomes when it shall name a Service. Gets the name as it is.
    pub(in crate::traffic) renamed: fn(&str, &str) -> String,
    /// The weight of an entry without one.
    pub(in crate::traffic) default: u64,
    /// What weights of the candidate's share are out of, where the two are alone.
    pub(in crate::traffic) whole: fn(Weight) -> u64,
}

/// The two Services.
#[derive(Debug, Clone)]
pub(in crate::traffic) struct Names {
    /// The route's namespace.
    pub(in crate::traffic) namespace: String,
    /// The user's.
    pub(in crate::traffic) own: String,
    /// Ours.
    pub(in crate::traffic) candidate: String,
}

/// The concerned lists of one object.
pub(in crate::traffic) struct Lists {
    shape: &'static Shape,
    names: Names,
    /// By JSON pointer.
    lists: Vec<List>,
    /// The user's own weights, as kept: `null` where there was none.
    kept: BTreeMap<String, Value>,
    annotated: bool,
}

#[derive(Debug)]
struct List {
    pointer: String,
    own: Entry,
    candidate: Option<Entry>,
    /// Names of the others that have a weight.
    others: Vec<String>,
}

#[derive(Debug, Clone)]
struct Entry {
    index: usize,
    entry: Value,
    weight: u64,
}

impl Lists {
    /// Finds the lists at `pointers` that name the user's Service. `annotation`: what is kept under
    /// [`OWN_WEIGHTS`].
    pub(in crate::traffic) fn find(
        body: &Value,
        pointers: &[String],
        shape: &'static Shape,
        names: Names,
        annotation: Option<&str>,
    ) -> Result<Self, String> {
        let mut lists = Vec::new();
        for pointer in pointers {
            let entries = body.pointer(pointer).and_then(Value::as_array);
            let entries = entries.map(Vec::as_slice).unwrap_or_default();
            lists.extend(List::read(pointer, entries, shape, &names)?);
        }
        Ok(Self {
            shape,
            names,
            lists,
            kept: annotation
                .and_then(|it| serde_json::from_str(it).ok())
                .unwrap_or_default(),
            annotated: annotation.is_some(),
        })
    }

    /// Whether no list names the user's Service.
    pub(in crate::traffic) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// The user's entries.
    pub(in crate::traffic) fn own_entries(&self) -> impl Iterator<Item = &Value> {
        self.lists.iter().map(|it| &it.own.entry)
    }

    /// Where the candidate stands.
    pub(in crate::traffic) fn listed(&self) -> Listed {
        let listed = self
            .lists
            .iter()
            .filter(|it| it.candidate.is_some())
            .count();
        match listed {
            0 => Listed::Nowhere,
            all if all == self.lists.len() => Listed::Everywhere,
            _ => Listed::Somewhere,
        }
    }

    /// The share that the candidate has of what the two have, as written: `None` when lists differ by
    /// more than what their integers make of one share.
    pub(in crate::traffic) fn written(&self) -> Option<Weight> {
        let telling = self.lists.iter().filter(|it| it.ours() > 0);
        let finest = telling.clone().max_by_key(|it| it.ours());
        // Where the user gives the two nothing, nothing can be told.
        let share = finest.map_or(Weight::ZERO, List::share);
        let same = |list: &List| {
            let off = list.share().distance(share);
            off == Weight::ZERO
                || (!matches!(list.share(), Weight::ZERO | Weight::ALL)
                    && off <= list.granularity())
        };
        telling.clone().all(same).then_some(share)
    }

    /// Which of the shares `asked` the candidate has, as far as integers can give it.
    pub(in crate::traffic) fn one_of(&self, asked: &[Weight]) -> Option<Weight> {
        let has = |share: &&Weight| match self.listed() {
            Listed::Nowhere => **share == Weight::ZERO,
            Listed::Somewhere => false,
            Listed::Everywhere => self.share(**share).is_ok_and(|it| it.is_empty()),
        };
        asked.iter().find(has).copied().or_else(|| self.written())
    }

    /// The weights of the two, list by list.
    pub(in crate::traffic) fn state(&self) -> String {
        let of = |it: &List| {
            let candidate = it.candidate.as_ref().map(|it| it.weight);
            format!("{} {} {candidate:?}", it.pointer, it.own.weight)
        };
        self.lists.iter().map(of).collect::<Vec<_>>().join("; ")
    }

    /// How far integer weights may be from the share that was asked.
    pub(in crate::traffic) fn tolerance(&self) -> Weight {
        let coarse = self.lists.iter().filter(|it| !it.others.is_empty());
        coarse.map(List::granularity).max().unwrap_or(Weight::ZERO)
    }

    /// Others that get traffic beside the two.
    pub(in crate::traffic) fn others(&self) -> Vec<String> {
        let mut others: Vec<String> = self.lists.iter().flat_map(|it| it.others.clone()).collect();
        others.sort();
        others.dedup();
        others
    }

    /// The patch after which the candidate stands in every list with `share`; empty when it does.
    pub(in crate::traffic) fn share(&self, share: Weight) -> Result<Vec<Value>, String> {
        let mut operations = Vec::new();
        let mut kept = self.kept.clone();
        for list in &self.lists {
            let (own, candidate) = list.parts(share, self.shape, &self.names.own)?;
            let changed = list.own.weight != own;
            let listed = list.candidate.as_ref().map(|it| it.weight);
            if !changed && listed == Some(candidate) {
                continue;
            }
            operations.push(self.test(list, &list.own));
            if list.candidate.is_none() {
                let before = list.own.entry.get("weight").cloned();
                kept.insert(list.pointer.clone(), before.unwrap_or(Value::Null));
            }
            if changed {
                operations.push(set_weight(list, &list.own, own));
            }
            match &list.candidate {
                Some(entry) if entry.weight != candidate => {
                    operations.push(self.test(list, entry));
                    operations.push(set_weight(list, entry, candidate));
                }
                Some(_) => {}
                None => operations.push(json!({
                    "op": "add",
                    "path": format!("{}/-", list.pointer),
                    "value": self.copy(&list.own.entry, candidate),
                })),
            }
        }
        if kept != self.kept {
            let kept: Map<String, Value> = kept.into_iter().collect();
            operations.push(json!({
                "op": "add", "path": annotation(), "value": Value::Object(kept).to_string(),
            }));
        }
        Ok(operations)
    }

    /// The patch that takes the candidate out of every list and gives the user's entry its weight back.
    pub(in crate::traffic) fn unlist(&self) -> Vec<Value> {
        let mut operations = Vec::new();
        for list in &self.lists {
            let Some(candidate) = &list.candidate else {
                continue;
            };
            operations.push(self.test(list, &list.own));
            operations.push(self.test(list, candidate));
            let kept = self.kept.get(&list.pointer);
            let back = match (list.others.is_empty(), kept) {
                (false, _) => Some(list.ours()),
                (true, Some(kept)) => kept.as_u64(),
                (true, None) => Some(self.shape.default),
            };
            match back {
                Some(weight) if list.own.weight == weight => {}
                Some(weight) => operations.push(set_weight(list, &list.own, weight)),
                None => operations.push(json!({
                    "op": "remove", "path": format!("{}/{}/weight", list.pointer, list.own.index),
                })),
            }
            operations.push(json!({
                "op": "remove", "path": format!("{}/{}", list.pointer, candidate.index),
            }));
        }
        if self.annotated {
            operations.push(json!({ "op": "remove", "path": annotation() }));
        }
        operations
    }

    fn test(&self, list: &List, entry: &Entry) -> Value {
        json!({
            "op": "test",
            "path": format!("{}/{}{}", list.pointer, entry.index, self.shape.name),
            "value": entry.entry.pointer(self.shape.name),
        })
    }

    fn copy(&self, own: &Value, weight: u64) -> Value {
        let mut copy = own.clone();
        if let Some(name) = copy.pointer_mut(self.shape.name) {
            let now = name.as_str().unwrap_or_default();
            *name = Value::from((self.shape.renamed)(now, &self.names.candidate));
        }
        if let Some(copy) = copy.as_object_mut() {
            copy.insert("weight".to_owned(), Value::from(weight));
        }
        copy
    }
}

impl List {
    fn read(
        pointer: &str,
        entries: &[Value],
        shape: &Shape,
        names: &Names,
    ) -> Result<Option<Self>, String> {
        let alone = entries.len() == 1;
        let entry = |(index, entry): (usize, &Value)| Entry {
            index,
            entry: entry.clone(),
            // One that is alone gets everything, whatever its weight says.
            weight: entry
                .get("weight")
                .and_then(Value::as_u64)
                .unwrap_or(match alone {
                    true => shape.default.max(1),
                    false => shape.default,
                }),
        };
        let entries: Vec<Entry> = entries.iter().enumerate().map(entry).collect();
        let of = |name: &str| -> Vec<&Entry> {
            let named = |it: &&Entry| (shape.names)(&it.entry, &names.namespace, name);
            entries.iter().filter(named).collect()
        };
        let (own, candidate) = match (of(&names.own).as_slice(), of(&names.candidate).as_slice()) {
            ([], _) => return Ok(None),
            ([own], []) => ((*own).clone(), None),
            ([own], [candidate]) => ((*own).clone(), Some((*candidate).clone())),
            (_, _) => {
                return Err(format!(
                    "{pointer} names {} or {} more than once",
                    names.own, names.candidate
                ));
            }
        };
        let is_other = |it: &&Entry| {
            it.index != own.index && candidate.as_ref().is_none_or(|one| one.index != it.index)
        };
        let others = entries.iter().filter(is_other).filter(|it| it.weight > 0);
        let name = |it: &Entry| {
            let name = it.entry.pointer(shape.name).and_then(Value::as_str);
            name.unwrap_or("a backend without a name").to_owned()
        };
        Ok(Some(Self {
            pointer: pointer.to_owned(),
            others: others.map(name).collect(),
            own,
            candidate,
        }))
    }

    /// What the two have.
    fn ours(&self) -> u64 {
        let candidate = self.candidate.as_ref().map_or(0, |it| it.weight);
        self.own.weight.saturating_add(candidate)
    }

    /// The candidate's share of it.
    fn share(&self) -> Weight {
        let candidate = self.candidate.as_ref().map_or(0, |it| it.weight);
        match self.ours() {
            0 => Weight::ZERO,
            ours => Weight::of(candidate, ours),
        }
    }

    /// How far from a share its integers may be: to the nearest, and never to nothing or all.
    fn granularity(&self) -> Weight {
        Weight::of(1, self.ours().max(1))
    }

    /// The weights of the two for the candidate's `share`.
    fn parts(&self, share: Weight, shape: &Shape, own: &str) -> Result<(u64, u64), String> {
        let whole = match self.others.is_empty() {
            true => (shape.whole)(share),
            false => self.ours(),
        };
        let exact = u64::from(share.hundredths()).saturating_mul(whole);
        let nearest = exact.saturating_add(5_000) / 10_000;
        let partly = share > Weight::ZERO && share < Weight::ALL;
        let candidate = match (partly, whole) {
            (_, 0) => 0,
            (true, 1) => {
                return Err(format!(
                    "{}: the weight of {own} is 1 beside others, which cannot be shared: give it as 100, and the others in proportion",
                    self.pointer
                ));
            }
            (true, whole) => nearest.clamp(1, whole - 1),
            (false, _) => nearest,
        };
        Ok((whole - candidate, candidate))
    }
}

fn set_weight(list: &List, entry: &Entry, weight: u64) -> Value {
    // `add` replaces what is there, and works where there is none.
    json!({
        "op": "add",
        "path": format!("{}/{}/weight", list.pointer, entry.index),
        "value": weight,
    })
}

fn annotation() -> String {
    format!("/metadata/annotations/{}", OWN_WEIGHTS.replace('/', "~1"))
}

#[cfg(test)]
mod tests;
