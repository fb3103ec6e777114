//! Steps with an outward effect: the channel; and the one struct that binds all connector activities.

use std::sync::Arc;

use harmony_blueprints::contracts::{
    self as contracts, Ask, CandidateRef, ChannelDraft, ChannelRef, Effect, Invitation, IssueDraft, Notice,
    Offer, PagingDraft, PagingRef, PagingRemark, PublicDraft, PublicRemark, PublicResolution, PublishDraft,
    Scope, Settle, SeverityOf, StepReply, TopicDraft, capability,
};
use harmony_capabilities::{
    error::{Attempt, CallError},
    slack::{
        self, Message, MessageRef, Slack,
        blocks::{self, Block, Style},
    },
};
use harmony_incidents::{
    Directory, LinkName, OrgId, Role, WorkflowType,
    command::GateView,
    ids::{EffectScope, effect_key},
    kept,
    log::IncidentState,
    visible,
};
use serde_json::json;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use url::Url;
use uuid::Uuid;

use crate::{
    begin::slack_users,
    effects::{Unkeyed, made},
    failure, people, runbook,
    services::Services,
};

/// Slack's own limit for a channel's name.
const NAME_LIMIT: usize = 80;
/// A little less than Slack takes in a section.
const SECTION_LIMIT: usize = blocks::SECTION_CHARS - 100;
/// How many sections what a gate covers may take here. A message has at most 50 blocks.
const COVER_SECTIONS: usize = 10;
/// How many sections of commands a message of a thread has, so that it stays below 13,000 characters.
const THREAD_SECTIONS: usize = 4;
/// How many messages of commands a thread may have: one a second is what Slack takes.
const THREAD_MESSAGES: usize = 8;
/// Of why something is asked; the console shows all of it.
const REASON_CHARS: usize = 1_000;
const NOT_CONFIGURED: &str = "Slack is not configured";
const NO_CHANNEL: &str = "the incident has no channel";

/// Blueprint and step of the message that says an incident is over.
const CLOSE_OUT_MESSAGE: (&str, &str) = ("close-out", "resolution");

/// See the module.
pub struct ConnectorActivities(pub Arc<Services>);

#[activities]
impl ConnectorActivities {
    /// Makes sure that the incident's channel exists.
    #[activity(definition = contracts::ChannelOpen)]
    pub async fn channel_open(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<ChannelDraft>,
    ) -> Result<StepReply, ActivityError> {
        self.0.open_channel(&ctx, &effect.scope, &effect.args).await
    }

    /// Posts a notice.
    #[activity(definition = contracts::ChannelPost)]
    pub async fn channel_post(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<Notice>,
    ) -> Result<StepReply, ActivityError> {
        self.0.post(&ctx, &effect.scope, &effect.args).await
    }

    /// Replaces a notice that asked by what came of it.
    #[activity(definition = contracts::ChannelSettle)]
    pub async fn channel_settle(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<Settle>,
    ) -> Result<StepReply, ActivityError> {
        self.0.settle(&ctx, &effect.scope, &effect.args).await
    }

    /// Archives the channel.
    #[activity(definition = contracts::ChannelArchive)]
    pub async fn channel_archive(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<ChannelRef>,
    ) -> Result<StepReply, ActivityError> {
        self.0.archive(&ctx, &effect.scope, &effect.args).await
    }

    /// Sets the channel's topic.
    #[activity(definition = contracts::ChannelTopic)]
    pub async fn channel_topic(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<TopicDraft>,
    ) -> Result<StepReply, ActivityError> {
        self.0.set_topic(&ctx, &effect.scope, &effect.args).await
    }

    /// Invites people to the channel.
    #[activity(definition = contracts::ChannelInvite)]
    pub async fn channel_invite(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<Invitation>,
    ) -> Result<StepReply, ActivityError> {
        self.0.invite(&ctx, &effect.scope, &effect.args).await
    }

    /// Makes sure that the paging incident exists.
    #[activity(definition = contracts::PagingOpen)]
    pub async fn paging_open(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<PagingDraft>,
    ) -> Result<StepReply, ActivityError> {
        self.0.open_paging(&ctx, &effect.scope, &effect.args).await
    }

    /// Resolves a paging incident.
    #[activity(definition = contracts::PagingResolve)]
    pub async fn paging_resolve(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<PagingRef>,
    ) -> Result<StepReply, ActivityError> {
        self.0.resolve_paging(&ctx, &effect.scope, &effect.args).await
    }

    /// Changes the urgency of a paging incident.
    #[activity(definition = contracts::PagingUrgency)]
    pub async fn paging_urgency(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<SeverityOf>,
    ) -> Result<StepReply, ActivityError> {
        self.0.set_urgency(&ctx, &effect.scope, &effect.args).await
    }

    /// Adds a note to a paging incident.
    #[activity(definition = contracts::PagingNote)]
    pub async fn paging_note(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<PagingRemark>,
    ) -> Result<StepReply, ActivityError> {
        self.0.add_note(&ctx, &effect.scope, &effect.args).await
    }

