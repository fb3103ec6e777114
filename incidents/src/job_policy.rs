//! Runbook cells that run as Jobs: what one is, and which the policy allows.
//!
//! A Job is what a gate shows and its digest covers; the policy is asked when it is proposed, and again when a cell
//! starts, so that an image that is taken off the list runs nowhere any more. Nothing is allowed by default.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// How the cells of a runbook run as Jobs, as a gate covers it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellJob {
    /// With its digest.
    pub image: String,
    /// Whose rights the cells have; without one they have no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Thousandths of a processor.
    pub cpu_millis: u64,
    /// In MiB.
    pub memory_mib: u64,
    /// The longest that one cell may take, where the runbook says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

impl CellJob {
    /// What decides what its cells may do, a name and a value each, as people are shown it.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let account = match &self.service_account {
            Some(name) => name.clone(),
            None => "none: its cells have no token".to_owned(),
        };
        let deadline = self.deadline_ms.map(|deadline| ("deadline", format!("{} s", deadline / 1_000)));
        [
            ("image", self.image.clone()),
            ("service account", account),
            ("resources", format!("{}m of a processor, {} MiB of memory", self.cpu_millis, self.memory_mib)),
        ]
        .into_iter()
        .chain(deadline)
        .collect()
    }
}

/// Which Jobs the policy allows: `[runbook_jobs]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobPolicy {
    /// Repositories of images, such as `registry.example.com/tools`; one that ends with `/` allows everything below it.
    pub images: Vec<String>,
    /// Service accounts that runbooks may name.
    pub service_accounts: Vec<String>,
    /// The most processor that a cell may ask for, in thousandths.
    pub max_cpu_millis: u64,
    /// The most memory that a cell may ask for, in MiB.
    pub max_memory_mib: u64,
    /// The longest that a cell may take.
    pub max_time: SignedDuration,
}

impl Default for JobPolicy {
    fn default() -> Self {
        Self {
            images: Vec::new(),
            service_accounts: Vec::new(),
            max_cpu_millis: 1_000,
            max_memory_mib: 1_024,
            max_time: SignedDuration::from_hours(1),
        }
    }
}

impl JobPolicy {
    /// Whether cells may run so, each for as long as the longest takes; else why not, and what to do about it.
    pub fn allows(&self, job: &CellJob, longest_ms: u64) -> Result<(), String> {
        let repository = repository(&job.image);
        let allowed = |listed: &String| match listed.strip_suffix('/') {
            Some(_) => repository.starts_with(listed.as_str()),
            None => repository == listed,
        };
        if !self.images.iter().any(allowed) {
            return Err(format!(
                "the policy does not allow the image {repository}: it has {}; add it to images in [runbook_jobs]",
                listed(&self.images)
            ));
        }
        if let Some(account) =
            job.service_account.as_ref().filter(|name| !self.service_accounts.contains(name))
        {
            return Err(format!(
                "the policy does not allow the service account {account}: it has {}; add it to service_accounts in \
                 [runbook_jobs]",
                listed(&self.service_accounts)
            ));
        }
        let over = |what: &str, asked: u64, most: u64, unit: &str| {
            Err(format!(
                "a cell asks for {asked} {unit} of {what}, and the policy's [runbook_jobs] allows {most}"
            ))
        };
        if job.cpu_millis > self.max_cpu_millis {
            return over("processor", job.cpu_millis, self.max_cpu_millis, "thousandths");
        }
        if job.memory_mib > self.max_memory_mib {
            return over("memory", job.memory_mib, self.max_memory_mib, "MiB");
        }
        let most_ms = u64::try_from(self.max_time.as_millis()).unwrap_or_default();
        if longest_ms > most_ms {
            return Err(format!(
                "a cell may take {} s, and the policy's [runbook_jobs] allows {} s: give the run a shorter --timeout, the \
                 cell a timeout, or the runbook a deadline",
                longest_ms / 1_000,
                most_ms / 1_000
            ));
        }
        Ok(())
    }

    /// What is wrong with it, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let is_repository = |image: &&String| {
            !image.is_empty()
                && image.len() <= 300
                && *image != "/"
                && !image.contains('@')
                && image.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte))
        };
        if let Some(image) = self.images.iter().find(|image| !is_repository(image)) {
            return Some(format!(
                "{image:?} is not a repository such as \"registry.example.com/tools\", nor a prefix that ends with /"
            ));
        }
        let is_positive = self.max_cpu_millis > 0 && self.max_memory_mib > 0;
        if !is_positive
            || self.max_time <= SignedDuration::ZERO
            || self.max_time > SignedDuration::from_hours(24 * 7)
        {
            return Some(
                "max_cpu_millis and max_memory_mib are above 0, max_time is up to a week, such as \"1h\""
                    .to_owned(),
            );
        }
        None
    }
}

/// An image without its tag and its digest.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    name[path..].find(':').map_or(name, |colon| &name[..path + colon])
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    fn policy() -> JobPolicy {
        let text = "[runbook_jobs]\nimages = [\"registry.example.com:5000/runbooks/\", \"tools\"]\n\
                    service_accounts = [\"reader\"]\nmax_memory_mib = 512\nmax_time = \"10m\"\n";
        Policy::parse(text).unwrap().runbook_jobs
    }

    fn job(image: &str) -> CellJob {
        CellJob {
            image: format!("{image}@sha256:00"),
            cpu_millis: 500,
            memory_mib: 256,
            ..CellJob::default()
        }
    }

    #[test]
    fn only_what_is_listed_is_allowed_and_a_prefix_ends_at_a_folder() {
        let allows = |image: &str| policy().allows(&job(image), 1_000).is_ok();
        for (image, expected) in [
            ("registry.example.com:5000/runbooks/tools:1.4", true),
            ("registry.example.com:5000/runbooks/a/b", true),
            ("registry.example.com:5000/runbooks-of-others/tools", false),
            ("registry.example.com/runbooks/tools", false),
            ("tools:1.4", true),
            ("tools", true),
            ("tools/evil", false),
            ("toolsevil", false),
        ] {
            assert_eq!(allows(image), expected, "{image}");
        }
        let refused = JobPolicy::default().allows(&job("tools"), 1_000).unwrap_err();
        assert_eq!(
            refused,
            "the policy does not allow the image tools: it has none; add it to images in [runbook_jobs]"
        );
    }

    #[test]
    fn accounts_sizes_and_times_have_limits() {
        let refused = |change: fn(&mut CellJob), longest_ms: u64| {
            let mut job = job("tools");
            change(&mut job);
            policy().allows(&job, longest_ms)
        };
        assert_eq!(refused(|job| job.service_account = Some("reader".to_owned()), 600_000), Ok(()));
        for (change, longest_ms, expected) in [
            (
                (|job| job.service_account = Some("admin".to_owned())) as fn(&mut CellJob),
                1,
                "service account admin",
            ),
            (|job| job.cpu_millis = 1_001, 1, "1001 thousandths of processor"),
            (|job| job.memory_mib = 513, 1, "513 MiB of memory"),
            (|_| {}, 600_001, "allows 600 s"),
        ] {
            let problem = refused(change, longest_ms).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
