//! One figure, month by month: as a plot, as a table beside it, and as CSV.

use std::str::FromStr;

use jiff::civil::Date;

use super::{
    figures::{Figure, Figures, Median},
    words::{self, rounded},
};

/// The plot's own units. Its text is as large as the page's where the plot is as wide as a column of the page.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 150.0;
/// Room for the values of the axis.
const LEFT: f64 = 74.0;
/// Room for the highest value, and for the months with their year.
const TOP: f64 = 14.0;
const BELOW: f64 = 42.0;

const DAY_S: i64 = 86_400;
/// Spans of time by which an axis is divided, in seconds; longer ones are whole days.
const SPANS: [i64; 22] = [
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    1_200,
    1_800,
    3_600,
    7_200,
    14_400,
    28_800,
    43_200,
    DAY_S,
    2 * DAY_S,
    5 * DAY_S,
    10 * DAY_S,
    20 * DAY_S,
];

/// What is plotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Incidents,
    Acknowledge,
    Mitigate,
    Resolve,
    Decide,
    Updates,
}

/// Nothing of this name is plotted.
#[derive(Debug, thiserror::Error)]
#[error("{0:?}: there are incidents, acknowledge, mitigate, resolve, decide and updates")]
pub(super) struct UnknownSubject(String);

impl FromStr for Subject {
    type Err = UnknownSubject;

    fn from_str(name: &str) -> Result<Self, UnknownSubject> {
        Self::ALL.into_iter().find(|one| one.name() == name).ok_or_else(|| UnknownSubject(name.to_owned()))
    }
}

impl Subject {
    pub(super) const ALL: [Self; 6] =
        [Self::Incidents, Self::Acknowledge, Self::Mitigate, Self::Resolve, Self::Decide, Self::Updates];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Incidents => "incidents",
            Self::Acknowledge => "acknowledge",
            Self::Mitigate => "mitigate",
            Self::Resolve => "resolve",
            Self::Decide => "decide",
            Self::Updates => "updates",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Incidents => "Incidents",
            Self::Acknowledge => "Time to acknowledge",
            Self::Mitigate => "Time to mitigate",
            Self::Resolve => "Time to resolve",
            Self::Decide => "Time until a gate was decided",
            Self::Updates => "Updates in time",
        }
    }

    fn time(self, figure: &Figure) -> Option<&Median> {
        match self {
            Self::Incidents | Self::Updates => None,
            Self::Acknowledge => Some(&figure.acknowledge),
            Self::Mitigate => Some(&figure.mitigate),
            Self::Resolve => Some(&figure.resolve),
            Self::Decide => Some(&figure.decide),
        }
    }

    /// How high a bar is, in the figure's own unit, and how far its upper end reaches; nothing where there is none.
    fn value(self, figure: &Figure) -> Option<(i64, i64)> {
        match self {
            Self::Incidents => Some(figure.count).filter(|count| *count > 0).map(|count| (whole(count), 0)),
            Self::Updates => figure.punctual_percent().map(|percent| (percent.into(), 0)),
            _ => {
                let time = self.time(figure)?;
                Some((time.seconds()?, time.p90()?))
            }
        }
    }

    /// A value of the axis.
    fn shown(self, value: i64) -> String {
        match self {
            Self::Incidents => value.to_string(),
            Self::Updates => format!("{value} %"),
            _ => words::span(value),
        }
    }

    /// A figure in words; empty where there is none.
    fn told(self, figure: &Figure) -> String {
        let Some((value, upper)) = self.value(figure) else { return String::new() };
        match (self, self.time(figure)) {
            (Self::Updates, _) => {
                let (in_time, due) = figure.punctual();
                format!("{value} % ({in_time} of {due})")
            }
            (_, Some(time)) => {
                format!("{}, p90 {} (of {})", words::span(value), words::span(upper), time.count())
            }
            _ => value.to_string(),
        }
    }

    /// What a month's figures are as lines of CSV: a heading, then one line a month and severity that has something.
    pub(super) fn csv(self, figures: &Figures) -> String {
        let heading = match self {
            Self::Incidents => "month,severity,incidents,open",
            Self::Updates => "month,severity,updates_in_time,updates_due",
            _ => "month,severity,count,p50_seconds,p90_seconds",
        };
        let mut lines = format!("{heading}\r\n");
        for (month, rows) in &figures.months {
            for figure in rows {
                let Some((value, upper)) = self.value(figure) else { continue };
                let fields = match (self, self.time(figure)) {
                    (Self::Incidents, _) => format!("{},{}", figure.count, figure.open),
                    (_, Some(time)) => format!("{},{value},{upper}", time.count()),
                    _ => {
                        let (in_time, due) = figure.punctual();
                        format!("{in_time},{due}")
                    }
                };
                lines.push_str(&format!("{},{},{fields}\r\n", month.strftime("%Y-%m"), figure.severity));
            }
        }
        lines
    }

    /// Where the axis ends and how it is divided, so that it holds this value.
    fn axis(self, most: i64) -> (i64, i64) {
        let most = most.max(1);
        let step = match self {
            Self::Updates => return (100, 50),
            Self::Incidents => {
                let tens = std::iter::successors(Some(1_i64), |ten| ten.checked_mul(10));
                let mut steps = tens.flat_map(|ten| [1, 2, 5].map(|one| ten.saturating_mul(one)));
                steps.find(|step| most <= step.saturating_mul(3)).unwrap_or(most)
            }
            _ => {
                let days = (most / 3 / DAY_S + 1).saturating_mul(DAY_S);
                SPANS.into_iter().find(|step| most <= step * 3).unwrap_or(days)
            }
        };
        (most.div_euclid(step).saturating_add(i64::from(most % step > 0)).saturating_mul(step), step)
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Bars in the plot's own units.
pub(super) struct Plot {
    pub(super) subject: &'static str,
    pub(super) title: &'static str,
    pub(super) bars: Vec<Bar>,
    pub(super) ticks: Vec<Label>,
    pub(super) labels: Vec<Label>,
    /// One a month: its name, and a figure for each severity.
    pub(super) table: Vec<(String, Vec<String>)>,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

pub(super) struct Bar {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) severity: &'static str,
    pub(super) title: String,
    /// Where the p90 stands, where there is one.
    pub(super) upper: Option<f64>,
}

impl Bar {
    pub(super) fn middle(&self) -> f64 {
        rounded(self.x + self.width / 2.0)
    }
}

pub(super) struct Label {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) text: String,
}

