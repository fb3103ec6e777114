//! Block Kit, as far as Harmony uses it, made of slack-morphism's models: what is made here Slack takes.
//!
//! What a button carries is its caller's own: JSON that comes back with the click.

use serde_json::Value;
pub use slack_morphism::prelude::{
    SlackActionBlockElement as Button, SlackBlock as Block, SlackBlockButtonStyle as Style, SlackView as View,
};
use slack_morphism::prelude::{
    SlackActionsBlock, SlackBlockButtonElement, SlackBlockChoiceItem, SlackBlockMarkDownText,
    SlackBlockPlainText, SlackBlockPlainTextInputElement, SlackBlockPlainTextOnly,
    SlackBlockStaticSelectElement, SlackBlockText, SlackHeaderBlock, SlackHomeView, SlackInputBlock,
    SlackInputBlockElement, SlackModalView, SlackSectionBlock,
};
use url::Url;

/// Slack's limit for the text of a section, in characters.
pub const SECTION_CHARS: usize = 3_000;
/// Slack's limit for the text of a button, in characters.
pub const BUTTON_CHARS: usize = 75;
/// Slack's limit for the text of a header, in characters.
const HEADER_CHARS: usize = 150;
/// Slack's limit for the text of something to choose, in characters.
pub const OPTION_CHARS: usize = 75;

/// A text in Slack's mark-up: what comes from people goes through [`escape`](super::escape) first.
#[must_use]
pub fn section(mark_up: &str) -> Block {
    section_of(SlackBlockText::MarkDown(SlackBlockMarkDownText::new(mark_up.to_owned())))
}

/// A text in which nothing is mark-up, and `:name:` no picture.
#[must_use]
pub fn plain_section(text: &str) -> Block {
    section_of(SlackBlockText::Plain(SlackBlockPlainText::new(text.to_owned()).with_emoji(false)))
}

fn section_of(text: SlackBlockText) -> Block {
    SlackSectionBlock::new().with_text(text).into()
}

/// A text in Slack's mark-up with a button that opens a page beside it.
#[must_use]
pub fn section_with_link(mark_up: &str, action: &str, label: &str, address: Url) -> Block {
    let text = SlackBlockText::MarkDown(SlackBlockMarkDownText::new(mark_up.to_owned()));
    let button =
        SlackBlockButtonElement::new(plain(label)).with_action_id(action.to_owned().into()).with_url(address);
    SlackSectionBlock::new().with_text(text).with_accessory(button.into()).into()
}

/// A heading; one that is too long for Slack is cut.
#[must_use]
pub fn header(text: &str) -> Block {
    let text: String = text.chars().take(HEADER_CHARS).collect();
    SlackHeaderBlock::new(plain(&text)).into()
}

/// A row of at most 25 buttons.
#[must_use]
pub fn actions(id: &str, buttons: Vec<Button>) -> Block {
    SlackActionsBlock::new(buttons).with_block_id(id.to_owned().into()).into()
}

/// A button; a label that is too long for Slack is cut.
#[must_use]
pub fn button(action: &str, label: &str, style: Option<Style>, value: &Value) -> Button {
    let label: String = label.chars().take(BUTTON_CHARS).collect();
    let mut button = SlackBlockButtonElement::new(plain(&label))
        .with_action_id(action.to_owned().into())
        .with_value(value.to_string());
    button.style = style;
    button.into()
}

/// A button that opens a page, and tells the app of it.
#[must_use]
pub fn link_button(action: &str, label: &str, address: Url) -> Button {
    SlackBlockButtonElement::new(plain(label))
        .with_action_id(action.to_owned().into())
        .with_url(address)
        .into()
}

/// What somebody fills in.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Free text.
    Text {
        /// Whether it takes several lines.
        multiline: bool,
        /// In characters; at least one where the field is not optional.
        limit: usize,
    },
    /// One of these, each with what it is shown as; a text that is too long for Slack is cut.
    Choice(&'a [(&'a str, &'a str)]),
}

/// A field of a form. Its block and its action have one name.
#[must_use]
pub fn input(name: &str, label: &str, input: Input<'_>, optional: bool) -> SlackInputBlock {
    let action = name.to_owned().into();
    let element: SlackInputBlockElement = match input {
        Input::Text { multiline, limit } => {
            let mut text = SlackBlockPlainTextInputElement::new()
                .with_action_id(action)
                .with_multiline(multiline)
                .with_max_length(u64::try_from(limit).unwrap_or(u64::MAX));
            text.min_length = (!optional).then_some(1);
            text.into()
        }
        Input::Choice(choices) => {
            let item = |(value, label): &(&str, &str)| {
                let label: String = label.chars().take(OPTION_CHARS).collect();
                SlackBlockChoiceItem::new(plain(&label), (*value).to_owned())
            };
            SlackBlockStaticSelectElement::new()
                .with_action_id(action)
                .with_options(choices.iter().map(item).collect())
                .into()
        }
    };
    SlackInputBlock::new(plain(label), element).with_block_id(name.to_owned().into()).with_optional(optional)
}

/// The same with a hint below it.
#[must_use]
pub fn hinted(input: SlackInputBlock, hint: &str) -> Block {
    input.with_hint(plain(hint)).into()
}

/// A form that is sent, and comes back under this name with what it was given to carry.
#[must_use]
pub fn form(name: &str, title: &str, submit: &str, carries: Option<&Value>, blocks: Vec<Block>) -> View {
    let mut modal = SlackModalView::new(plain(title), blocks)
        .with_callback_id(name.to_owned().into())
        .with_submit(plain(submit))
        .with_close(plain("Back"));
    modal.private_metadata = carries.map(Value::to_string);
    View::Modal(modal)
}

/// What a form turns into: words, and a way to close them.
#[must_use]
pub fn notice(title: &str, text: &str) -> View {
    View::Modal(SlackModalView::new(plain(title), vec![plain_section(text)]).with_close(plain("Close")))
}

/// A person's Home tab, of at most 100 blocks.
#[must_use]
pub fn home(blocks: Vec<Block>) -> View {
    View::Home(SlackHomeView::new(blocks))
}

fn plain(text: &str) -> SlackBlockPlainTextOnly {
    SlackBlockPlainText::new(text.to_owned()).into()
}