    /// Pages who is on call about a candidate.
    #[activity(definition = contracts::CandidatePage)]
    pub async fn candidate_page(
        self: Arc<Self>,
        ctx: ActivityContext,
        candidate: CandidateRef,
    ) -> Result<StepReply, ActivityError> {
        self.0.page_candidate(&ctx, candidate).await
    }

    /// Opens the public incident.
    #[activity(definition = contracts::PublicOpen)]
    pub async fn public_open(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<PublicDraft>,
    ) -> Result<StepReply, ActivityError> {
        self.0.open_public(&ctx, &effect.scope, &effect.args).await
    }

    /// Adds an update to the public incident.
    #[activity(definition = contracts::PublicUpdate)]
    pub async fn public_update(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<PublicRemark>,
    ) -> Result<StepReply, ActivityError> {
        self.0.update_public(&ctx, &effect.scope, &effect.args).await
    }

    /// Says how bad the public incident is.
    #[activity(definition = contracts::PublicImpact)]
    pub async fn public_impact(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<SeverityOf>,
    ) -> Result<StepReply, ActivityError> {
        self.0.set_impact(&ctx, &effect.scope, &effect.args).await
    }

    /// Resolves the public incident.
    #[activity(definition = contracts::PublicResolve)]
    pub async fn public_resolve(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<PublicResolution>,
    ) -> Result<StepReply, ActivityError> {
        self.0.resolve_public(&ctx, &effect.scope, &effect.args).await
    }

    /// Makes the issue of a follow-up.
    #[activity(definition = contracts::IssueOpen)]
    pub async fn issue_open(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<IssueDraft>,
    ) -> Result<StepReply, ActivityError> {
        self.0.open_issue(&ctx, &effect.scope, effect.args).await
    }

    /// Publishes the rendered review.
    #[activity(definition = contracts::ReviewPublish)]
    pub async fn review_publish(
        self: Arc<Self>,
        ctx: ActivityContext,
        effect: Effect<PublishDraft>,
    ) -> Result<StepReply, ActivityError> {
        self.0.publish(&ctx, &effect.scope, &effect.args).await
    }
}

/// The key of an effect that may rightly happen again in another step.
pub(crate) fn step_key(scope: &Scope) -> Uuid {
    let step = EffectScope::Step { blueprint: &scope.blueprint, attempt: scope.attempt, step: &scope.step };
    effect_key(&scope.org, &scope.stream, &step)
}

/// The key of an effect that exists once per incident.
pub(crate) fn incident_key(scope: &Scope, resource: &str) -> Uuid {
    effect_key(&scope.org, &scope.stream, &EffectScope::Incident { resource })
}

impl Services {
    async fn open_channel(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        draft: &ChannelDraft,
    ) -> Result<StepReply, ActivityError> {
        let Some(slack) = &self.slack else {
            return self.skipped(scope, capability::SLACK, NOT_CONFIGURED).await;
        };
        let rules = self.rules.current();
        let state = self.state(scope).await?;
        let invited = invited(&rules.directory, scope, &state);
        let topic = topic(scope, &draft.severity, &marked(state.drill, &draft.title));
        // The name of a private channel is seen by nobody else; its words may be.
        let title = if state.private { "" } else { draft.title.as_str() };
        self.perform(ctx, scope, capability::SLACK, incident_key(scope, "channel"), async || {
            let wanted = slack::ChannelDraft {
                name: channel_name(scope, title),
                marker: scope.stream.to_string(),
                private: state.private,
            };
            let channel = slack.ensure_channel(&wanted).await?;
            slack.set_topic(&channel.id, &topic).await?;
            // Not its name: that has words of the title, which nobody could take out of a record again.
            let mut reply = made(&channel.id, &[(LinkName::SlackChannel, &channel.id)], "");
            if !invited.is_empty()
                && let Err(error) = slack.invite(&channel.id, &invited).await
            {
                reply.warnings.push(format!("nobody was invited: {error}"));
            }
            Ok(reply)
        })
        .await
    }