impl Plot {
    /// Of the months of these figures: counts are stacked, everything else stands side by side.
    pub(super) fn of(subject: Subject, figures: &Figures) -> Self {
        let is_stacked = subject == Subject::Incidents;
        let of_month = |rows: &[Figure]| {
            let values =
                rows.iter().filter_map(|one| subject.value(one)).map(|(value, upper)| value.max(upper));
            if is_stacked { values.sum() } else { values.max().unwrap_or_default() }
        };
        let most = figures.months.iter().map(|(_, rows)| of_month(rows)).max().unwrap_or_default();
        let (end, step) = subject.axis(most);
        let up = |value: i64| value as f64 / end as f64 * HEIGHT;
        let slot = (WIDTH - LEFT) / figures.months.len().max(1) as f64;
        let bar_width = if is_stacked { (slot * 0.6).min(48.0) } else { (slot * 0.2).min(18.0) };
        let mut plot = Self {
            subject: subject.name(),
            title: subject.title(),
            bars: Vec::new(),
            ticks: (0..=end / step)
                .map(|tick| tick * step)
                .map(|value| Label {
                    x: LEFT - 8.0,
                    y: rounded(TOP + HEIGHT - up(value)),
                    text: subject.shown(value),
                })
                .collect(),
            labels: Vec::new(),
            table: Vec::new(),
            left: LEFT,
            right: WIDTH,
            width: WIDTH,
            height: TOP + HEIGHT + BELOW,
        };
        for (place, (month, rows)) in figures.months.iter().enumerate() {
            let middle = LEFT + (place as f64 + 0.5) * slot;
            let mut top = TOP + HEIGHT;
            for (row, one) in rows.iter().enumerate() {
                let Some((value, upper)) = subject.value(one) else { continue };
                // A time of next to nothing is still there to be seen.
                let height = up(value).max(2.0);
                let (x, y) = if is_stacked {
                    top -= up(value);
                    (middle - bar_width / 2.0, top)
                } else {
                    (middle + (row as f64 - 2.0) * (bar_width + 1.0), TOP + HEIGHT - height)
                };
                plot.bars.push(Bar {
                    x: rounded(x),
                    y: rounded(y),
                    width: rounded(bar_width),
                    height: rounded(height),
                    severity: one.severity,
                    title: format!("{} {}: {}", named(*month), one.severity, subject.told(one)),
                    upper: (upper > value).then(|| rounded(TOP + HEIGHT - up(upper))),
                });
            }
            plot.label(place, *month, middle);
            plot.table.push((named(*month), rows.iter().map(|one| subject.told(one)).collect()));
        }
        plot
    }

