//! The `traefik` router: shares of traffic as weights of a TraefikService.
//!
//! - The moves are those of `traffic::kubernetes`; here is what a weighted TraefikService says: the user's
//!   own one, which an IngressRoute names, with the user's Service in it.
//! - A TraefikService without its `sticky` cookie shares requests; with it, clients that have the cookie
//!   stay where they are until that backend has no pods.
//! - Traefik tells nobody what it has taken, and takes at most one change in two seconds
//!   (`providersThrottleDuration`). What stands for [`TAKEN_AFTER`] counts.

use std::time::Duration;

use async_trait::async_trait;
use rollout::document::Reader;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kubernetes::{
    list_view::ListView,
    scene::Place,
    settings::{Services, Where, object_name},
    two::{Taken, TwoServices, View},
    weighted::{Lists, Shape},
};
use crate::{
    DriverError,
    kubernetes::{Kind, Object, kind::GroupBy},
};

/// When a change is taken to be in effect.
pub const TAKEN_AFTER: Duration = Duration::from_secs(3);

const TRAEFIK_SERVICE: Kind = Kind {
    group: "traefik.io",
    version: "v1alpha1",
    kind: "TraefikService",
    plural: "traefikservices",
    group_by: GroupBy::Name,
    claims: &["spec.weighted"],
    metadata_only: false,
    prune: |_| (),
};

/// A service of a weighted TraefikService; the weight of one without is 1.
static SHAPE: Shape = Shape {
    name: "/name",
    names: |entry, namespace, service| {
        let is = |key, default, wanted| {
            entry.get(key).and_then(Value::as_str).unwrap_or(default) == wanted
        };
        is("kind", "Service", "Service")
            && is("namespace", namespace, namespace)
            && is("name", "", service)
    },
    renamed: |_, service| service.to_owned(),
    default: 1,
    whole: |_| 10_000,
};

/// The settings of the `traefik` router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traefik {
    /// The cluster and the namespace.
    #[serde(flatten)]
    pub place: Where,
    /// The TraefikService.
    pub traefik_service: String,
    /// The Services.
    #[serde(flatten)]
    pub services: Services,
}

impl Traefik {
    /// Reads `{ context, namespace, traefikService, service, candidateService }`, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let keys = [&["traefikService"], Where::KEYS.as_slice(), &Services::KEYS];
        let object = reader.object(&keys.concat())?;
        let place = Where::read(&object);
        let traefik_service = object.required("traefikService", object_name);
        let services = Services::read(&object);
        Some(Self {
            place: place?,
            traefik_service: traefik_service?,
            services: services?,
        })
    }

    fn lists(&self, object: &Object) -> Result<Lists, String> {
        let pointers = ["/spec/weighted/services".to_owned()];
        let lists = self.services.lists(object, &pointers, &SHAPE)?;
        match lists.is_empty() {
            true => Err(format!(
                "its weighted services do not have {}",
                self.services.service
            )),
            false => Ok(lists),
        }
    }
}

#[async_trait]
impl TwoServices for Traefik {
    fn at(&self) -> &Where {
        &self.place
    }

    fn services(&self) -> &Services {
        &self.services
    }

    fn route(&self) -> (&'static str, &str) {
        (TRAEFIK_SERVICE.kind, &self.traefik_service)
    }

    async fn view(&self, place: &Place<'_>) -> Result<Box<dyn View>, DriverError> {
        let kinds = &[&TRAEFIK_SERVICE];
        ListView::open(place, "Traefik", kinds, &self.traefik_service, |object| {
            let lists = self.lists(object)?;
            let taken = Taken::After(TAKEN_AFTER, lists.state());
            Ok((lists, taken, None))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use rollout::Weight;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_users_service_of_the_same_namespace_is_shared() {
        let document =
            json!({ "namespace": "shop", "traefikService": "split", "service": "checkout" });
        let settings = rollout::document::read(&document, Traefik::read).unwrap();
        let object = |services: &Value| {
            let metadata =
                json!({ "name": "split", "namespace": "shop", "uid": "u", "resourceVersion": "1" });
            let spec = json!({ "weighted": { "services": services, "sticky": { "cookie": {} } } });
            Object::read(
                &TRAEFIK_SERVICE,
                json!({ "metadata": metadata, "spec": spec }),
            )
            .unwrap()
        };
        let mixed = json!([
            { "name": "checkout", "kind": "TraefikService", "weight": 1 },
            { "name": "checkout", "namespace": "elsewhere", "port": 80, "weight": 0 },
            { "name": "checkout", "port": 80, "weight": 300, "scheme": "h2c" },
        ]);
        let share = settings
            .lists(&object(&mixed))
            .unwrap()
            .share(Weight::from_hundredths(2500));
        insta::assert_json_snapshot!(share.unwrap());
        let none = settings.lists(&object(&json!([{ "name": "search" }])));
        assert!(
            none.err()
                .is_some_and(|it| it.contains("do not have checkout"))
        );
    }
}
