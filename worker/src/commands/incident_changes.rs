//! `harmony incident changes` and `link-change`: which releases may have caused an incident, and what people say of them.

use clap::{Args, builder::PossibleValuesParser};
use serde_json::{Value, json};

use crate::{
    api::Api,
    commands::{
        catalog_view::{name_of, tone_of},
        incident::given,
        incident_args::{KeyArgs, incident_id},
        show::items,
    },
    config::Config,
    moments,
    output::{self, words},
    terminal::{Span, Tone, span},
};

/// Options of `link-change`.
#[derive(Debug, Args)]
pub(crate) struct LinkChangeArgs {
    /// Such as INC-2026-0042, or 42 for this year's
    #[arg(value_parser = incident_id)]
    id: String,
    /// Release, such as rel-123
    #[arg(long, value_name = "ID")]
    release: String,
    /// How it stands to the incident
    #[arg(long, value_parser = PossibleValuesParser::new(["caused", "related", "dismissed"]), ignore_case = true)]
    relation: String,
    /// Why, for the record and the review
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Shows what changed before an incident.
pub(super) async fn list(config: &Config, id: &str, json: bool) -> anyhow::Result<()> {
    let body = Api::open(config, None)?.get(&["incidents", id, "changes"], &[]).await?;
    if json {
        output::json(&body)
    } else {
        show(id, &body)
    }
    Ok(())
}

/// Puts on record what somebody says of a release.
pub(super) async fn link(config: &Config, args: &LinkChangeArgs, json: bool) -> anyhow::Result<()> {
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let body = given(json!({
        "releaseId": args.release,
        "relation": args.relation.to_ascii_lowercase(),
        "reason": args.reason,
    }));
    let reply = api.post(&["incidents", &args.id, "changes"], &body).await?.body;
    if json {
        output::json(&reply);
    } else {
        show(&args.id, &reply["changes"]);
    }
    Ok(())
}

fn show(id: &str, changes: &Value) {
    let rows = rows(changes);
    if rows.is_empty() {
        output::say("nothing that the catalog knows of changed before it");
        return;
    }
    output::table(
        &["RELATION", "RELEASE", "SERVICE", "ENVIRONMENT", "VERSION", "STATUS", "CHANGED", "WHY"],
        &rows,
    );
    if let Some(suspect) = items(changes, "suspected").first() {
        output::say(&format!(
            "say what it was: harmony incident link-change {id} --release {} --relation caused --reason WHY",
            words(&suspect["id"])
        ));
    }
}

/// What people said first, then what is suspected, the likeliest first.
fn rows(changes: &Value) -> Vec<Vec<Span>> {
    let row = |change: &Value| -> Vec<Span> {
        let (relation, status) = (words(&change["relation"]), words(&change["status"]));
        vec![
            span(tone_of_relation(&relation), relation),
            span(Tone::Strong, words(&change["id"])),
            words(&change["serviceName"]).into(),
            words(&change["envId"]).into(),
            name_of(change).into(),
            span(tone_of(&status), status),
            span(Tone::Faint, moments::ago(&change["changedAt"])),
            words(&change["reason"]).into(),
        ]
    };
    ["linked", "suspected"].iter().flat_map(|list| items(changes, list)).map(row).collect()
}

fn tone_of_relation(relation: &str) -> Tone {
    match relation {
        "caused" => Tone::Bad,
        "suspected" => Tone::Warn,
        "related" => Tone::Busy,
        _ => Tone::Faint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_said_stands_before_what_is_suspected() {
        let change = |id: &str, relation: &str, reason: &str| {
            json!({
                "id": id, "serviceName": "checkout", "envId": "env-prod", "version": "2.4.1", "sha": "9f3b7de",
                "status": "Active", "relation": relation, "reason": reason, "changedAt": "2026-01-01T00:00:00Z"
            })
        };
        let changes = json!({
            "suspected": [change("rel-2", "suspected", "same service and environment, Active 6 minutes before")],
            "linked": [change("rel-1", "caused", "Errors since it")],
        });
        let rows = rows(&changes);
        let cells = |row: &[Span]| row.iter().map(|cell| cell.text.clone()).collect::<Vec<_>>().join("|");
        assert_eq!(
            rows.iter().map(|row| cells(row)).collect::<Vec<_>>(),
            [
                "caused|rel-1|checkout|env-prod|2.4.1|Active|2026-01-01T00:00:00Z|Errors since it",
                "suspected|rel-2|checkout|env-prod|2.4.1|Active|2026-01-01T00:00:00Z|same service and environment, Active 6 minutes before",
            ]
        );
        assert_eq!((rows[0][0].tone, rows[1][0].tone), (Tone::Bad, Tone::Warn));
    }
}
