//! Slack as a person sees it: channels with their messages, and buttons that work.
//!
//! Who looks is chosen at the top, and whether at the channels or at the app's Home tab. Buttons, the command and forms are that person's, by way of the same requests that
//! tests send (`hands.rs`).

use std::fmt::Write;

use axum::response::Response;
use serde_json::Value;

use crate::call::Call;
use crate::overview::{self, escaped};

use super::html_field;
use super::memory::{Channel, Message, SlackMemory, View};
use super::people;

/// Who looks where nobody was chosen.
const COMMANDER: &str = "U0COMMANDER";

/// The page at `/`.
pub(super) fn page(memory: &SlackMemory, call: &Call) -> Response {
    let who =
        call.query_value("as").and_then(people::find).map_or_else(|| COMMANDER.to_owned(), |one| one.id);
    let mut html = String::from("<nav><span class=\"muted\">You are</span>");
    for person in people::everybody() {
        let here = if person.id == who { " aria-current=\"true\"" } else { "" };
        let _ = write!(html, "<a href=\"/?as={}\"{here}>{}</a>", person.id, escaped(&person.name));
    }
    html.push_str("</nav>");
    let at_home = call.query_value("tab") == Some("home");
    show_tabs(&mut html, &who, at_home);
    if let Some(said) = call.query_value("said") {
        let said = if said == "taken" {
            "Harmony took your click."
        } else {
            "Harmony refused your click; its log says why."
        };
        let _ = write!(html, "<p class=\"said\">{said}</p>");
    }
    if let Some(told) = call.query_value("told").filter(|told| !told.is_empty()) {
        let _ = write!(html, "<p class=\"said\">{}</p>", escaped(told));
    }
    let open = memory.views.iter().rev().find(|view| view.is_open && view.user == who);
    if let Some(view) = open {
        show_form(&mut html, view, &who);
    }
    if at_home {
        show_home(&mut html, memory, &who);
        return overview::document_with_forms("Slack (sandbox)", &html);
    }
    show_prompt(&mut html, memory, &who);
    let mut told = memory
        .messages
        .iter()
        .filter(|one| one.channel.is_empty() && one.ephemeral_for.as_ref() == Some(&who));
    if let Some(last) = told.next_back() {
        html.push_str("<section><h2>Outside of any channel</h2>");
        show_message(&mut html, last, &who);
        html.push_str("</section>");
    }
    if memory.channels.is_empty() {
        html.push_str("<p class=\"muted\">No channels yet.</p>");
    }
    for channel in memory.channels.iter().rev() {
        show(&mut html, memory, channel, &who);
    }
    overview::document_with_forms("Slack (sandbox)", &html)
}

/// The way to the app's Home tab, and back.
fn show_tabs(html: &mut String, who: &str, at_home: bool) {
    let who = escaped(who);
    let label = if at_home { "Look again" } else { "Home" };
    let _ = write!(
        html,
        "<form class=\"look\" method=\"post\" action=\"/_sandbox/slack/look\"><input type=\"hidden\" name=\"userId\" \
         value=\"{who}\"><input type=\"hidden\" name=\"tab\" value=\"home\"><button>{label}</button>"
    );
    if at_home {
        let _ = write!(html, " <a href=\"/?as={who}\">Channels</a>");
    }
    html.push_str("</form>");
}

/// What the app shows this person.
fn show_home(html: &mut String, memory: &SlackMemory, who: &str) {
    html.push_str("<section><h2>Home</h2><article>");
    let blocks = memory.homes.get(who).and_then(|home| home["blocks"].as_array());
    match blocks {
        Some(blocks) => blocks.iter().for_each(|block| show_block(html, block, "", who)),
        None => html.push_str("<p class=\"muted\">The app has published nothing.</p>"),
    }
    html.push_str("</article></section>");
}

/// Where a command is typed, and in which channel.
fn show_prompt(html: &mut String, memory: &SlackMemory, who: &str) {
    let _ = write!(
        html,
        "<form class=\"prompt\" method=\"post\" action=\"/_sandbox/slack/type\"><input type=\"hidden\" name=\"userId\" \
         value=\"{}\"><label>Command <input name=\"text\" placeholder=\"/incident help\" maxlength=\"3000\"></label> \
         <label>in <select name=\"channelId\"><option value=\"\">no channel</option>",
        escaped(who)
    );
    for (place, channel) in
        memory.channels.iter().filter(|channel| !channel.is_archived && !channel.is_im).rev().enumerate()
    {
        let newest = if place == 0 { " selected" } else { "" };
        let _ = write!(
            html,
            "<option value=\"{}\"{newest}>#{}</option>",
            escaped(&channel.id),
            escaped(&channel.name)
        );
    }
    html.push_str("</select></label> <button>Send</button></form>");
}