    async fn post(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        notice: &Notice,
    ) -> Result<StepReply, ActivityError> {
        let (Some(slack), Some(channel)) = (&self.slack, &notice.channel) else {
            let reason = if self.slack.is_none() { NOT_CONFIGURED } else { NO_CHANNEL };
            return self.skipped(scope, capability::SLACK, reason).await;
        };
        let rules = self.rules.current();
        let state = self.state(scope).await?;
        let about = match &notice.ask {
            Some(Ask::Decide(_)) => about(scope, &state),
            Some(Ask::Remind(_) | Ask::Call { .. } | Ask::SignOff { .. } | Ask::Duties { .. }) | None => {
                String::new()
            }
        };
        let setting = Setting { directory: &rules.directory, console: self.console.as_ref(), about };
        let mut thread = Vec::new();
        let message = match scope.stream.incident() {
            Some(incident) if is_first(scope) => self
                .first_message(&scope.org, &incident, &state)
                .await
                .map_err(|error| failure::log(&error))?,
            Some(_) | None => {
                let mut lines = notice.lines.clone();
                lines.extend(self.log_line(scope).await?);
                let mut headline = marked(state.drill, &notice.headline);
                if let Some(Ask::Decide(gate)) = &notice.ask {
                    // What is decided on is shown as it is.
                    (lines, thread) = with_commands(lines, self.commands(scope, &state, gate).await);
                } else {
                    let named = |text: &str| people::named(&rules.directory, text);
                    headline = named(&headline);
                    lines = lines.iter().map(|line| named(line)).collect();
                }
                message(scope, &headline, &lines, notice.output.as_deref(), notice.ask.as_ref(), &setting)
            }
        };
        let key = step_key(scope);
        let post = Post { slack, key, channel, message, pin: notice.pin, thread: keyed(&key, thread) };
        self.perform_unkeyed(ctx, scope, capability::SLACK, key, &post).await
    }

    async fn set_topic(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        draft: &TopicDraft,
    ) -> Result<StepReply, ActivityError> {
        let Some(slack) = &self.slack else {
            return self.skipped(scope, capability::SLACK, NOT_CONFIGURED).await;
        };
        let drill = self.state(scope).await?.drill;
        let topic = topic(scope, &draft.severity, &marked(drill, &draft.title));
        // Setting it to the same twice is one effect.
        self.perform(ctx, scope, capability::SLACK, step_key(scope), async || {
            slack.set_topic(&draft.channel, &topic).await?;
            Ok(made(&draft.channel, &[], ""))
        })
        .await
    }

    async fn invite(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        invitation: &Invitation,
    ) -> Result<StepReply, ActivityError> {
        let Some(slack) = &self.slack else {
            return self.skipped(scope, capability::SLACK, NOT_CONFIGURED).await;
        };
        let rules = self.rules.current();
        let wanted = invitation.principals.iter().filter_map(|id| rules.directory.get(id));
        let users = slack_users(wanted);
        if users.is_empty() {
            return self
                .skipped(scope, capability::SLACK, "the directory knows no Slack user of theirs")
                .await;
        }
        // Whoever is there already, stays.
        self.perform(ctx, scope, capability::SLACK, step_key(scope), async || {
            slack.invite(&invitation.channel, &users).await?;
            Ok(made(&invitation.channel, &[], ""))
        })
        .await
    }

    /// What a gate lets run, a line each; nothing where that is no runbook, or cannot be read: whoever is asked is asked
    /// all the same, by the cells' names and the hash.
    async fn commands(&self, scope: &Scope, state: &IncidentState, gate: &GateView) -> Vec<String> {
        let Some(state) = state.gates.iter().find(|one| one.gate_id == gate.gate_id) else {
            return Vec::new();
        };
        let covers = self.covers(scope, state).await.unwrap_or_default();
        runbook::commands(&covers)
    }

    /// What the close-out message says of the log, so that whoever kept the message can hold the log against it.
    async fn log_line(&self, scope: &Scope) -> Result<Option<String>, ActivityError> {
        if (scope.blueprint.as_str(), scope.step.as_str()) != CLOSE_OUT_MESSAGE {
            return Ok(None);
        }
        let head = self.log.chain_head(&scope.org, &scope.stream).await;
        let head = head.map_err(|error| failure::log(&error))?;
        Ok(head.map(|head| format!("Log: {} records, head {}", head.seq, hex::encode(head.hash))))
    }

    async fn settle(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        settle: &Settle,
    ) -> Result<StepReply, ActivityError> {
        let Some(slack) = &self.slack else {
            return self.skipped(scope, capability::SLACK, NOT_CONFIGURED).await;
        };
        let rules = self.rules.current();
        let state = self.state(scope).await?;
        let setting = Setting {
            directory: &rules.directory,
            console: self.console.as_ref(),
            about: about(scope, &state),
        };
        let mut headline = marked(state.drill, &settle.headline);
        if settle.ask.is_none() {
            headline = people::named(&rules.directory, &headline);
        }
        let message = message(scope, &headline, &settle.lines, None, settle.ask.as_ref(), &setting);
        let place = MessageRef { channel: settle.channel.clone(), ts: settle.ts.clone() };
        // Setting a message to the same text twice is one effect.
        self.perform(ctx, scope, capability::SLACK, step_key(scope), async || {
            slack.update_message(&place, &message).await?;
            Ok(made(&place.ts, &[], ""))
        })
        .await
    }

    async fn archive(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        channel: &ChannelRef,
    ) -> Result<StepReply, ActivityError> {
        let Some(slack) = &self.slack else {
            return self.skipped(scope, capability::SLACK, NOT_CONFIGURED).await;
        };
        self.perform(ctx, scope, capability::SLACK, step_key(scope), async || {
            Slack::archive(slack, &channel.channel).await?;
            Ok(made(&channel.channel, &[(LinkName::SlackChannelArchived, "true")], ""))
        })
        .await
    }
}

