//! One command a file.

pub(crate) mod approval;
pub(crate) mod audit;
pub(crate) mod candidate;
pub(crate) mod capability;
pub(crate) mod catalog;
mod catalog_view;
mod cell_output;
pub(crate) mod config_check;
pub(crate) mod config_init;
mod config_live;
pub(crate) mod db;
pub(crate) mod deploy;
pub(crate) mod drill;
pub(crate) mod environment;
pub(crate) mod follow;
pub(crate) mod follow_up;
pub(crate) mod incident;
pub(crate) mod incident_args;
mod incident_changes;
mod incident_view;
pub(crate) mod leading;
pub(crate) mod log;
mod records;
pub(crate) mod release;
pub(crate) mod runbook;
mod runbook_run;
pub(crate) mod sandbox;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod show;
pub(crate) mod sign_in_link;
pub(crate) mod subscription;
pub(crate) mod temporal_setup;
mod update_templates;
pub(crate) mod user;

use tokio::signal::unix::{SignalKind, signal};

/// Waits for ctrl-c or SIGTERM.
pub(crate) async fn stopped() {
    let (Ok(mut terminated), Ok(mut interrupted)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
}
