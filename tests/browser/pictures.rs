//! Pictures of the pages for the documentation, in both themes and on a phone: taken where `HARMONY_SCREENSHOTS` names a
//! folder for them.

use std::path::PathBuf;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::driver::Browser;

const WIDE: (u32, u32) = (1180, 820);
const PHONE: (u32, u32) = (390, 780);

/// Takes a picture of this page in every form, if pictures are wanted.
pub(crate) async fn take(browser: &Browser<'_>, name: &str) {
    let Some(folder) = std::env::var_os("HARMONY_SCREENSHOTS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).unwrap();
    for (form, (width, height), theme) in
        [("light", WIDE, "light"), ("dark", WIDE, "dark"), ("phone", PHONE, "light")]
    {
        browser.look_like(width, height, theme).await;
        let picture = STANDARD.decode(browser.picture().await).unwrap();
        std::fs::write(folder.join(format!("{name}-{form}.png")), picture).unwrap();
    }
    browser.look_like(WIDE.0, WIDE.1, "light").await;
}

/// Nothing on this page is wider than a phone.
pub(crate) async fn fits_a_phone(browser: &Browser<'_>, name: &str) {
    browser.look_like(PHONE.0, PHONE.1, "light").await;
    let overflow = browser.script("return document.documentElement.scrollWidth - window.innerWidth").await;
    browser.look_like(WIDE.0, WIDE.1, "light").await;
    assert!(overflow.as_i64().unwrap_or(1) <= 0, "{name} is {overflow} pixels too wide for a phone");
}

/// What decides a gate stands in the first screen of these sizes, however long what is decided about is.
pub(crate) async fn decides_in_the_first_screen(browser: &Browser<'_>, name: &str, sizes: &[(u32, u32)]) {
    for &(width, height) in sizes {
        browser.look_like(width, height, "light").await;
        let seen = browser
            .script(
                "window.scrollTo(0, 0); const at = document.querySelector('form.decide button').getBoundingClientRect(); \
                 return at.height > 0 && at.top >= 0 && at.bottom <= window.innerHeight && at.right <= window.innerWidth",
            )
            .await;
        assert_eq!(seen, true, "{name} at {width} x {height}: no button in the first screen");
        let whole = browser
            .script(
                "return [...document.querySelectorAll('.gate .code')].every(code => code.scrollHeight <= code.clientHeight + 1 || code.clientHeight === 0)",
            )
            .await;
        assert_eq!(whole, true, "{name} at {width} x {height}: what is approved is cut");
    }
    browser.look_like(WIDE.0, WIDE.1, "light").await;
}
