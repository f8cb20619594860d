//! What a receiver's answer over HTTP means; the table is in [`super::webhook`].

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};

use super::Delivery;
use crate::{DriverError, exchange};

/// Sends `request` to `receiver` (its name in errors) and judges the answer's status.
pub(super) async fn send(
    request: RequestBuilder,
    receiver: &str,
    deadline: Duration,
) -> Result<Delivery, DriverError> {
    let status = exchange::status(request, deadline).await;
    outcome(
        receiver,
        status.map_err(|it| DriverError::transient(receiver, it))?,
    )
}

fn outcome(receiver: &str, status: StatusCode) -> Result<Delivery, DriverError> {
    match status {
        StatusCode::GONE => Ok(Delivery::Gone),
        it if it.is_success() => Ok(Delivery::Accepted),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(DriverError::transient(receiver, status))
        }
        it if it.is_server_error() => Err(DriverError::transient(receiver, status)),
        it if it.is_redirection() => {
            let detail = format!("{it}: redirects are not followed, give the final address");
            Err(DriverError::permanent(receiver, detail))
        }
        it => Err(DriverError::permanent(receiver, it)),
    }
}
