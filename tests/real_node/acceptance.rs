//! Every scenario of the acceptance suite over Kubernetes: real pods behind a real Gateway.

use e2e::pairs::DeploymentGateway;

use crate::table::scenarios;

acceptance! {
    deployment_gateway: DeploymentGateway::default();
}
