//! The app file as text: what a person would have written, with comments that say why.

use super::{
    Choice, Draft, Found, RouteKind,
    objects::name,
    traffic::{Router, Traffic},
    workload::Workload,
};

/// Words that YAML takes for something else than text.
const NOT_TEXT: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// Columns of a comment.
const COLUMNS: usize = 100;

/// How long a step waits where there is no gate: long enough for an alert or a person.
const LOOK: &str = "5m";

/// What gates could look like. A test of the verb does as it says and reads it.
const GATES: &str = "\
# Without gates only alerts and people take a bad revision back. With Prometheus, for example, and
# with `- gate: { for: 5m }` in the place of each pause:
# metrics:
#   prometheus: { url: http://prometheus.monitoring:9090 }
# gates:
#   - name: errors
#     threshold:
#       query: >-
#         sum(rate(http_requests_total{pod=~\"{{candidate.instances}}\",code=~\"5..\"}[1m]))
#         / sum(rate(http_requests_total{pod=~\"{{candidate.instances}}\"}[1m]))
#       below: 0.01
";

pub(super) fn text(
    found: &Found,
    choice: &Choice,
    workload: &Workload,
    traffic: &Traffic,
    draft: &Draft,
) -> String {
    let mut file = File::default();
    let deployment = name(&found.deployment);
    file.comment(&format!(
        "Written by `sluice adopt deployment/{deployment} -n {}`, which changed nothing there.",
        found.namespace
    ));
    let parts = [
        ("Found:", &draft.found),
        ("Decided:", &draft.decided),
        ("Look at:", &draft.warnings),
    ];
    for (title, sentences) in parts {
        if !sentences.is_empty() {
            file.comment(title);
            sentences.iter().for_each(|it| file.bullet(it));
        }
    }
    file.line(0, "");
    file.line(0, &format!("app: {}", workload.app));
    if let Some(project) = &choice.project {
        file.line(0, &format!("project: {}", scalar(project)));
    }
    let place = |file: &mut File| {
        if let Some(context) = &choice.context {
            file.line(4, &format!("context: {}", scalar(context)));
        }
        file.line(4, &format!("namespace: {}", scalar(&found.namespace)));
    };
    file.line(0, "workload:");
    file.line(2, "kubernetes:");
    place(&mut file);
    file.line(4, &format!("deployment: {}", scalar(deployment)));
    if let Some(container) = &workload.container {
        file.line(4, &format!("container: {}", scalar(container)));
    }
    if workload.git.is_some() {
        file.line(4, "trigger: template");
    }
    file.line(0, "traffic:");
    file.line(2, &format!("{}:", word(&traffic.router)));
    place(&mut file);
    settings(&mut file, traffic);
    strategy(&mut file, workload, traffic);
    file.line(0, "");
    file.0.push_str(GATES);
    file.0
}

/// The word of a router.
fn word(router: &Router) -> &'static str {
    match router {
        Router::Gateway { .. } => "gatewayApi",
        Router::Nginx { .. } => "ingressNginx",
        Router::Selector => "service",
        Router::Ratio => "replicaRatio",
    }
}

fn settings(file: &mut File, traffic: &Traffic) {
    match &traffic.router {
        Router::Gateway { route, .. } => {
            let key = match route.kind {
                RouteKind::GrpcRoute => "grpcRoute",
                RouteKind::HttpRoute | RouteKind::Ingress => "httpRoute",
            };
            file.line(4, &format!("{key}: {}", scalar(&route.name)));
        }
        Router::Nginx { ingress } => file.line(4, &format!("ingress: {}", scalar(ingress))),
        Router::Selector | Router::Ratio => {}
    }
    if let Some(service) = &traffic.service {
        file.line(4, &format!("service: {}", scalar(service)));
    }
    if let Some(candidate) = &traffic.candidate_service {
        file.line(4, &format!("candidateService: {}", scalar(candidate)));
    }
}

fn strategy(file: &mut File, workload: &Workload, traffic: &Traffic) {
    file.line(0, "strategy:");
    let weights = match traffic.router {
        Router::Selector => {
            file.line(2, "blueGreen:");
            file.line(4, "# The old pods stay ready that long after the switch.");
            file.line(4, "bake: 10m");
            return;
        }
        Router::Gateway { .. } | Router::Nginx { .. } => vec![5, 25, 50],
        Router::Ratio => ratios(workload.replicas),
    };
    file.line(2, "canary:");
    file.line(4, "steps:");
    for weight in weights {
        file.line(6, &format!("- setWeight: {weight}"));
        file.line(6, &format!("- pause: {LOOK}"));
    }
    file.line(6, "- setWeight: 100");
    file.line(
        4,
        "# The old pods stay ready that long, for a way back without a start.",
    );
    file.line(4, "bake: 10m");
}

/// Shares that so many pods can give: one of them, then half.
fn ratios(replicas: u64) -> Vec<u64> {
    let replicas = replicas.max(1);
    // Rounded down: a little more than one pod's share is two pods'.
    let share = |pods: u64| pods * 100 / replicas;
    let mut shares = vec![share(1), share(replicas / 2)];
    shares.retain(|it| (1..100).contains(it));
    shares.dedup();
    shares
}

/// Lines of YAML.
#[derive(Debug, Default)]
struct File(String);

impl File {
    fn line(&mut self, indent: usize, text: &str) {
        self.0.push_str(&format!("{:indent$}{text}\n", ""));
    }

    fn comment(&mut self, text: &str) {
        self.wrapped("# ", "# ", text);
    }

    fn bullet(&mut self, text: &str) {
        self.wrapped("# - ", "#   ", text);
    }

    fn wrapped(&mut self, first: &str, next: &str, text: &str) {
        let mut line = first.to_owned();
        let mut is_empty = true;
        // What others named must not end the comment.
        for word in text.split_whitespace() {
            let word: String = word.chars().filter(|it| !it.is_control()).collect();
            if !is_empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
                self.line(0, &line);
                line = next.to_owned();
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(&word);
            is_empty = false;
        }
        self.line(0, &line);
    }
}

/// A text as YAML; quoted where it could be read as something else.
fn scalar(text: &str) -> String {
    let plain = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || "-.".contains(it);
    let is_plain = text.starts_with(|it: char| it.is_ascii_lowercase())
        && text.chars().all(plain)
        && !NOT_TEXT.contains(&text);
    match is_plain {
        true => text.to_owned(),
        // A JSON text is a YAML text.
        false => serde_json::Value::from(text).to_string(),
    }
}
