//! What one sees while the demo runs: on a terminal a line that moves for each blueprint, elsewhere one line for each
//! thing that happens. With `--json` all of it goes to stderr.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// How often a line moves.
const TICK: Duration = Duration::from_millis(120);

/// Where progress goes.
pub(super) struct Progress {
    to_stderr: bool,
    screen: Option<MultiProgress>,
    lines: Mutex<BTreeMap<String, Line>>,
}

/// One blueprint's line.
struct Line {
    bar: Option<ProgressBar>,
    /// As it was last told where nothing moves.
    told: String,
    over: bool,
}

impl Progress {
    /// On stderr where stdout belongs to a program.
    pub(super) fn new(to_stderr: bool) -> Self {
        let terminal =
            if to_stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        let target = || if to_stderr { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::stdout() };
        let screen = terminal.then(|| MultiProgress::with_draw_target(target()));
        Self { to_stderr, screen, lines: Mutex::default() }
    }

    /// One line that stays.
    pub(super) fn line(&self, text: &str) {
        match &self.screen {
            // An error means that the terminal is gone; there is nobody to tell.
            Some(screen) => drop(screen.println(output::plain(text))),
            None => self.write(text),
        }
    }

    /// What a blueprint is doing now; `countdown` changes every second and is shown only where lines move.
    pub(super) fn doing(&self, blueprint: &str, what: &str, countdown: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(blueprint.to_owned()).or_insert_with(|| self.begin());
        if line.over {
            *line = self.begin();
        }
        match &line.bar {
            Some(bar) => bar.set_message(output::plain(&format!("{blueprint:<12} {what}{countdown}"))),
            None if line.told != what => {
                self.write(&format!("{blueprint:<12} {what}"));
                line.told = what.to_owned();
            }
            None => {}
        }
    }

    /// How a blueprint ended.
    pub(super) fn done(&self, blueprint: &str, how: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.get_mut(blueprint).filter(|line| !line.over) else { return };
        line.over = true;
        let text = format!("{blueprint:<12} {how}");
        match &line.bar {
            Some(bar) => bar.finish_with_message(output::plain(&text)),
            None => self.write(&text),
        }
    }

    /// Nothing moves any more.
    pub(super) fn end(&self) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for bar in lines.values().filter(|line| !line.over).filter_map(|line| line.bar.as_ref()) {
            bar.abandon();
        }
    }

    fn begin(&self) -> Line {
        let bar = self.screen.as_ref().map(|screen| {
            let bar = screen.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Line { bar, told: String::new(), over: false }
    }

    fn write(&self, text: &str) {
        if self.to_stderr { output::say(text) } else { output::data(text) }
    }
}
