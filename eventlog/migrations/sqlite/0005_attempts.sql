-- Candidates of one correlation key are found by it, and an attempt is kept whole.
CREATE INDEX candidates_by_correlation
    ON candidates (org, json_extract(document, '$.candidate.correlationKey'), received_at_us);
ALTER TABLE promotion_attempts ADD COLUMN document TEXT;
CREATE INDEX promotion_attempts_by_candidate ON promotion_attempts (org, candidate, at_us);

PRAGMA user_version = 5;
