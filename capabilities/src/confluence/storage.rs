//! Markdown to Confluence's storage format, which is XHTML with macros.
//!
//! The result is well-formed whatever the Markdown is: raw HTML appears as text, characters that
//! XML does not know are left out, `]]>` in code is split. Links lead to `http`, `https` and
//! `mailto`; of others the text remains. An image becomes a link, so that reading a review loads
//! nothing from elsewhere.

use pulldown_cmark::{Alignment, CodeBlockKind, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};

/// Renders Markdown (with tables, strikethrough and task lists) as storage format.
#[must_use]
pub fn markdown_to_storage(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut page = Storage::default();
    for event in Parser::new_ext(markdown, options) {
        page.event(event);
    }
    page.xhtml
}

#[derive(Default)]
struct Storage {
    xhtml: String,
    /// What is to close each open link or image.
    links: Vec<&'static str>,
    /// Columns of the present table.
    alignments: Vec<Alignment>,
    column: usize,
    in_head: bool,
    /// In a code macro, where text stands in CDATA.
    in_code: bool,
}

impl Storage {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.in_code => self.cdata(&text),
            Event::Text(text)
            | Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => self.text(&text),
            Event::Code(text) => {
                self.xhtml.push_str("<code>");
                self.text(&text);
                self.xhtml.push_str("</code>");
            }
            Event::SoftBreak => self.xhtml.push('\n'),
            Event::HardBreak => self.xhtml.push_str("<br />"),
            Event::Rule => self.xhtml.push_str("<hr />"),
            Event::TaskListMarker(done) => self.xhtml.push_str(if done { "☑ " } else { "☐ " }),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.xhtml.push_str("<p>"),
            Tag::Heading { level, .. } => self.xhtml.push_str(&format!("<{level}>")),
            Tag::BlockQuote(_) => self.xhtml.push_str("<blockquote>"),
            Tag::CodeBlock(kind) => self.start_code(&kind),
            Tag::List(None) => self.xhtml.push_str("<ul>"),
            Tag::List(Some(1)) => self.xhtml.push_str("<ol>"),
            Tag::List(Some(first)) => self.xhtml.push_str(&format!("<ol start=\"{first}\">")),
            Tag::Item => self.xhtml.push_str("<li>"),
            Tag::Table(alignments) => {
                self.alignments = alignments;
                self.xhtml.push_str("<table><tbody>");
            }
            Tag::TableHead => {
                self.in_head = true;
                self.start_row();
            }
            Tag::TableRow => self.start_row(),
            Tag::TableCell => self.start_cell(),
            Tag::Emphasis => self.xhtml.push_str("<em>"),
            Tag::Strong => self.xhtml.push_str("<strong>"),
            Tag::Strikethrough => self.xhtml.push_str("<span style=\"text-decoration: line-through;\">"),
            Tag::Link { link_type, dest_url, .. } => self.start_link(link_type, &dest_url),
            Tag::Image { link_type, dest_url, .. } => self.start_link(link_type, &dest_url),
            // Not asked for above; their text remains.
            Tag::FootnoteDefinition(_)
            | Tag::DefinitionList
            | Tag::DefinitionListTitle
            | Tag::DefinitionListDefinition
            | Tag::Superscript
            | Tag::Subscript
            | Tag::MetadataBlock(_) => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.xhtml.push_str("</p>"),
            TagEnd::Heading(level) => self.xhtml.push_str(&format!("</{level}>")),
            TagEnd::BlockQuote(_) => self.xhtml.push_str("</blockquote>"),
            TagEnd::CodeBlock => {
                self.in_code = false;
                self.xhtml.push_str("]]></ac:plain-text-body></ac:structured-macro>");
            }
            TagEnd::List(true) => self.xhtml.push_str("</ol>"),
            TagEnd::List(false) => self.xhtml.push_str("</ul>"),
            TagEnd::Item => self.xhtml.push_str("</li>"),
            TagEnd::Table => self.xhtml.push_str("</tbody></table>"),
            TagEnd::TableHead => {
                self.in_head = false;
                self.xhtml.push_str("</tr>");
            }
            TagEnd::TableRow => self.xhtml.push_str("</tr>"),
            TagEnd::TableCell => {
                let close = if self.in_head { "</th>" } else { "</td>" };
                self.xhtml.push_str(close);
            }
            TagEnd::Emphasis => self.xhtml.push_str("</em>"),
            TagEnd::Strong => self.xhtml.push_str("</strong>"),
            TagEnd::Strikethrough => self.xhtml.push_str("</span>"),
            TagEnd::Link | TagEnd::Image => {
                let close = self.links.pop().unwrap_or_default();
                self.xhtml.push_str(close);
            }
            TagEnd::FootnoteDefinition
            | TagEnd::DefinitionList
            | TagEnd::DefinitionListTitle
            | TagEnd::DefinitionListDefinition
            | TagEnd::Superscript
            | TagEnd::Subscript
            | TagEnd::MetadataBlock(_) => {}
        }
    }

    fn start_code(&mut self, kind: &CodeBlockKind<'_>) {
        self.in_code = true;
        self.xhtml.push_str("<ac:structured-macro ac:name=\"code\">");
        if let Some(language) = language(kind) {
            self.xhtml.push_str(&format!("<ac:parameter ac:name=\"language\">{language}</ac:parameter>"));
        }
        self.xhtml.push_str("<ac:plain-text-body><![CDATA[");
    }

    fn start_row(&mut self) {
        self.column = 0;
        self.xhtml.push_str("<tr>");
    }

    fn start_cell(&mut self) {
        let name = if self.in_head { "th" } else { "td" };
        let style = match self.alignments.get(self.column) {
            Some(Alignment::Center) => " style=\"text-align: center;\"",
            Some(Alignment::Right) => " style=\"text-align: right;\"",
            _ => "",
        };
        self.column += 1;
        self.xhtml.push_str(&format!("<{name}{style}>"));
    }

    /// A link inside a link (an image in one, say) is text, as XHTML allows no other.
    fn start_link(&mut self, link_type: LinkType, target: &CowStr<'_>) {
        let target = match link_type {
            LinkType::Email => format!("mailto:{target}"),
            _ => target.to_string(),
        };
        let is_nested = self.links.iter().any(|close| !close.is_empty());
        if is_nested || !is_allowed(&target) {
            self.links.push("");
            return;
        }
        self.xhtml.push_str("<a href=\"");
        self.text(&target);
        self.xhtml.push_str("\">");
        self.links.push("</a>");
    }

    fn text(&mut self, text: &str) {
        for character in text.chars().filter(|c| is_xml(*c)) {
            match character {
                '&' => self.xhtml.push_str("&amp;"),
                '<' => self.xhtml.push_str("&lt;"),
                '>' => self.xhtml.push_str("&gt;"),
                '"' => self.xhtml.push_str("&quot;"),
                other => self.xhtml.push(other),
            }
        }
    }

    /// Text inside CDATA, which `]]>` would end. A block comes in pieces, so the end is looked
    /// for across them.
    fn cdata(&mut self, text: &str) {
        for character in text.chars().filter(|c| is_xml(*c)) {
            if character == '>' && self.xhtml.ends_with("]]") {
                self.xhtml.push_str("]]><![CDATA[");
            }
            self.xhtml.push(character);
        }
    }
}

