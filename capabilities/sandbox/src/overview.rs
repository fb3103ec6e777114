//! The pages for people at `/`: no script, every text escaped.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
padding:0 1rem;color:#1d2430}article{border:1px solid #d5dae2;border-radius:6px;\
padding:.6rem 1rem;margin:.8rem 0}h1{font-size:1.4rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}\
small,.muted{color:#5b6573}pre{white-space:pre-wrap;margin:.3rem 0}.tag{border:1px solid #aab3c0;\
border-radius:4px;padding:0 .35rem;font-size:.85em;margin-right:.3rem}";

/// Escapes text for HTML, in content and in quoted attributes.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A whole document. `title` is escaped here, `inside` has to be already.
pub(crate) fn document(title: &str, inside: &str) -> Response {
    let title = escaped(title);
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><h1>{title}</h1>{inside}</body></html>"
    );
    let policy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                  form-action 'none'; frame-ancestors 'none'";
    (
        [
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ],
        Html(html),
    )
        .into_response()
}
