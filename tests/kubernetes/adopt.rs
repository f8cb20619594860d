//! `sluice adopt` at a real API server: what it finds, with which rights, and that it writes nothing.

use std::sync::Arc;

use e2e::{Cluster, binary};
use local::kubernetes::{ADMIN, SLUICE};
use serde_json::{Value, json};

/// What a user has: a Deployment with a Service, a route, an autoscaler and a disruption budget.
const SHOP: &str = include_str!("adopt/shop.yaml");

/// A namespace with the shop in it.
struct Shop {
    cluster: Arc<Cluster>,
    namespace: String,
}

impl Shop {
    async fn start() -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let namespace = cluster.namespace("adopt").await.unwrap();
        let arguments = ["apply", "-n", &namespace, "-f", "-"];
        cluster.kubectl(&arguments, SHOP).await.unwrap();
        let status = [
            "rollout",
            "status",
            "deployment/checkout",
            "--timeout=60s",
            "-n",
            &namespace,
        ];
        cluster.kubectl(&status, "").await.unwrap();
        Self { cluster, namespace }
    }

    /// Runs `sluice adopt deployment/checkout` with the kubeconfig of `user`.
    async fn adopt(&self, user: &str, more: &[&str]) -> binary::Ran {
        self.adopt_other(user, "deployment/checkout", more).await
    }

    async fn adopt_other(&self, user: &str, what: &str, more: &[&str]) -> binary::Ran {
        let adopt = ["adopt", what, "-n", &self.namespace];
        let kubeconfig = self.cluster.kubeconfig(user).unwrap();
        let environment = [("KUBECONFIG", kubeconfig.to_str().unwrap())];
        let ran = binary::run(&[&adopt, more].concat(), &environment, "").await;
        ran.unwrap()
    }

    /// All that somebody asked for; what controllers note meanwhile is no part of it.
    async fn objects(&self) -> Vec<Value> {
        let kinds = "deployments,replicasets,services,httproutes,hpa,pdb";
        let get = ["get", kinds, "-n", &self.namespace, "-o", "json"];
        let list = self.cluster.kubectl(&get, "").await.unwrap();
        let list: Value = serde_json::from_str(&list).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        let asked = |it: &Value| {
            let metadata = &it["metadata"];
            json!([
                it["kind"],
                metadata["name"],
                metadata["labels"],
                metadata["annotations"],
                it["spec"]
            ])
        };
        items.map(asked).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_found_and_nothing_is_written() {
    let shop = Shop::start().await;
    let before = shop.objects().await;
    let ran = shop.adopt(ADMIN, &["-o", "json"]).await.expect(0).unwrap();
    let adopted = ran.json().unwrap();
    let wanted = json!({
        "app": "checkout",
        "workload": {"kubernetes": {"namespace": shop.namespace, "deployment": "checkout"}},
        "traffic": {"gatewayApi": {"namespace": shop.namespace, "httpRoute": "shop", "service": "checkout"}},
        "strategy": {"canary": {
            "steps": [
                {"setWeight": 5}, {"pause": "5m"}, {"setWeight": 25}, {"pause": "5m"},
                {"setWeight": 50}, {"pause": "5m"}, {"setWeight": 100},
            ],
            "bake": "10m",
        }},
    });
    assert_eq!(adopted["document"], wanted, "{adopted:#}");
    let found = adopted["found"].to_string();
    for part in [
        "HTTPRoute",
        "HorizontalPodAutoscaler checkout: 2 to 6 pods",
        "PodDisruptionBudget checkout",
    ] {
        assert!(found.contains(part), "{part} in {found}");
    }
    assert_eq!(adopted["warnings"], json!([]), "{adopted:#}");
    // The file for people is the same file, alone on stdout.
    let plain = shop.adopt(ADMIN, &[]).await.expect(0).unwrap();
    assert_eq!(plain.stdout, adopted["file"].as_str().unwrap());
    assert!(
        plain.stderr.contains("Nothing was changed"),
        "{}",
        plain.stderr
    );

    assert_eq!(shop.objects().await, before);
    let entries = shop.cluster.audit_log().read().unwrap();
    let ours = entries
        .iter()
        .filter(|it| it.namespace == shop.namespace && it.user_agent.starts_with("sluice/"));
    let (count, writes) = ours.fold((0, Vec::new()), |(count, mut writes), it| {
        if it.is_write() {
            writes.push(format!("{it:?}"));
        }
        (count + 1, writes)
    });
    assert!(count > 0, "its requests are not in the audit log");
    assert_eq!(writes, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_right_it_says_what_it_could_not_see() {
    let shop = Shop::start().await;
    let ran = shop.adopt(SLUICE, &[]).await.expect(1).unwrap();
    assert!(
        ran.stderr.contains("cannot list resource \"deployments\""),
        "{}",
        ran.stderr
    );
    let rules = json!([
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["list"]},
    ]);
    shop.cluster
        .allow(SLUICE, &shop.namespace, &rules)
        .await
        .unwrap();
    let ran = shop.adopt(SLUICE, &["-o", "json"]).await.expect(0).unwrap();
    let adopted = ran.json().unwrap();
    let warnings = adopted["warnings"].to_string();
    for kind in [
        "httproutes",
        "grpcroutes",
        "ingresses",
        "horizontalpodautoscalers",
    ] {
        let said = format!("{kind} could not be looked at");
        assert!(warnings.contains(&said), "{said} in {warnings}");
    }
    // It decides on what it saw, and says so.
    assert!(
        adopted["document"]["traffic"]["replicaRatio"].is_object(),
        "{adopted:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_be_meant_is_named_with_the_option_that_chooses() {
    let shop = Shop::start().await;
    let namespace = shop.namespace.clone();
    let ran = shop.adopt_other(ADMIN, "deployment/chekout", &[]).await;
    let ran = ran.expect(1).unwrap();
    assert!(ran.stderr.contains("has checkout"), "{}", ran.stderr);

    let second = SHOP.replace("name: shop", "name: beta");
    let apply = ["apply", "-n", &namespace, "-f", "-"];
    shop.cluster.kubectl(&apply, &second).await.unwrap();
    let ran = shop.adopt(ADMIN, &[]).await.expect(2).unwrap();
    assert!(
        ran.stderr.contains("--route httproute/beta"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stdout, "");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("checkout.yaml");
    let file = file.to_str().unwrap();
    let chosen = ["--route", "httproute/beta", "--project", "shop", "-f", file];
    let ran = shop.adopt(ADMIN, &chosen).await.expect(0).unwrap();
    assert!(
        ran.stderr.contains("sluice plan shop/checkout"),
        "{}",
        ran.stderr
    );
    let written = std::fs::read_to_string(file).unwrap();
    assert!(written.contains("httpRoute: beta\n"), "{written}");
    let ran = shop.adopt(ADMIN, &chosen).await.expect(2).unwrap();
    assert!(ran.stderr.contains("is there already"), "{}", ran.stderr);
}
