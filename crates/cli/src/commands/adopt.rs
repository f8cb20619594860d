//! `sluice adopt`: an app file from what is there around a Deployment. Reads with the rights of
//! whoever calls, and writes nothing to the cluster.

use std::{fs::OpenOptions, io::Write as _, path::Path, path::PathBuf, str::FromStr};

use anyhow::Context as _;
use clap::Args;
use drivers::{
    Wake,
    kubernetes::{
        Clusters,
        adopt::{self, Choice, Draft, Route, Subject, Undecided},
    },
};
use serde::Serialize;
use serde_json::Value;

use super::{Session, apply};
use crate::{
    app_file::AppDocument,
    exit::{Exit, Usage},
    output::{Format, clean, message, print_raw},
    target::is_name,
};

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Looks at the Deployment, the Services that select its pods, the HTTPRoutes, GRPCRoutes and Ingresses
that send to them, its autoscaler and its disruption budgets, through your kubeconfig. The app file
goes to standard output or FILE; what a rollout would change later is listed beside it. Nothing is
written to the cluster. Where several objects could be meant they are named, and so is the option
that chooses.

Examples:
  sluice adopt deployment/checkout -n shop                      look at it
  sluice adopt deployment/checkout -n shop -f checkout.yaml     keep it
  sluice adopt deployment/checkout -n shop --project shop --apply && sluice plan shop/checkout
  sluice adopt deployment/checkout --route httproute/checkout --service checkout")]
pub(crate) struct AdoptArgs {
    /// What to adopt: deployment/NAME
    #[arg(value_name = "deployment/NAME")]
    pub(crate) workload: DeploymentName,
    /// Its namespace; default: that of the kubeconfig's context
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// The kubeconfig's context, for now and in the app file; default: the current one, and none
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// The app's project
    #[arg(long, value_name = "PROJECT", value_parser = project)]
    pub(crate) project: Option<String>,
    /// The Service whose traffic moves, where several select the pods
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// The route that moves it: httproute/NAME, grpcroute/NAME or ingress/NAME
    #[arg(long, value_name = "KIND/NAME")]
    pub(crate) route: Option<Route>,
    /// The container whose image a deploy changes; default: the first
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Write the app file here; a file that is there already is left alone
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Put the app file into effect at the Sluice server, too
    #[arg(long)]
    pub(crate) apply: bool,
}

/// `deployment/checkout`, also `deploy/checkout` as kubectl takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeploymentName(String);

impl FromStr for DeploymentName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').unwrap_or(("", text));
        let known = ["deployment", "deployments", "deploy", "deployment.apps"];
        match known.contains(&kind) && !name.is_empty() && !name.contains('/') {
            true => Ok(Self(name.to_owned())),
            false => Err(format!("\"{text}\" is not deployment/NAME")),
        }
    }
}

fn project(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("\"{text}\" is not a project: a-z, 0-9 and '-'")),
    }
}

/// What was made, as data.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Adopted {
    /// The app's name.
    app: String,
    /// The app file as text, comments included.
    file: String,
    /// The app file as data.
    document: Value,
    /// What was found.
    found: Vec<String>,
    /// What was decided, and why.
    decided: Vec<String>,
    /// What somebody should look at.
    warnings: Vec<String>,
    /// What a rollout would change later.
    touches: Vec<String>,
    /// Where the app file was written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<PathBuf>,
    /// What the server made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<Value>,
}

