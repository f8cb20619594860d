//! A route that is one object with lists of weighted backends.

use std::{collections::BTreeMap, sync::Arc};

use rollout::{RouteRule, Weight};
use serde_json::{Value, json};

use super::{
    pair::Listed,
    scene::Place,
    served::served,
    two::{Taken, View, Write},
    weighted::Lists,
};
use crate::{
    DriverError,
    kubernetes::{Change, EPOCH, Kind, Object},
    traffic::gateway_api::RouteRules,
};

/// The object as it was read.
pub(in crate::traffic) struct ListView {
    kind: &'static Kind,
    object: Arc<Object>,
    lists: Lists,
    taken: Taken,
    rules: Option<RouteRules>,
}

impl ListView {
    /// The route of that name, of the first of `kinds` (one kind in several versions) that the
    /// cluster serves. `read` says what its lists are and how far they are taken; what it refuses is
    /// told of the route. `what` the kinds belong to, for people.
    pub(in crate::traffic) async fn open(
        place: &Place<'_>,
        what: &str,
        kinds: &'static [&'static Kind],
        name: &str,
        read: impl FnOnce(&Object) -> Result<(Lists, Taken, Option<RouteRules>), String> + Send,
    ) -> Result<Box<dyn View>, DriverError> {
        let kind = served(&place.cluster, what, kinds).await?;
        let named = place.name(kind.kind, name);
        let refused = |why: String| DriverError::permanent(format!("use {named}"), why);
        let found = place.cluster.get(place.app, kind, place.namespace, name);
        let object = found
            .await?
            .ok_or_else(|| refused("there is none".to_owned()))?;
        let (lists, taken, rules) = read(&object).map_err(refused)?;
        Ok(Box::new(Self {
            kind,
            object,
            lists,
            taken,
            rules,
        }))
    }

    fn patch(&self, operations: Vec<Value>) -> Vec<Write> {
        match operations.is_empty() {
            true => Vec::new(),
            false => {
                let change = Change::Json(operations);
                vec![Write::Patch(self.kind, Arc::clone(&self.object), change)]
            }
        }
    }
}

impl View for ListView {
    fn name(&self) -> String {
        format!(
            "{} {}/{}",
            self.kind.kind, self.object.namespace, self.object.name
        )
    }

    fn listed(&self) -> Listed {
        self.lists.listed()
    }

    fn state(&self) -> String {
        let mut names = self.rules().into_keys().collect::<Vec<_>>();
        names.extend(self.is_spoilt().then(|| "in part".to_owned()));
        match names.is_empty() {
            true => self.lists.state(),
            false => format!("{}; routes {}", self.lists.state(), names.join(", ")),
        }
    }

    fn one_of(&self, asked: &[Weight]) -> Option<Weight> {
        self.lists.one_of(asked)
    }

    fn tolerance(&self) -> Weight {
        self.lists.tolerance()
    }

    fn others(&self) -> Vec<String> {
        self.lists.others()
    }

    fn acceptance(&self) -> Taken {
        self.taken.clone()
    }

    fn share(&self, share: Weight) -> Result<Vec<Write>, String> {
        Ok(self.patch(self.lists.share(share)?))
    }

    fn rules(&self) -> BTreeMap<String, RouteRule> {
        let standing = self.rules.as_ref().map(RouteRules::standing);
        standing.unwrap_or_default()
    }

    fn is_spoilt(&self) -> bool {
        self.rules.as_ref().is_some_and(RouteRules::is_spoilt)
    }

    fn set_rules(&self, rules: &BTreeMap<String, RouteRule>) -> Vec<Write> {
        let operations = self.rules.as_ref().map(|it| it.write(rules));
        self.patch(operations.unwrap_or_default())
    }

    fn unlist(&self) -> Vec<Write> {
        self.patch(self.lists.unlist())
    }

    fn release(&self) -> Vec<Write> {
        let mut operations = self.lists.unlist();
        let rules = self.rules.iter();
        operations.extend(rules.flat_map(|it| it.write(&BTreeMap::new())));
        if self.object.annotations.contains_key(EPOCH) {
            let path = format!("/metadata/annotations/{}", EPOCH.replace('/', "~1"));
            operations.push(json!({ "op": "remove", "path": path }));
        }
        self.patch(operations)
    }
}