struct Post<'a> {
    slack: &'a Slack,
    key: Uuid,
    channel: &'a str,
    message: Message,
    pin: bool,
    /// What stands below it.
    thread: Vec<(Uuid, Message)>,
}

impl Post<'_> {
    /// What belongs to a message that is there: it is pinned, and its thread is complete.
    async fn reply(&self, attempt: Attempt, posted: &MessageRef) -> Result<StepReply, CallError> {
        let mut reply = made(&posted.ts, &[(LinkName::SlackMessageTs, &posted.ts)], "");
        if self.pin
            && let Err(error) = self.slack.pin(posted).await
        {
            reply.warnings.push(format!("the first update is not pinned: {error}"));
        }
        self.slack.send_replies(attempt, posted, &self.thread).await?;
        Ok(reply)
    }
}

impl Unkeyed for Post<'_> {
    async fn find(&self) -> Result<Option<StepReply>, CallError> {
        match self.slack.find_message(self.channel, &self.key).await? {
            Some(found) => self.reply(Attempt::Again, &found).await.map(Some),
            None => Ok(None),
        }
    }

    async fn send(&self) -> Result<StepReply, CallError> {
        let posted = self.slack.send_message(Attempt::First, &self.key, self.channel, &self.message).await?;
        self.reply(Attempt::First, &posted).await.map_err(CallError::after_a_part)
    }

    async fn count(&self) -> Result<usize, CallError> {
        self.slack.count_messages(self.channel, &self.key).await
    }
}

/// A key for each message of a thread, derived from that of the message above.
fn keyed(above: &Uuid, thread: Vec<Message>) -> Vec<(Uuid, Message)> {
    let key = |place: usize| Uuid::new_v5(above, format!("thread/{place}").as_bytes());
    thread.into_iter().enumerate().map(|(place, message)| (key(place), message)).collect()
}

/// Whether this posts the first message of the incident's channel, which is made from what is on record.
fn is_first(scope: &Scope) -> bool {
    scope.blueprint == WorkflowType::Initiate.blueprint() && scope.step == kept::FIRST
}

/// Slack's limit for a topic is 250 characters.
fn topic(scope: &Scope, severity: &str, title: &str) -> String {
    slack::escape(&format!("{} {severity} {title}", scope.stream)).chars().take(250).collect()
}

/// What a drill says of itself in every message.
pub(crate) fn marked(drill: bool, text: &str) -> String {
    if drill { format!("DRILL: {text}") } else { text.to_owned() }
}

/// The starter, and those who decide at the first level; of a private incident whom it names.
fn invited(directory: &Directory, scope: &Scope, state: &IncidentState) -> Vec<String> {
    let wanted = directory.principals().iter().filter(|principal| {
        let roles = principal.roles(&scope.org, None);
        let decides = roles.contains(&Role::OnCall) || roles.contains(&Role::Commander);
        if state.private {
            state.private_to.contains(&principal.id)
        } else {
            principal.id == scope.actor || (decides && !state.drill)
        }
    });
    slack_users(wanted)
}

/// `inc-2026-0001-<words of the title>`, in Slack's alphabet.
fn channel_name(scope: &Scope, title: &str) -> String {
    let mut name = scope.stream.as_str().to_ascii_lowercase();
    let words = title
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase);
    for word in words {
        if name.len() + 1 + word.len() > NAME_LIMIT - 4 {
            break;
        }
        name.push('-');
        name.push_str(&word);
    }
    name
}

/// Incident, severity and title, as they are now.
fn about(scope: &Scope, state: &IncidentState) -> String {
    let title = visible::line(state.title.as_ref().map(|title| title.shown()).unwrap_or_default());
    format!("{} ({}): {title}", scope.stream, state.severity().as_str_name())
}

/// What a question says beside itself.
struct Setting<'a> {
    directory: &'a Directory,
    /// Where people reach the console.
    console: Option<&'a Url>,
    /// Incident, severity and title.
    about: String,
}

fn message(
    scope: &Scope,
    headline: &str,
    lines: &[String],
    output: Option<&str>,
    asked: Option<&Ask>,
    setting: &Setting<'_>,
) -> Message {
    let headline = slack::escape(&visible::line(headline));
    let mut blocks = vec![section(&format!("*{headline}*"))];
    let mut whole = fits(&headline);
    if let Some(Ask::Decide(_)) = asked {
        let (sections, complete) = covered(lines);
        blocks.extend(sections);
        whole &= complete;
    } else {
        let lines: Vec<String> = lines
            .iter()
            .filter(|line| !line.is_empty())
            .map(|line| slack::escape(&visible::visible(line)))
            .collect();
        if !lines.is_empty() {
            blocks.push(section(&lines.join("\n")));
        }
    }
    if let Some(output) = output {
        // A fence inside the output would end ours.
        let safe = slack::escape(output).replace("```", "'''");
        blocks.push(section(&format!("```{}```", cut(&safe))));
    }
    blocks.extend(ask(scope, asked, setting, whole));
    Message { text: headline, blocks }
}

