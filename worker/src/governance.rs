//! The rules in force: `directory.toml`, `policy.toml`, `policies.cedar` and the folder of promotion policies, read again
//! whenever they change, and the flag they need.
//!
//! Called for every command. A file that does not parse, or vanishes, leaves the rules that were in force before in
//! force, and says so once: a typing mistake at 3 a.m. must not lock everybody out, nor widen a right.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use harmony_incidents::{Access, Directory, Policy, RuleSet, RulesSource};

use crate::{
    failure::Failure,
    flags::{AUTO_ESCALATE_P1, FlagService},
    folder::Seen,
    promotion_policies,
};

/// Where the rules are.
pub(crate) struct RuleFiles {
    /// Who there is.
    pub(crate) directory: PathBuf,
    /// What has a gate, and whose.
    pub(crate) policy: PathBuf,
    /// What each may do.
    pub(crate) access: PathBuf,
    /// The folder of promotion policies.
    pub(crate) promotion: PathBuf,
}

/// Where the rules come from.
pub(crate) struct Governance {
    directory: PathBuf,
    policy: PathBuf,
    access: PathBuf,
    promotion: PathBuf,
    flags: Arc<FlagService>,
    state: Mutex<InForce>,
}

struct InForce {
    rules: Arc<RuleSet>,
    /// Of the files as they were last looked at, whether they were taken or not.
    seen: [Fingerprint; 3],
    /// The same of the folder of promotion policies.
    seen_promotion: Seen,
}

/// What tells one version of a file from another; none where there is no file.
pub(crate) type Fingerprint = Option<(u64, i64, i64, u64)>;

impl Governance {
    /// Reads the files. Without a policy file, or without access policies, the defaults are in force; without a
    /// directory nobody may do anything, which is never what is wanted.
    pub(crate) fn open(files: RuleFiles, flags: Arc<FlagService>) -> Result<Self, Failure> {
        let RuleFiles { directory, policy, access, promotion } = files;
        let seen = [&directory, &policy, &access].map(|path| fingerprint(path));
        let seen_promotion = promotion_policies::look(&promotion);
        if seen[0].is_none() {
            return Err(Failure::usage(
                format!("HARMONY_DIRECTORY: there is no directory of people at {}", directory.display()),
                "write one (`harmony dev` writes a sample), or set HARMONY_DIRECTORY or --data-dir",
            ));
        }
        let bad = |error: String| {
            Failure::usage(error, "correct the file; `harmony config check` looks at it again")
        };
        let rules = RuleSet {
            directory: read_directory(&directory).map_err(bad)?,
            policy: if seen[1].is_some() { read_policy(&policy).map_err(bad)? } else { Policy::default() },
            access: if seen[2].is_some() { read_access(&access).map_err(bad)? } else { Access::built_in() },
            auto_escalate_p1: flags.auto_escalate_p1(),
            promotion: Arc::new(promotion_policies::read(&promotion).map_err(bad)?),
        };
        let state = Mutex::new(InForce { rules: Arc::new(rules), seen, seen_promotion });
        Ok(Self { directory, policy, access, promotion, flags, state })
    }

    fn reload(&self, state: &mut InForce) {
        let now = [&self.directory, &self.policy, &self.access].map(|path| fingerprint(path));
        let auto_escalate_p1 = self.flags.auto_escalate_p1();
        let now_promotion = promotion_policies::look(&self.promotion);
        if now == state.seen
            && now_promotion == state.seen_promotion
            && auto_escalate_p1 == state.rules.auto_escalate_p1
        {
            return;
        }
        let mut rules = (*state.rules).clone();
        if auto_escalate_p1 != rules.auto_escalate_p1 {
            tracing::info!(flag = AUTO_ESCALATE_P1, on = auto_escalate_p1, "a flag has changed");
            rules.auto_escalate_p1 = auto_escalate_p1;
        }
        if now[0] != state.seen[0] {
            match read_directory(&self.directory) {
                Ok(directory) => {
                    tracing::info!(file = %self.directory.display(), people = directory.principals().len(), "the directory was read again");
                    rules.directory = directory;
                }
                Err(error) => tracing::error!(%error, "the directory stays as it was"),
            }
        }
        if now[1] != state.seen[1] {
            match read_policy(&self.policy) {
                Ok(policy) => {
                    tracing::info!(file = %self.policy.display(), "the policy was read again");
                    rules.policy = policy;
                }
                Err(error) => tracing::error!(%error, "the policy stays as it was"),
            }
        }
        if now[2] != state.seen[2] {
            match read_access(&self.access) {
                Ok(access) => {
                    tracing::info!(file = %self.access.display(), policies = access.count(), "the access policies were read again");
                    rules.access = access;
                }
                Err(error) => tracing::error!(%error, "the access policies stay as they were"),
            }
        }
        if now_promotion != state.seen_promotion {
            match promotion_policies::read(&self.promotion) {
                Ok(policies) => {
                    tracing::info!(folder = %self.promotion.display(), policies = policies.names().len(), "the promotion policies were read again");
                    rules.promotion = Arc::new(policies);
                }
                Err(error) => tracing::error!(%error, "the promotion policies stay as they were"),
            }
        }
        *state = InForce { rules: Arc::new(rules), seen: now, seen_promotion: now_promotion };
    }
}

