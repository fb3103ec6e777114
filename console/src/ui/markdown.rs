//! Markdown as HTML that can do nothing: raw HTML is shown as text, and links lead to the web alone.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, html};

/// Renders Markdown that anybody may have written.
pub(crate) fn rendered(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(markdown, options).map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            Event::Start(Tag::Link { link_type, dest_url: safe(dest_url), title, id })
        }
        // The policy loads no foreign picture; its words are shown instead.
        Event::Start(Tag::Image { .. }) => Event::Start(Tag::Emphasis),
        Event::End(pulldown_cmark::TagEnd::Image) => Event::End(pulldown_cmark::TagEnd::Emphasis),
        other => other,
    });
    let mut out = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut out, events);
    out
}

fn safe(address: CowStr<'_>) -> CowStr<'_> {
    if is_web(&address) { address } else { CowStr::Borrowed("#") }
}

/// Whether an address may be shown as a link.
pub(crate) fn is_web(address: &str) -> bool {
    url::Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_becomes_a_script() {
        for hostile in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "[x](javascript:alert(1))",
            "[x](data:text/html,<script>alert(1)</script>)",
            "![x](https://evil.example/a.png)",
            "<a href=\"javascript:alert(1)\">x</a>",
        ] {
            let html = rendered(hostile);
            assert!(!html.contains("<script") && !html.contains("<img"), "{hostile}: {html}");
            assert!(
                !html.contains("<a href=\"javascript") && !html.contains("<a href=\"data"),
                "{hostile}: {html}"
            );
        }
        assert_eq!(rendered("[x](https://a.example)"), "<p><a href=\"https://a.example\">x</a></p>\n");
    }
}