/// What a gate covers, a line each, as plain text: nothing in a value is a format, and none of it is cut. Whether all
/// of it is there.
fn covered(lines: &[String]) -> (Vec<Block>, bool) {
    let (sections, complete) = packed(lines, COVER_SECTIONS);
    (plain_sections(&sections), complete)
}

/// Lines in at most so many sections, none of them cut; whether all of them are there.
fn packed(lines: &[String], most: usize) -> (Vec<String>, bool) {
    let mut sections: Vec<String> = Vec::new();
    for line in lines.iter().filter(|line| !line.is_empty()) {
        let line = slack::escape(&visible::line(line));
        if !fits(&line) {
            return (sections, false);
        }
        let joined = sections.last().map(|last| format!("{last}\n{line}")).filter(|joined| fits(joined));
        if let Some(joined) = joined {
            sections.pop();
            sections.push(joined);
        } else if sections.len() == most {
            return (sections, false);
        } else {
            sections.push(line);
        }
    }
    (sections, true)
}

/// What a gate covers with the commands themselves, where all of it can be shown. Where they do not fit they stand below it
/// in a thread, which the message announces; where that would be too long, too, their names and the runbook's hash stand
/// for them.
fn with_commands(lines: Vec<String>, commands: Vec<String>) -> (Vec<String>, Vec<Message>) {
    let all = [lines.clone(), commands.clone()].concat();
    if commands.is_empty() || covered(&all).1 {
        return (all, Vec::new());
    }
    let thread = thread(&commands);
    let announced = match thread.len() {
        0 => return (lines, thread),
        1 => "Commands: all of them in the message below, in the thread".to_owned(),
        several => format!("Commands: all of them in the {several} messages below, in the thread"),
    };
    let announced = [lines.clone(), vec![announced]].concat();
    if covered(&announced).1 { (announced, thread) } else { (lines, Vec::new()) }
}

/// Commands as messages of a thread, in their order; none where they are too long for that.
fn thread(commands: &[String]) -> Vec<Message> {
    let (sections, complete) = packed(commands, THREAD_MESSAGES * THREAD_SECTIONS);
    if !complete {
        return Vec::new();
    }
    let all = sections.len().div_ceil(THREAD_SECTIONS);
    let message = |(place, sections): (usize, &[String])| {
        let text = format!("Commands, {} of {all}", place + 1);
        let mut shown = vec![section(&format!("*{text}*"))];
        shown.extend(plain_sections(sections));
        Message { text, blocks: shown }
    };
    sections.chunks(THREAD_SECTIONS).enumerate().map(message).collect()
}

fn plain_sections(texts: &[String]) -> Vec<Block> {
    texts.iter().map(|text| blocks::plain_section(text)).collect()
}

/// What a message asks, where it asks something.
fn ask(scope: &Scope, ask: Option<&Ask>, setting: &Setting<'_>, whole: bool) -> Vec<Block> {
    match ask {
        None => Vec::new(),
        Some(Ask::Decide(gate)) => ask_blocks(scope, gate, setting, whole).into(),
        Some(Ask::Remind(gate)) => {
            let who = mentions(scope, gate, setting.directory).join(" ");
            let roles = slack::escape(&gate.required_roles.join(" or "));
            vec![section(&format!("Who may decide: {roles} {who}\nUntil {}.", deadline(gate)))]
        }
        Some(Ask::Duties { role, duties }) => {
            vec![checklist(&scope.org, scope.stream.as_str(), role, duties)]
        }
        Some(Ask::Call { principals, roles, offer }) => {
            let who = called(scope, principals, roles, setting.directory);
            let named = (!who.is_empty()).then(|| section(&who.join(" ")));
            named.into_iter().chain(offer.map(|offer| offered(scope, offer))).collect()
        }
        Some(Ask::SignOff { digest }) => {
            let value = json!({ "org": scope.org, "incidentId": scope.stream, "digest": digest });
            let button = blocks::button("sign-off", "Sign off", Some(Style::Primary), &value);
            vec![blocks::actions("sign-off", vec![button])]
        }
    }
}

/// A button for what is reminded of.
fn offered(scope: &Scope, offer: Offer) -> Block {
    let value = json!({ "org": scope.org, "incidentId": scope.stream });
    let (action, label) = match offer {
        Offer::Update => ("lead-update", "Post update"),
        Offer::Command => ("lead-command", "Take command"),
    };
    blocks::actions("offer", vec![blocks::button(action, label, Some(Style::Primary), &value)])
}