/// Adopts it.
pub(crate) async fn run(session: &Session, args: &AdoptArgs) -> anyhow::Result<Exit> {
    let draft = look(args).await?;
    let path = args.file.as_deref();
    let name = path.map_or("<app file>".into(), Path::to_string_lossy);
    let document = AppDocument::parse(&name, draft.text.clone())?;
    if let Some(path) = &args.file {
        write_new(path, &draft.text)?;
    }
    let mut applied = None;
    let mut said = None;
    if args.apply {
        let view = apply::put(session, &document).await?;
        said = Some(apply::text(&view));
        applied = Some(serde_json::to_value(&view.value)?);
    }
    match session.output.format {
        Format::Table => tell(args, &draft, said.as_deref())?,
        Format::Json | Format::Yaml => {
            let adopted = Adopted {
                app: draft.app,
                document: document.value().clone(),
                file: draft.text,
                found: draft.found,
                decided: draft.decided,
                warnings: draft.warnings,
                touches: draft.touches,
                written: args.file.clone(),
                applied,
            };
            session.output.show(&adopted, |_| String::new())?;
        }
    }
    Ok(Exit::Succeeded)
}

/// Reads what is there and drafts the file.
async fn look(args: &AdoptArgs) -> anyhow::Result<Draft> {
    // Nothing is watched here, so nobody is woken.
    let (wake, _) = Wake::channel();
    let clusters = Clusters::new(wake, None);
    let cluster = clusters.get(args.context.as_deref()).await?;
    let namespace = args.namespace.as_deref().unwrap_or(cluster.namespace());
    let found = adopt::read(&cluster, namespace, &args.workload.0).await?;
    let choice = Choice {
        project: args.project.clone(),
        context: args.context.clone(),
        container: args.container.clone(),
        service: args.service.clone(),
        route: args.route.clone(),
    };
    adopt::draft(&found, &choice).map_err(|error| Usage::error(with_way_out(&error)))
}

/// An open question with the option that answers it.
fn with_way_out(error: &Undecided) -> String {
    match error {
        Undecided::Several {
            subject,
            candidates,
            ..
        } => {
            let first = candidates.first().map(|(value, _)| value.as_str());
            let flag = flag(*subject);
            let example = first.unwrap_or("NAME");
            format!("{error}\n  choose with {flag}, e.g. {flag} {example}")
        }
        Undecided::Unknown { subject, .. } => {
            format!(
                "{error}\n  give another {}, or leave it out",
                flag(*subject)
            )
        }
        Undecided::NoService { .. } | Undecided::Taken { .. } => error.to_string(),
    }
}

fn flag(subject: Subject) -> &'static str {
    match subject {
        Subject::Container => "--container",
        Subject::Service => "--service",
        Subject::Route => "--route",
    }
}

/// Writes a file that is not there yet: an app file may have been edited since.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Usage::error(format!(
                "{} is there already: name another file, or remove it",
                path.display()
            )));
        }
        opened => opened.with_context(|| format!("write {}", path.display()))?,
    };
    file.write_all(text.as_bytes())
        .with_context(|| format!("write {}", path.display()))
}

/// For people: the file alone on stdout, so that it can be redirected; all else beside it.
fn tell(args: &AdoptArgs, draft: &Draft, applied: Option<&str>) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    match &args.file {
        None => print_raw(draft.text.as_bytes())?,
        Some(path) => {
            lines.push(format!("{} is written.", path.display()));
            let parts = [
                ("Found:", &draft.found),
                ("Decided:", &draft.decided),
                ("Look at:", &draft.warnings),
            ];
            for (title, sentences) in parts {
                section(&mut lines, title, sentences);
            }
        }
    }
    section(
        &mut lines,
        "Nothing was changed in the cluster. A rollout would change this there, and nothing else:",
        &draft.touches,
    );
    let app = match &args.project {
        Some(project) => format!("{project}/{}", draft.app),
        None => draft.app.clone(),
    };
    let next = match (applied, &args.file) {
        (Some(said), _) => format!("{said}\nNext: sluice plan {app}"),
        (None, Some(path)) => format!(
            "Next: sluice apply -f {0} && sluice plan {app}",
            path.display()
        ),
        (None, None) => "Next: keep it with -f FILE, or put it into effect with --apply".to_owned(),
    };
    lines.extend(next.lines().map(str::to_owned));
    for line in lines {
        message(&clean(&line));
    }
    Ok(())
}

fn section(lines: &mut Vec<String>, title: &str, sentences: &[String]) {
    if !sentences.is_empty() {
        lines.push(title.to_owned());
        lines.extend(sentences.iter().map(|it| format!("  {it}")));
    }
}

