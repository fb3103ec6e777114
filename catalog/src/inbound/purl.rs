//! Package URLs: how CDEvents name an artifact, `pkg:oci/checkout@sha256%3A0b31…?tag=1.2.3`.

use super::is_sha;

/// What of an artifact's name matters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Artifact {
    pub(super) sha: String,
    pub(super) version: String,
    pub(super) repo: String,
}

/// Reads a package URL; anything else is read as a version or a fingerprint by itself.
pub(super) fn read(text: &str) -> Artifact {
    let Some(rest) = text.strip_prefix("pkg:") else { return versioned(&decoded(text)) };
    let rest = rest.split('#').next().unwrap_or_default();
    let (path, qualifiers) = rest.split_once('?').unwrap_or((rest, ""));
    let (path, version) = path.rsplit_once('@').unwrap_or((path, ""));
    let mut artifact = versioned(&decoded(version));
    for pair in qualifiers.split('&') {
        match pair.split_once('=') {
            Some(("tag", tag)) => artifact.version = decoded(tag),
            Some(("vcs_url", address)) => {
                let address = decoded(address);
                let address = address.strip_prefix("git+").unwrap_or(&address);
                let (address, commit) = address.rsplit_once('@').unwrap_or((address, ""));
                artifact.repo = super::repo(address);
                if artifact.sha.is_empty() && is_sha(commit) {
                    artifact.sha = commit.to_ascii_lowercase();
                }
            }
            _ => {}
        }
    }
    if artifact.repo.is_empty()
        && let Some(name) = path.strip_prefix("github/")
    {
        artifact.repo = format!("github.com/{}", decoded(name));
    }
    artifact
}

/// A version that is a digest or a commit is a fingerprint.
fn versioned(version: &str) -> Artifact {
    let digest = version.split_once(':').map_or(version, |(_, digest)| digest).to_ascii_lowercase();
    let is_fingerprint = is_sha(&digest) && (version.contains(':') || digest.len() >= 40);
    if is_fingerprint {
        Artifact { sha: digest, ..Artifact::default() }
    } else {
        Artifact { version: super::line(version), ..Artifact::default() }
    }
}

/// With `%3A` as a colon, and so on. What is no escape stays as it is.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escape = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let digits = escape.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                out.push(escaped);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_have_a_fingerprint_a_version_and_a_repository() {
        let digest = "0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427";
        let commit = "279484c09fbe69ededfced8c1bb6e6d24616b468";
        let cases = [
            (format!("pkg:oci/myapp@sha256%3A{digest}?repository_url=r.io/a&tag=1.2.3"), digest, "1.2.3", ""),
            (format!("pkg:github/blackroad/demo@{commit}"), commit, "", "github.com/blackroad/demo"),
            ("pkg:npm/%40scope/demo@1.0.0".to_owned(), "", "1.0.0", ""),
            (
                format!(
                    "pkg:generic/demo@2024.10.01?vcs_url=git%2Bhttps%3A%2F%2Fgit.example%2Fa%2Fdemo%40{commit}"
                ),
                commit,
                "2024.10.01",
                "git.example/a/demo",
            ),
            ("1.2.3".to_owned(), "", "1.2.3", ""),
            (digest.to_owned(), digest, "", ""),
            ("pkg:".to_owned(), "", "", ""),
            ("pkg:oci/a@%".to_owned(), "", "%", ""),
        ];
        for (text, sha, version, repo) in cases {
            let expected =
                Artifact { sha: sha.to_owned(), version: version.to_owned(), repo: repo.to_owned() };
            assert_eq!(read(&text), expected, "{text}");
        }
    }
}