/// The language of a fenced block: the first word of its info string, if it looks like one.
fn language(kind: &CodeBlockKind<'_>) -> Option<String> {
    let CodeBlockKind::Fenced(info) = kind else {
        return None;
    };
    let word = info.split([' ', ',', '{']).next().unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "+#-_.".contains(c);
    (!word.is_empty() && word.chars().all(is_name)).then(|| word.to_owned())
}

fn is_allowed(target: &str) -> bool {
    url::Url::parse(target).is_ok_and(|url| matches!(url.scheme(), "http" | "https" | "mailto"))
}

/// Characters that XML 1.0 allows.
fn is_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(markdown: &str, expected: &str) {
        assert_eq!(markdown_to_storage(markdown), expected, "{markdown}");
    }

    #[test]
    fn blocks_become_xhtml() {
        check("# A\n\ntext\nmore", "<h1>A</h1><p>text\nmore</p>");
        check("a  \nb\n\n---", "<p>a<br />b</p><hr />");
        check("> q", "<blockquote><p>q</p></blockquote>");
        check("- a\n- b", "<ul><li>a</li><li>b</li></ul>");
        check("3. a", "<ol start=\"3\"><li>a</li></ol>");
        check("- [x] a\n- [ ] b", "<ul><li>☑ a</li><li>☐ b</li></ul>");
        check(
            "| a | b |\n|---|--:|\n| 1 | *2* |",
            "<table><tbody><tr><th>a</th><th style=\"text-align: right;\">b</th></tr>\
             <tr><td>1</td><td style=\"text-align: right;\"><em>2</em></td></tr></tbody></table>",
        );
    }

    #[test]
    fn html_is_text() {
        check("a <b onclick=\"x\">c</b>", "<p>a &lt;b onclick=&quot;x&quot;&gt;c&lt;/b&gt;</p>");
        check("<div/>\n\n<script>x</script>", "<p>&lt;div/&gt;\n</p><p>&lt;script&gt;x&lt;/script&gt;</p>");
    }

    #[test]
    fn links_lead_to_known_schemes() {
        check(
            "[a](https://e.com/?a=1&b=\"2\")",
            "<p><a href=\"https://e.com/?a=1&amp;b=&quot;2&quot;\">a</a></p>",
        );
        check("<me@e.com>", "<p><a href=\"mailto:me@e.com\">me@e.com</a></p>");
        check("[a](javascript:alert%281%29)", "<p>a</p>");
        check("[a](/local) [b](data:text/html,x)", "<p>a b</p>");
        check("[![x](https://e.com/i.png)](https://e.com)", "<p><a href=\"https://e.com\">x</a></p>");
        check("![x](https://e.com/i.png)", "<p><a href=\"https://e.com/i.png\">x</a></p>");
    }

    #[test]
    fn code_survives_what_would_end_it() {
        check(
            "```sh {name=a}\necho ']]>' && x\n```",
            "<ac:structured-macro ac:name=\"code\"><ac:parameter ac:name=\"language\">sh\
             </ac:parameter><ac:plain-text-body><![CDATA[echo ']]]]><![CDATA[>' && x\n]]>\
             </ac:plain-text-body></ac:structured-macro>",
        );
    }

    #[test]
    fn characters_unknown_to_xml_are_left_out() {
        check("a\u{1}b\u{b}c\u{ffff}d\u{1f600}", "<p>abcd\u{1f600}</p>");
    }
}