#[cfg(test)]
mod tests {
    use drivers::kubernetes::adopt::Found;
    use serde_json::json;
    use server::app_file::AppFile;

    use super::*;

    #[test]
    fn a_deployment_is_named_as_kubectl_takes_it() {
        for text in ["deployment/web", "deploy/web", "deployments/web"] {
            assert_eq!(text.parse(), Ok(DeploymentName("web".to_owned())));
        }
        for wrong in ["web", "service/web", "deployment/", "deployment/a/b"] {
            let error = wrong.parse::<DeploymentName>().unwrap_err();
            assert!(error.contains("deployment/NAME"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_there_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yaml");
        write_new(&path, "app: web\n").unwrap();
        let error = write_new(&path, "app: other\n").unwrap_err();
        assert!(error.to_string().contains("there already"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "app: web\n");
    }

    fn found(replicas: u64, more: impl FnOnce(&mut Found)) -> Found {
        let pod = json!({"containers": [{"name": "web", "image": "web:1"}]});
        let deployment = json!({
            "metadata": {"name": "web.v2"},
            "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}},
        });
        let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}}});
        let mut found = Found {
            namespace: "shop".to_owned(),
            deployments: vec![deployment.clone()],
            deployment,
            services: vec![service],
            ..Found::default()
        };
        more(&mut found);
        found
    }

    fn route() -> Value {
        json!({"metadata": {"name": "web"}, "spec": {"rules": [{"backendRefs": [{"name": "web"}]}]}})
    }

    fn ingress() -> Value {
        let backend = json!({"service": {"name": "web"}});
        json!({"metadata": {"name": "web"}, "spec": {"ingressClassName": "nginx", "defaultBackend": backend}})
    }

    fn git(found: &mut Found) {
        let labels = json!({"argocd.argoproj.io/instance": "shop"});
        found.deployment["metadata"]["labels"] = labels;
    }

    /// One for each router, and one that comes from Git.
    fn worlds() -> [Found; 6] {
        [
            found(6, |it| it.http_routes.push(route())),
            found(6, |it| it.grpc_routes.push(route())),
            found(6, |it| it.ingresses.push(ingress())),
            found(6, git),
            found(4, |_| ()),
            found(1, |_| ()),
        ]
    }

    fn read(text: &str) -> AppFile {
        let document = AppDocument::parse("draft", text.to_owned()).unwrap();
        AppFile::read(document.value()).unwrap_or_else(|it| panic!("{it:#?} in {text}"))
    }

    #[test]
    fn every_draft_is_an_app_file_also_with_the_gates_that_it_suggests() {
        let choice = Choice {
            project: Some("shop".to_owned()),
            context: Some("yes: \"#1\"".to_owned()),
            container: Some("web".to_owned()),
            ..Choice::default()
        };
        for world in worlds() {
            for choice in [Choice::default(), choice.clone()] {
                let draft = adopt::draft(&world, &choice).unwrap();
                let plain = read(&draft.text);
                assert!(plain.delivery.gates.is_empty());
                let (before, after) = draft.text.split_once("# metrics:").unwrap();
                let gates = format!("# metrics:{after}").replace("\n# ", "\n");
                let before = before.replace("- pause: 5m", "- gate: { for: 5m }");
                let gated = read(&format!("{before}{}", gates.trim_start_matches("# ")));
                assert_eq!(gated.delivery.gates.len(), 1, "{}", draft.text);
                assert_eq!(gated.bindings.workload, plain.bindings.workload);
            }
        }
    }

    #[test]
    fn a_question_names_the_option_that_answers_it() {
        let error = Undecided::Several {
            subject: Subject::Route,
            question: "several routes".to_owned(),
            candidates: vec![("httproute/a".to_owned(), String::new())],
        };
        let text = with_way_out(&error);
        assert!(text.ends_with("e.g. --route httproute/a"), "{text}");
    }
}
