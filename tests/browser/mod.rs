//! The console in a real, headless Chromium.
//!
//! Where there is no Chromium the story says so aloud and is skipped; on CI that is a failure.

mod access;
mod care;
mod driver;
mod in_slack;
mod pictures;
mod steps;
mod walk;