/// A button for each duty: whoever clicks says that it is done.
pub(crate) fn checklist<'a>(
    org: &OrgId,
    incident: &str,
    role: &str,
    duties: impl IntoIterator<Item = &'a String>,
) -> Block {
    let done = |(place, duty): (usize, &String)| {
        let value = json!({ "org": org, "incidentId": incident, "role": role, "duty": duty });
        // Several buttons of a message need names of their own.
        blocks::button(&format!("duty-{place}"), &format!("Done: {duty}"), None, &value)
    };
    // Slack takes 25 buttons a block.
    blocks::actions("duties", duties.into_iter().enumerate().take(25).map(done).collect())
}

/// The Slack users who may decide at this level.
fn mentions(scope: &Scope, gate: &GateView, directory: &Directory) -> Vec<String> {
    directory
        .principals()
        .iter()
        .filter(|principal| principal.id != gate.requester)
        .filter(|principal| {
            let roles = principal.roles(&scope.org, None);
            roles.iter().any(|role| gate.required_roles.iter().any(|name| name == role.name()))
        })
        .filter_map(|principal| principal.slack_user_id.as_ref())
        .map(|user| format!("<@{user}>"))
        .collect()
}

/// The Slack users of these people, and of whoever has one of these roles.
fn called(scope: &Scope, principals: &[String], roles: &[String], directory: &Directory) -> Vec<String> {
    let wanted = directory.principals().iter().filter(|principal| {
        principals.contains(&principal.id)
            || principal
                .roles(&scope.org, None)
                .iter()
                .any(|role| roles.iter().any(|name| name == role.name()))
    });
    slack_users(wanted).into_iter().map(|user| format!("<@{user}>")).collect()
}

fn deadline(gate: &GateView) -> String {
    format!("<!date^{}^{{date_short_pretty}} {{time}}|{}>", gate.deadline.as_second(), gate.deadline)
}

/// Why it is asked, with the name of whoever asked.
fn because(gate: &GateView, directory: &Directory) -> String {
    let name = visible::line(&people::name(directory, &gate.requester));
    let mut reason = visible::line(&gate.request_reason);
    if let Some((end, _)) = reason.char_indices().nth(REASON_CHARS) {
        reason.truncate(end);
        reason.push('…');
    }
    // The words of a proposal that came without a reason.
    match reason.strip_prefix(&gate.requester).filter(|rest| rest.starts_with(" asked ")) {
        Some(rest) => format!("{name}{rest}"),
        None => format!("{reason} (asked by {name})"),
    }
}

/// What a decider needs to know, and the buttons that carry the gate and its digest. What is not shown whole cannot be
/// approved here.
fn ask_blocks(scope: &Scope, gate: &GateView, setting: &Setting<'_>, whole: bool) -> [Block; 3] {
    let mentioned =
        if gate.page { mentions(scope, gate, setting.directory).join(" ") } else { String::new() };
    let mut asked = format!(
        "Why: {}\n{}\nWho may decide: {} {mentioned}\nUntil {}; nothing is done if nobody decides.",
        slack::escape(&because(gate, setting.directory)),
        slack::escape(&setting.about),
        slack::escape(&gate.required_roles.join(" or ")),
        deadline(gate),
    );
    if gate.quorum > 1 {
        let by: Vec<String> = gate.approvals.iter().map(|id| people::name(setting.directory, id)).collect();
        let by = slack::escape(&visible::line(&by.join(", ")));
        asked.push_str(&format!("\nApproved: {} of {} {by}", gate.approvals.len(), gate.quorum));
    }
    let mut bound = format!("Digest `{}`", gate.digest);
    match setting.console {
        Some(console) => {
            let page = page(console, scope, &gate.gate_id);
            bound.push_str(&format!("\n<{page}|Exactly what it covers>"));
            if !whole {
                bound.push_str(&format!("\nThis is too long for Slack: <{page}|approve it in the console>."));
            }
        }
        None => {
            bound.push_str(&format!("\nExactly what it covers: `harmony approval show {}`", gate.gate_id));
            if !whole {
                bound.push_str("\nThis is too long for Slack: approve it in the console.");
            }
        }
    }
    if gate.needs_note {
        bound.push_str("\nPress Done once it is done; a form asks what was done.");
    }
    let value = json!({
        "org": scope.org,
        "workflowId": scope.workflow_id,
        "gateId": gate.gate_id,
        "digest": gate.digest,
    });
    let (approve, reject) = match (gate.skippable, gate.needs_note) {
        (true, _) => ("Run it again", "Abort the remediation"),
        (false, true) => ("Done", "It cannot be done"),
        (false, false) => ("Approve", "Reject"),
    };
    let mut buttons = vec![blocks::button("reject", reject, Some(Style::Danger), &value)];
    if whole && gate.skippable {
        buttons.insert(0, blocks::button("skip", "Skip it", None, &value));
    }
    if whole {
        buttons.insert(0, blocks::button("approve", approve, Some(Style::Primary), &value));
    }
    [section(&asked), section(&bound), blocks::actions("decide", buttons)]
}

/// The console's page of a gate, which shows everything that the digest covers.
fn page(console: &Url, scope: &Scope, gate_id: &str) -> Url {
    below(console, &["orgs", scope.org.as_str(), "approvals", gate_id])
}

