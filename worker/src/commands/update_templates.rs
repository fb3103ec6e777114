//! Templates for updates: `incident update ID --templates` lists them, `--template NAME` sends one.

use serde_json::Value;

use crate::{
    api::Api,
    commands::{incident_args::UpdateArgs, show::items},
    config::Config,
    failure::Failure,
    output::{self, words},
    terminal::{Tone, span},
};

async fn known(api: &Api, id: &str) -> anyhow::Result<Value> {
    api.get(&["incidents", id, "update-templates"], &[]).await
}

/// Shows the templates that fit an incident, each with the text that it makes of it now.
pub(crate) async fn list(config: &Config, id: &str, json: bool) -> anyhow::Result<()> {
    let page = known(&Api::open(config, None)?, id).await?;
    let templates = items(&page, "templates");
    if json {
        output::json(&templates);
        return Ok(());
    }
    if templates.is_empty() {
        output::say("there is no template for this incident; docs/templates.md says how to write one");
    }
    for template in templates {
        let audience = if template["public"] == true { "  for the public" } else { "" };
        output::spans(&[
            span(Tone::Strong, words(&template["name"])),
            span(Tone::Faint, format!("  {}{audience}", words(&template["title"]))),
        ]);
        for line in words(&template["message"]).lines() {
            output::spans(&[format!("    {line}").into()]);
        }
    }
    Ok(())
}

/// Puts the text of the template that was asked for into the request, where no message was given.
pub(crate) async fn fill(api: &Api, args: &UpdateArgs, body: &mut Value) -> anyhow::Result<()> {
    let (Some(name), None) = (&args.template, &args.message) else { return Ok(()) };
    let page = known(api, &args.id).await?;
    let templates = items(&page, "templates");
    let Some(template) = templates.iter().find(|one| one["name"] == **name) else {
        let hint = "`harmony incident update ID --templates` lists those for this incident";
        return Err(Failure::not_found(format!("there is no template {name:?} for it"), hint).into());
    };
    if args.public && template["public"] != true {
        let hint = "give --message, or a template that is for the public";
        return Err(Failure::usage(format!("{name} is not written for the public"), hint).into());
    }
    body["message"] = template["message"].clone();
    Ok(())
}
