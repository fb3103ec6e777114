//! The pages for people at `/`: no script, every text escaped.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2430;--soft:#5b6573;--line:#d5dae2;--paper:#fff;--ground:#f5f6f8;--blue:#2f5bd7;--red:#b3201b}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#a3adbd;--line:#333c4a;--paper:#171c24;--ground:#0f1319;--blue:#86a6ff;--red:#ff8f88}}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:1.5rem auto;padding:0 1rem 3rem;color:var(--ink);background:var(--ground);overflow-wrap:anywhere}\
article{border:1px solid var(--line);border-radius:8px;background:var(--paper);padding:.6rem 1rem;margin:.7rem 0}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:1.6rem 0 .3rem}h3{font-size:1rem;margin:.4rem 0}p{margin:.35rem 0}a{color:var(--blue)}\
small,.muted{color:var(--soft)}pre{white-space:pre-wrap;margin:.3rem 0}code,article p pre{background:var(--ground);border-radius:4px;padding:.1rem .3rem}\
.tag{border:1px solid var(--line);border-radius:4px;padding:0 .35rem;font-size:.85em;margin:0 .3rem}\
table{border-collapse:collapse;display:block;overflow-x:auto}td,th{border:1px solid var(--line);padding:.25rem .5rem;text-align:left;vertical-align:top}\
nav{display:flex;flex-wrap:wrap;gap:.3rem .8rem}nav a[aria-current]{font-weight:700;color:var(--ink)}.said{border-left:3px solid var(--blue);padding-left:.7rem}\
.buttons{display:flex;flex-wrap:wrap;gap:.5rem;margin:.5rem 0}form{margin:0}button,.button{font:inherit;font-weight:600;cursor:pointer;text-decoration:none;color:var(--ink);\
background:var(--paper);border:1px solid var(--line);border-radius:6px;padding:.3rem .9rem}\
.prompt{display:flex;flex-wrap:wrap;gap:.5rem;align-items:end;margin:1rem 0}.prompt label{display:flex;gap:.4rem;align-items:center;overflow-wrap:normal;min-width:0;max-width:100%}.prompt label:first-of-type{flex:1 1 18rem}.prompt select{min-width:0;flex:1}\
.modal{border:2px solid var(--blue);border-radius:8px;background:var(--paper);padding:.2rem 1rem .6rem;margin:1rem 0}.modal label{display:block;font-weight:600;margin:.6rem 0}\
input,select,textarea{font:inherit;color:var(--ink);background:var(--paper);border:1px solid var(--soft);border-radius:6px;padding:.3rem .5rem;max-width:100%}\
.prompt input,.modal input,.modal select,.modal textarea{width:100%;box-sizing:border-box}.modal strong{color:var(--red);display:block}\
button.primary{background:#17693a;border-color:#17693a;color:#fff}button.danger{background:#b3201b;border-color:#b3201b;color:#fff}\
:focus-visible{outline:2px solid var(--blue);outline-offset:2px}";

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
    let policy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                  form-action 'none'; frame-ancestors 'none'";
    with_policy(policy, "no-referrer", title, inside)
}

/// The same with forms that go back to this server.
pub(crate) fn document_with_forms(title: &str, inside: &str) -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; \
                  frame-ancestors 'none'";
    // Without a referrer a browser would not say where a form was sent from either.
    with_policy(policy, "same-origin", title, inside)
}

fn with_policy(policy: &'static str, referrer: &'static str, title: &str, inside: &str) -> Response {
    let title = escaped(title);
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><main><h1>{title}</h1>{inside}</main></body></html>"
    );
    (
        [
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, referrer),
        ],
        Html(html),
    )
        .into_response()
}