/// A form that the app opened.
fn show_form(html: &mut String, view: &View, who: &str) {
    let text = |value: &Value| escaped(value["text"].as_str().unwrap_or_default());
    let view_id = escaped(view.view["id"].as_str().unwrap_or_default());
    let _ = write!(
        html,
        "<form class=\"modal\" method=\"post\" action=\"/_sandbox/slack/fill\"><h2>{}</h2><input type=\"hidden\" \
         name=\"userId\" value=\"{}\"><input type=\"hidden\" name=\"viewId\" value=\"{view_id}\">",
        text(&view.view["title"]),
        escaped(who)
    );
    for block in view.view["blocks"].as_array().into_iter().flatten() {
        let (element, name) = (&block["element"], block["block_id"].as_str().unwrap_or_default());
        if block["type"] != "input" {
            let _ = write!(html, "<p>{}</p>", formatted(block["text"]["text"].as_str().unwrap_or_default()));
            continue;
        }
        let required = if block["optional"] == true { "" } else { " required" };
        let _ = write!(html, "<label>{}", text(&block["label"]));
        let name = escaped(name);
        if element["type"] == "static_select" {
            let _ = write!(html, "<select name=\"{name}\"{required}><option value=\"\"></option>");
            for option in element["options"].as_array().into_iter().flatten() {
                let value = escaped(option["value"].as_str().unwrap_or_default());
                let _ = write!(html, "<option value=\"{value}\">{}</option>", text(&option["text"]));
            }
            html.push_str("</select>");
        } else {
            let longest = element["max_length"].as_u64().unwrap_or(3_000);
            let _ = if element["multiline"] == true {
                write!(
                    html,
                    "<textarea name=\"{name}\" rows=\"3\" maxlength=\"{longest}\"{required}></textarea>"
                )
            } else {
                write!(html, "<input name=\"{name}\" maxlength=\"{longest}\"{required}>")
            };
        }
        if let Some(problem) = view.errors[block["block_id"].as_str().unwrap_or_default()].as_str() {
            let _ = write!(html, "<strong>{}</strong>", escaped(problem));
        }
        html.push_str("</label>");
    }
    let _ = write!(
        html,
        "<div class=\"buttons\"><button class=\"primary\">{}</button>\
         <button name=\"close\" value=\"1\" formnovalidate>{}</button></div></form>",
        text(&view.view["submit"]),
        text(&view.view["close"])
    );
}

fn show(html: &mut String, memory: &SlackMemory, channel: &Channel, who: &str) {
    let archived = if channel.is_archived { " <span class=\"tag\">archived</span>" } else { "" };
    let _ = write!(html, "<section><h2>#{}{archived}</h2>", escaped(&channel.name));
    html.push_str(&html_field("Topic", &channel.topic.value));
    let members: Vec<String> = channel.members.iter().map(|id| people::display_name(id)).collect();
    html.push_str(&html_field("Members", &members.join(", ")));
    let seen = |message: &&Message| {
        message.channel == channel.id && message.ephemeral_for.as_ref().is_none_or(|only| only == who)
    };
    for message in memory.messages.iter().filter(seen) {
        show_message(html, message, who);
    }
    html.push_str("</section>");
}

fn show_message(html: &mut String, message: &Message, who: &str) {
    let _ = write!(html, "<article id=\"m{}\"><b>harmony</b> <small>app</small>", escaped(&message.ts));
    for (is, tag) in [
        (message.pinned, "pinned"),
        (message.ephemeral_for.is_some(), "only you can see this"),
        (message.edited.is_some(), "edited"),
        (message.thread_ts.is_some(), "in a thread"),
    ] {
        if is {
            let _ = write!(html, "<span class=\"tag\">{tag}</span>");
        }
    }
    if message.blocks.is_empty() {
        let _ = write!(html, "<p>{}</p>", formatted(&message.text));
    }
    for block in &message.blocks {
        show_block(html, block, &message.ts, who);
    }
    html.push_str("</article>");
}