/// A page of the console. An address is one of `http` or `https`, which has a path.
pub(crate) fn below(console: &Url, segments: &[&str]) -> Url {
    let mut url = console.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// The console's page of an incident's review; without a console's address, the path below it.
pub(crate) fn review_page(console: Option<&Url>, scope: &Scope) -> String {
    let path = ["orgs", scope.org.as_str(), "incidents", scope.stream.as_str(), "review"];
    console.map_or_else(|| format!("/{}", path.join("/")), |console| below(console, &path).into())
}

pub(crate) fn section(text: &str) -> Block {
    blocks::section(&cut(text))
}

fn fits(text: &str) -> bool {
    text.chars().count() <= SECTION_LIMIT
}

fn cut(text: &str) -> String {
    if fits(text) {
        return text.to_owned();
    }
    let kept: String = text.chars().take(SECTION_LIMIT).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// As Slack is sent them.
    fn sent(blocks: &[Block]) -> Vec<Value> {
        blocks.iter().map(|block| json!(block)).collect()
    }

    fn scope(org: &str) -> Scope {
        Scope {
            org: org.parse().unwrap(),
            stream: "INC-2026-0001".parse().unwrap(),
            workflow_id: "incident.remediate-INC-2026-0001".parse().unwrap(),
            run_id: String::new(),
            blueprint: "remediate".to_owned(),
            attempt: 1,
            step: "approve/ask".to_owned(),
            actor: "operator".to_owned(),
            authority: harmony_incidents::log::Authority::OnCallSre,
            occurred_at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn reviews_page_is_below_the_consoles_address_or_a_path() {
        let console = "http://127.0.0.1:8088/below/".parse().unwrap();
        let path = "/orgs/acme/incidents/INC-2026-0001/review";
        assert_eq!(review_page(Some(&console), &scope("acme")), format!("http://127.0.0.1:8088/below{path}"));
        assert_eq!(review_page(None, &scope("acme")), path);
    }

    fn asked(headline: &str, lines: &[&str]) -> (Vec<Value>, Vec<String>) {
        let gate = GateView { action: headline.to_owned(), ..gate() };
        let console = "https://harmony.example.com".parse().unwrap();
        let setting = Setting {
            directory: &Directory::default(),
            console: Some(&console),
            about: "INC-2026-0001 (P1): Checkout is down".to_owned(),
        };
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let ask = Ask::Decide(Box::new(gate));
        let blocks = sent(&message(&scope("default"), headline, &lines, None, Some(&ask), &setting).blocks);
        let elements = blocks.last().unwrap()["elements"].as_array().unwrap();
        let buttons = elements.iter().map(|one| one["action_id"].as_str().unwrap().to_owned()).collect();
        (blocks, buttons)
    }

    fn gate() -> GateView {
        GateView {
            gate_id: "incident.remediate-INC-2026-0001#1/approve".to_owned(),
            digest: "00".repeat(32),
            action: String::new(),
            request_reason: "operator asked\n*Approved by admin*".to_owned(),
            required_roles: vec!["incident-commander".to_owned()],
            level: 1,
            page: false,
            requested_at: jiff::Timestamp::UNIX_EPOCH,
            deadline: jiff::Timestamp::UNIX_EPOCH,
            timeout_ms: 300_000,
            requester: "operator".to_owned(),
            escalates: true,
            next_roles: Vec::new(),
            plan: 0,
            severity: harmony_incidents::log::Severity::P1,
            escalated_by: String::new(),
            quorum: 1,
            approvals: Vec::new(),
            remind: false,
            skippable: false,
            needs_note: false,
        }
    }

    #[test]
    fn everything_that_is_covered_is_shown_or_it_cannot_be_approved_here() {
        let line = "Environment: NAME=\"*value*\"";
        for (lines, approved_here) in [(1, true), (100, true), (500, true), (5_000, false)] {
            let (blocks, buttons) = asked("Run a.md", &vec![line; lines]);
            let text = json!(blocks).to_string();
            let shown = text.matches("NAME=").count();
            assert_eq!(shown == lines, approved_here, "{lines} lines, {shown} shown");
            assert_eq!(buttons.contains(&"approve".to_owned()), approved_here, "{lines} lines");
            assert!(buttons.contains(&"reject".to_owned()));
            assert_eq!(text.contains("|approve it in the console>"), !approved_here);
            for block in &blocks {
                let text = block["text"]["text"].as_str().unwrap_or_default();
                assert!(text.chars().count() <= 3_000, "Slack would refuse it");
                assert!(!text.contains("NAME=") || block["text"]["type"] == "plain_text", "{block}");
            }
        }
        let (_, buttons) = asked("Run a.md", &[&"x".repeat(3_000)]);
        assert_eq!(buttons, ["reject"]);
    }

    #[test]
    fn commands_are_shown_whole_or_not_at_all() {
        let lines = vec!["Cells: rollback".to_owned()];
        let few = vec!["— rollback —".to_owned(), "kubectl rollout undo".to_owned()];
        assert_eq!(with_commands(lines.clone(), few.clone()), ([lines.clone(), few].concat(), vec![]));
        assert_eq!(with_commands(lines.clone(), vec![]), (lines.clone(), vec![]));
        let cut = vec!["x".repeat(2_901)];
        assert_eq!(with_commands(lines.clone(), cut), (lines.clone(), vec![]), "a line that Slack would cut");
        let endless = vec!["x".repeat(2_000); 40];
        assert_eq!(with_commands(lines.clone(), endless), (lines, vec![]), "more than a thread takes");
    }

    #[test]
    fn commands_that_do_not_fit_stand_in_a_thread_all_of_them_in_order() {
        let lines = vec!["Cells: rollback".to_owned()];
        let commands: Vec<String> = (0..20).map(|number| format!("{number} {}", "x".repeat(2_000))).collect();
        let (shown, thread) = with_commands(lines, commands.clone());
        assert_eq!(
            shown,
            ["Cells: rollback", "Commands: all of them in the 5 messages below, in the thread"]
        );
        let mut read = Vec::new();
        for (place, message) in thread.iter().enumerate() {
            assert_eq!(message.text, format!("Commands, {} of 5", place + 1));
            let blocks = sent(&message.blocks);
            let texts = blocks[1..].iter().map(|block| block["text"]["text"].as_str().unwrap().to_owned());
            read.extend(texts);
            assert!(blocks[1..].iter().all(|block| block["text"]["type"] == "plain_text"));
        }
        assert_eq!(read, commands, "a line a section, none missing");
        let key = Uuid::nil();
        let keys: Vec<Uuid> = keyed(&key, thread.clone()).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, keyed(&key, thread).into_iter().map(|(key, _)| key).collect::<Vec<_>>());
        assert_ne!(keys[0], keys[1]);
    }

    #[test]
    fn three_answers_are_offered_where_three_are_taken() {
        let setting = Setting { directory: &Directory::default(), console: None, about: String::new() };
        let offered = |skippable: bool, whole: bool| -> Vec<(String, String)> {
            let gate = GateView { skippable, ..gate() };
            let [_, _, actions] = ask_blocks(&scope("default"), &gate, &setting, whole).map(|one| json!(one));
            let elements = actions["elements"].as_array().unwrap();
            assert!(elements.iter().all(|one| one.get("style").is_none_or(Value::is_string)), "{elements:?}");
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            elements.iter().map(|one| (text(&one["action_id"]), text(&one["text"]["text"]))).collect()
        };
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(id, label)| ((*id).to_owned(), (*label).to_owned())).collect()
        };
        assert_eq!(offered(false, true), own(&[("approve", "Approve"), ("reject", "Reject")]));
        let abort = ("reject", "Abort the remediation");
        assert_eq!(offered(true, true), own(&[("approve", "Run it again"), ("skip", "Skip it"), abort]));
        assert_eq!(offered(true, false), own(&[abort]));
        let gate = GateView { needs_note: true, ..gate() };
        let [_, bound, actions] = ask_blocks(&scope("default"), &gate, &setting, true).map(|one| json!(one));
        let labels: Vec<&Value> =
            actions["elements"].as_array().unwrap().iter().map(|one| &one["text"]["text"]).collect();
        assert_eq!(labels, ["Done", "It cannot be done"], "{actions}");
        assert!(bound.to_string().contains("a form asks what was done"), "{bound}");
    }

    #[test]
    fn no_text_of_others_makes_a_line_or_hides_one() {
        let (blocks, _) = asked("Run a\u{202e}dm.b\nApproved", &["Environment: A=\"b\u{200b}\"\nDigest: 0"]);
        let text = |block: usize| blocks[block]["text"]["text"].as_str().unwrap();
        assert_eq!(text(0), "*Run a&lt;U+202E&gt;dm.b&lt;U+000A&gt;Approved*");
        assert_eq!(text(1), "Environment: A=\"b&lt;U+200B&gt;\"&lt;U+000A&gt;Digest: 0");
        assert!(
            text(2).starts_with("Why: operator asked&lt;U+000A&gt;*Approved by admin* (asked by operator)\n"),
            "{}",
            text(2)
        );
    }

    #[test]
    fn gates_page_is_one_address_whatever_the_gate_is_called() {
        let gate = "incident.remediate-INC-2026-0001#1/approve";
        for (console, org, expected) in [
            (
                "https://harmony.example.com",
                "default",
                "https://harmony.example.com/orgs/default/approvals/incident.remediate-INC-2026-0001%231%2Fapprove",
            ),
            (
                "http://127.0.0.1:8088/below/",
                "acme",
                "http://127.0.0.1:8088/below/orgs/acme/approvals/incident.remediate-INC-2026-0001%231%2Fapprove",
            ),
        ] {
            assert_eq!(page(&console.parse().unwrap(), &scope(org), gate).as_str(), expected);
        }
    }
}
