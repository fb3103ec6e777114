//! The console as its clients see it: its router over a real log, without a network.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod access;
mod agreement;
mod approvals;
mod candidates;
mod catalog;
mod catalog_pages;
mod commands;
mod connections;
mod contract;
mod declare;
mod deploys;
mod described;
mod exports;
mod forgeries;
mod graphql_clients;
mod invariants;
mod issuer;
mod leading;
mod log;
mod manifest;
mod mcp;
mod octokit;
mod oidc;
mod outputs;
mod pages;
mod privacy;
mod seeds;
mod sessions;
mod single_sign_on;
mod situation;
mod slack;
mod slack_commands;
mod slack_forms;
mod slack_home;
mod starts;
mod stream;
mod subscriptions;
mod watchers;
mod webhooks;
mod workspace;
mod world;