/// A block of a message, or of the Home tab, which has no timestamp.
fn show_block(html: &mut String, block: &Value, ts: &str, who: &str) {
    let text = |value: &Value| formatted(value["text"].as_str().unwrap_or_default());
    match block["type"].as_str().unwrap_or_default() {
        "header" => {
            let _ = write!(html, "<h3>{}</h3>", text(&block["text"]));
        }
        "divider" => html.push_str("<hr>"),
        "context" => {
            for element in block["elements"].as_array().into_iter().flatten() {
                let _ = write!(html, "<p><small>{}</small></p>", text(element));
            }
        }
        "actions" => {
            html.push_str("<div class=\"buttons\">");
            for element in block["elements"].as_array().into_iter().flatten() {
                show_button(html, element, ts, who);
            }
            html.push_str("</div>");
        }
        _ => {
            if block["text"].is_object() {
                let _ = write!(html, "<p>{}</p>", text(&block["text"]));
            }
            for field in block["fields"].as_array().into_iter().flatten() {
                let _ = write!(html, "<p>{}</p>", text(field));
            }
            show_button(html, &block["accessory"], ts, who);
        }
    }
}

fn show_button(html: &mut String, button: &Value, ts: &str, who: &str) {
    if button["type"] != "button" {
        return;
    }
    let label = button["text"]["text"].as_str().unwrap_or_default();
    if let Some(address) = button["url"].as_str().filter(|address| address.starts_with("http")) {
        let _ = write!(html, "<a class=\"button\" href=\"{}\">{}</a>", escaped(address), escaped(label));
        return;
    }
    let style = match button["style"].as_str() {
        Some("primary") => "primary",
        Some("danger") => "danger",
        _ => "",
    };
    let _ = write!(
        html,
        "<form method=\"post\" action=\"/_sandbox/slack/press\"><input type=\"hidden\" name=\"messageTs\" value=\"{}\">\
         <input type=\"hidden\" name=\"userId\" value=\"{}\"><input type=\"hidden\" name=\"tab\" value=\"{}\"><button class=\"{style}\" name=\"actionId\" value=\"{}\">{}</button></form>",
        escaped(ts),
        escaped(who),
        if ts.is_empty() { "home" } else { "" },
        escaped(button["action_id"].as_str().unwrap_or_default()),
        escaped(label)
    );
}

/// Slack's own marks as HTML: code, bold, links. Everything else is text.
fn formatted(text: &str) -> String {
    let mut html = String::new();
    for (place, part) in text.split("```").enumerate() {
        if place % 2 == 1 {
            let _ = write!(html, "<pre>{}</pre>", escaped(&plain(part.trim_matches('\n'))));
        } else {
            html.push_str(&linked(part));
        }
    }
    html
}

fn linked(text: &str) -> String {
    let mut html = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        html.push_str(&bold(before));
        let Some((inside, end)) = after.split_once('>') else {
            rest = after;
            continue;
        };
        let (address, label) = inside.split_once('|').unwrap_or((inside, inside));
        if address.starts_with("http") {
            let _ = write!(html, "<a href=\"{}\">{}</a>", escaped(&plain(address)), escaped(&plain(label)));
        } else {
            html.push_str(&escaped(&plain(label)));
        }
        rest = end;
    }
    html.push_str(&bold(rest));
    html
}

/// `*bold*` and `` `code` ``.
fn bold(text: &str) -> String {
    let mut html = String::new();
    for (place, part) in text.split('`').enumerate() {
        let part = escaped(&plain(part));
        if place % 2 == 1 {
            let _ = write!(html, "<code>{part}</code>");
            continue;
        }
        let pieces: Vec<&str> = part.split('*').collect();
        if pieces.len().is_multiple_of(2) {
            html.push_str(&part);
            continue;
        }
        for (place, piece) in pieces.iter().enumerate() {
            if place % 2 == 1 {
                let _ = write!(html, "<b>{piece}</b>");
            } else {
                html.push_str(piece);
            }
        }
    }
    html.replace('\n', "<br>")
}

/// Slack's three escapes undone.
fn plain(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slacks_marks_are_shown_and_nothing_becomes_markup() {
        for (text, expected) in [
            ("*Approve* `x`?", "<b>Approve</b> <code>x</code>?"),
            ("a * b", "a * b"),
            ("<https://a.example|here> &lt;b&gt;", "<a href=\"https://a.example\">here</a> &lt;b&gt;"),
            ("<javascript:alert(1)|x>", "x"),
            ("```\na<b\n```", "<pre>a&lt;b</pre>"),
            ("1 < 2 <script>", "1  2 &lt;script"),
        ] {
            assert_eq!(formatted(text), expected);
        }
    }
}