impl RulesSource for Governance {
    fn current(&self) -> Arc<RuleSet> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.reload(&mut state);
        Arc::clone(&state.rules)
    }
}

fn read_directory(path: &Path) -> Result<Directory, String> {
    let text = read(path)?;
    Directory::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_policy(path: &Path) -> Result<Policy, String> {
    let text = read(path)?;
    Policy::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_access(path: &Path) -> Result<Arc<Access>, String> {
    let text = read(path)?;
    Access::parse(&text).map(Arc::new).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

pub(crate) fn fingerprint(path: &Path) -> Fingerprint {
    let found: io::Result<fs::Metadata> = fs::metadata(path);
    found.ok().map(|found| (found.len(), found.mtime(), found.mtime_nsec(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "[[principal]]\nid = \"one\"\n";
    const TWO: &str = "[[principal]]\nid = \"one\"\n[[principal]]\nid = \"two\"\n";

    fn files(home: &Path) -> RuleFiles {
        RuleFiles {
            directory: home.join("directory.toml"),
            policy: home.join("policy.toml"),
            access: home.join("policies.cedar"),
            promotion: home.join("policies"),
        }
    }

    #[test]
    fn a_changed_file_is_taken_and_a_bad_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        let (directory, policy) = (home.path().join("directory.toml"), home.path().join("policy.toml"));
        let promotion = home.path().join("policies");
        fs::write(&directory, ONE).unwrap();
        let access = home.path().join("policies.cedar");
        let governance = Governance::open(files(home.path()), FlagService::defaults()).unwrap();
        let people = || governance.current().directory.principals().len();
        assert_eq!(people(), 1);
        assert!(governance.current().auto_escalate_p1 && governance.current().policy.four_eyes);

        fs::write(&directory, TWO).unwrap();
        assert_eq!(people(), 2);
        fs::write(&directory, "[[principal]]\nname = \"nobody\"\n").unwrap();
        assert_eq!(people(), 2, "a bad file leaves the last good one in force");
        fs::remove_file(&directory).unwrap();
        assert_eq!(people(), 2, "so does a missing one");
        fs::write(&directory, ONE).unwrap();
        assert_eq!(people(), 1);

        fs::write(&policy, "four_eyes = false").unwrap();
        assert!(!governance.current().policy.four_eyes);
        fs::write(&policy, "four_ears = true").unwrap();
        assert!(!governance.current().policy.four_eyes);

        let policies = || governance.current().access.count();
        let built_in = policies();
        assert!(built_in > 5);
        let everybody_reads = "permit(principal, action == Harmony::Action::\"read\", resource);";
        fs::write(&access, everybody_reads).unwrap();
        assert_eq!(policies(), 1);
        let mistyped = everybody_reads.replace("read", "reed");
        fs::write(&access, format!("{everybody_reads}\n{mistyped}")).unwrap();
        assert_eq!(policies(), 1, "a policy on what there is not leaves the last good ones in force");
        fs::remove_file(&access).unwrap();
        assert_eq!(policies(), 1, "a missing file widens nothing");

        let promotes = || governance.current().promotion.names();
        assert!(promotes().is_empty());
        fs::create_dir(&promotion).unwrap();
        fs::write(promotion.join("a.toml"), "id = \"a\"\nversion = 1\n").unwrap();
        assert_eq!(promotes(), ["a 1"]);
        fs::write(promotion.join("b.toml"), "id = \"b\"\n").unwrap();
        assert_eq!(promotes(), ["a 1"], "half of the policies is none of them");
        fs::write(promotion.join("b.toml"), "id = \"b\"\nversion = 3\n").unwrap();
        assert_eq!(promotes(), ["a 1", "b 3"]);
    }

    #[tokio::test]
    async fn a_flag_that_changes_reaches_the_rules() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::write(path("directory.toml"), ONE).unwrap();
        let flags = path("flags.json");
        let define = |on: bool| {
            let variant = if on { "on" } else { "off" };
            let text = serde_json::json!({ "flags": { AUTO_ESCALATE_P1: {
                "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": variant,
            } } });
            fs::write(&flags, text.to_string()).unwrap();
        };
        define(false);
        let service = FlagService::start(crate::flags::FlagSettings::File(flags.clone())).await.unwrap();
        let governance = Governance::open(files(home.path()), service).unwrap();
        assert!(!governance.current().auto_escalate_p1, "as it was when it was first looked at");
        define(true);
        let changed = async {
            while !governance.current().auto_escalate_p1 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), changed).await.unwrap();
    }

    #[test]
    fn a_bad_or_missing_file_at_the_start_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        let open = || Governance::open(files(home.path()), FlagService::defaults());
        assert!(open().err().unwrap().what.contains("there is no directory of people"));
        fs::write(path("directory.toml"), "[[principal]]\nid = \"a\"\nrole = \"x\"").unwrap();
        assert!(open().err().unwrap().what.contains("unknown field `role`"));
        fs::write(path("directory.toml"), ONE).unwrap();
        assert!(open().is_ok());
        fs::write(path("policies.cedar"), "permit(principal, action, resource)").unwrap();
        let what = open().err().unwrap().what;
        assert!(what.contains("policies.cedar: line 1: "), "{what}");
    }
}
