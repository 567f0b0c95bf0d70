//! `/healthz` and `/readyz`: whether the broker is alive, and whether it takes clients.

use std::fmt::Write;

use http::StatusCode;

use super::request::{RequestHead, RequestRefusal};
use super::response::{Response, TEXT};
use crate::engine::client::Client;
use crate::storage::figures::StoreState;

const ALIVE: &str = "/healthz";
const READY: &str = "/readyz";

/// Maximum errors of a reload that are shown.
const SHOWN_ERRORS: usize = 20;

/// Whether this is the path of a health check.
pub(super) fn is_path(path: &str) -> bool {
    path == ALIVE || path == READY
}

/// The answer, if the request asks for the health of the broker.
pub(super) fn check(client: &Client<'_>, head: &RequestHead) -> Option<Response> {
    match head.path.as_str() {
        ALIVE => Some(Response::new(StatusCode::OK, TEXT, "ok\n")),
        READY => {
            let is_verbose = head.query.iter().any(|(name, _)| name == "verbose");
            Some(readiness(client, is_verbose))
        }
        _ => None,
    }
}

/// The refusal of a request that is no health check, on a connection that is let in for those alone.
pub(super) fn no_place(client: &Client<'_>) -> RequestRefusal {
    let text = match client.is_broker_draining() {
        true => "the broker is about to stop; try again later",
        false => "as many connections are open as this broker takes; try again later",
    };
    RequestRefusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn readiness(client: &Client<'_>, is_verbose: bool) -> Response {
    let store = client.store_state();
    let (status, word) = if client.is_broker_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if store == Some(StoreState::Failing) {
        // It does not end by itself, unlike a full disk.
        (StatusCode::SERVICE_UNAVAILABLE, "store failing")
    } else {
        (StatusCode::OK, "ready")
    };
    let mut text = format!("{word}\n");
    if is_verbose {
        let connected = client.connected();
        // Writing to a string does not fail.
        let _ = writeln!(text, "connections: {connected}");
        if let Some(state) = store {
            let _ = writeln!(text, "store: {}", state.as_str());
        }
        match client.last_reload() {
            None => text.push_str("reload: none since the start\n"),
            Some(last) => {
                let _ = writeln!(text, "reload: {last}");
                // They quote the file and its name, which others have no need to know.
                let is_local = client.record().peer().ip().is_loopback();
                let shown = if is_local { SHOWN_ERRORS } else { 0 };
                for error in last.report.errors.iter().take(shown) {
                    let _ = writeln!(text, "  {error}");
                }
            }
        }
    }
    Response::new(status, TEXT, text)
}
