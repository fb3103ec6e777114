//! The console in a real, headless Chromium.
//!
//! Where there is no Chromium the story says so aloud and is skipped; CI installs it, so there it runs.

mod driver;
mod pictures;
mod walk;