    /// A month below its bars; the first, and each January, has its year.
    fn label(&mut self, place: usize, month: Date, middle: f64) {
        let x = rounded(middle);
        let first = TOP + HEIGHT + 18.0;
        self.labels.push(Label { x, y: first, text: month.strftime("%b").to_string() });
        if place == 0 || month.month() == 1 {
            self.labels.push(Label { x, y: first + 18.0, text: month.year().to_string() });
        }
    }

    /// Whether a bar has a line above it.
    pub(super) fn has_upper(&self) -> bool {
        self.bars.iter().any(|bar| bar.upper.is_some())
    }
}

fn named(month: Date) -> String {
    month.strftime("%b %Y").to_string()
}

#[cfg(test)]
mod tests {
    use harmony_incidents::log::{IncidentState, State};

    use super::{
        super::figures::{Fact, Wanted},
        *,
    };

    fn figures(count: usize, apart_s: i64) -> Figures {
        let fact = |number: usize| {
            let created_us = (1 + number as i64 * apart_s) * 1_000_000;
            let state = IncidentState {
                severity: 1 + (number % 4) as i32,
                created_at_us: created_us,
                acknowledged_at_us: created_us + 1_000_000 * (number * number) as i64,
                state: State::Resolved.into(),
                updates: 3,
                updates_overdue: 1,
                ..IncidentState::default()
            };
            Fact::of(&state).unwrap()
        };
        let facts: Vec<Fact> = (0..count).map(fact).collect();
        Figures::of(&facts, &Wanted::default())
    }

    #[test]
    fn every_bar_stands_within_its_plot() {
        for (count, apart_s) in [(0, 1), (1, 1), (4, 1), (30, 86_400), (200, 10 * 86_400)] {
            let figures = figures(count, apart_s);
            for subject in Subject::ALL {
                let plot = Plot::of(subject, &figures);
                assert_eq!(
                    plot.bars.is_empty(),
                    count == 0 || matches!(subject, Subject::Mitigate | Subject::Resolve | Subject::Decide)
                );
                for bar in &plot.bars {
                    assert!(
                        bar.x >= LEFT && bar.x + bar.width <= WIDTH + 0.2,
                        "{subject:?} {count}: {}",
                        bar.x
                    );
                    assert!(bar.y >= TOP - 0.2, "{subject:?} {count}: {}", bar.y);
                    assert!(bar.upper.is_none_or(|upper| upper >= TOP - 0.2 && upper < bar.y + 0.2));
                }
                assert!((2..=5).contains(&plot.ticks.len()), "{subject:?} {count}: {}", plot.ticks.len());
                assert!(plot.table.len() <= 12);
            }
        }
    }

    #[test]
    fn an_axis_is_divided_into_what_people_count_in() {
        for (subject, most, axis) in [
            (Subject::Incidents, 0, (1, 1)),
            (Subject::Incidents, 3, (3, 1)),
            (Subject::Incidents, 4, (4, 2)),
            (Subject::Incidents, 70, (100, 50)),
            (Subject::Incidents, i64::MAX, (i64::MAX, 5_000_000_000_000_000_000)),
            (Subject::Resolve, 12, (15, 5)),
            (Subject::Resolve, 5_400, (5_400, 1_800)),
            (Subject::Resolve, 400 * 86_400, (402 * 86_400, 134 * 86_400)),
            (Subject::Updates, 70, (100, 50)),
        ] {
            assert_eq!(subject.axis(most), axis, "{subject:?} {most}");
        }
    }

    #[test]
    fn csv_has_a_line_for_what_there_is() {
        let figures = figures(2, 1);
        assert_eq!(
            Subject::Incidents.csv(&figures),
            "month,severity,incidents,open\r\n1970-01,P1,1,0\r\n1970-01,P2,1,0\r\n"
        );
        assert_eq!(
            Subject::Acknowledge.csv(&figures),
            "month,severity,count,p50_seconds,p90_seconds\r\n1970-01,P1,1,0,0\r\n1970-01,P2,1,1,1\r\n"
        );
        assert_eq!(
            Subject::Updates.csv(&figures),
            "month,severity,updates_in_time,updates_due\r\n1970-01,P1,3,4\r\n1970-01,P2,3,4\r\n"
        );
        assert_eq!(Subject::Decide.csv(&figures).lines().count(), 1);
        assert!("detect".parse::<Subject>().is_err());
    }
}
