//! YAML to a JSON document with places. The only file that knows the YAML library.
//!
//! App files are plain data: anchors and aliases work within small limits, tags mean nothing, and
//! `yes` and `on` are texts (YAML 1.2).

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{
    Error, Location, MessageFormatter as _, Options, Spanned, UserMessageFormatter,
    options::{DuplicateKeyPolicy, NonFiniteFloatPolicy},
};

use super::{
    places::{Place, Places, Spot},
    problems::Finding,
};

/// Deeper than any app file: the deepest setting stands at 8.
const DEPTH_MAX: usize = 32;
/// Values of one file; an app with all gates and a hundred steps has about a thousand.
const NODES_MAX: usize = 20_000;
/// Anchors, and uses of them, of one file.
const ALIASES_MAX: usize = 100;

/// The document and its places, or what is wrong with the text.
pub(super) fn parse(text: &str) -> Result<(Value, Places), Vec<Finding>> {
    let root = serde_saphyr::from_str_with_options::<Spanned<Node>>(text, options());
    let root = root.map_err(|error| vec![finding(&error)])?;
    let mut flat = Flat::default();
    let value = flat.value(root, "", None);
    match flat.doubles.is_empty() {
        true => Ok((value, flat.places)),
        false => Err(flat.doubles),
    }
}

fn options() -> Options {
    let alias_limits = serde_saphyr::alias_limits! {
        max_total_replayed_events: NODES_MAX,
        max_replay_stack_depth: 8,
        max_alias_expansions_per_anchor: ALIASES_MAX,
    };
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            // A second one is refused by name, not as a matter of size.
            max_documents: 2,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_anchors: ALIASES_MAX,
            max_aliases: ALIASES_MAX,
            max_merge_keys: ALIASES_MAX,
            max_recorded_anchor_events: NODES_MAX,
        },
        alias_limits: alias_limits,
        // Doubles are collected here, so that all of them are named.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    }
}

fn finding(error: &Error) -> Finding {
    let at = error.location().and_then(spot);
    let error = original(error);
    let message = match error {
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => Cow::Borrowed(
            "larger, deeper nested or with more aliases than any app file needs to be",
        ),
        error => UserMessageFormatter.format_message(error),
    };
    Finding {
        spot: at,
        detail: message.trim().to_owned(),
    }
}

/// The error itself, without what tells by which alias it was reached.
fn original(mut error: &Error) -> &Error {
    while let Error::AliasError { error: inner, .. } | Error::WithSnippet { error: inner, .. } =
        error
    {
        error = inner;
    }
    error
}

fn spot(at: Location) -> Option<Spot> {
    let whole = |it: u64| usize::try_from(it).ok();
    let (line, column) = (whole(at.line())?, whole(at.column())?);
    let length = whole(at.span().len()).unwrap_or_default().max(1);
    (line > 0 && column > 0).then_some(Spot {
        line,
        column,
        length,
    })
}

/// A value as it stands in the text.
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(it)))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Node, E> {
        Ok(Node::Scalar(it.into()))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Node, E> {
        Ok(Node::Scalar(it.into()))
    }

    fn visit_f64<E: de::Error>(self, it: f64) -> Result<Node, E> {
        let number = Number::from_f64(it).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Node::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, it: &str) -> Result<Node, E> {
        Ok(Node::Scalar(it.into()))
    }

    fn visit_string<E>(self, it: String) -> Result<Node, E> {
        Ok(Node::Scalar(it.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

/// Takes nodes apart into a document and its places.
#[derive(Default)]
struct Flat {
    places: Places,
    doubles: Vec<Finding>,
}

impl Flat {
    fn value(&mut self, node: Spanned<Node>, pointer: &str, key: Option<Spot>) -> Value {
        // The definition, not the alias: that is where something has to be put right.
        if let Some(value) = spot(node.defined).or_else(|| spot(node.referenced)) {
            let value = match &node.value {
                Node::Scalar(_) => value,
                Node::List(_) | Node::Map(_) => Spot { length: 1, ..value },
            };
            self.places.note(pointer, Place { key, value });
        }
        match node.value {
            Node::Scalar(value) => value,
            Node::List(items) => {
                let items = items.into_iter().enumerate();
                Value::Array(
                    items
                        .map(|(index, it)| self.value(it, &format!("{pointer}/{index}"), None))
                        .collect(),
                )
            }
            Node::Map(entries) => Value::Object(self.map(entries, pointer)),
        }
    }

    fn map(
        &mut self,
        entries: Vec<(Spanned<String>, Spanned<Node>)>,
        pointer: &str,
    ) -> Map<String, Value> {
        let mut map = Map::new();
        let mut first: BTreeMap<String, Option<Spot>> = BTreeMap::new();
        for (key, node) in entries {
            let at = spot(key.defined).or_else(|| spot(key.referenced));
            if let Some(before) = first.get(&key.value) {
                let line = before.map(|it| format!(", first in line {}", it.line));
                let detail = format!(
                    "key \"{}\" stands here twice{}",
                    key.value,
                    line.unwrap_or_default()
                );
                self.doubles.push(Finding { spot: at, detail });
                continue;
            }
            let escaped = key.value.replace('~', "~0").replace('/', "~1");
            let value = self.value(node, &format!("{pointer}/{escaped}"), at);
            first.insert(key.value.clone(), at);
            map.insert(key.value, value);
        }
        map
    }
}
