-- What lists filter by. The program fills these columns from the folded states, which hold them already.
ALTER TABLE incidents ADD COLUMN status_word TEXT NOT NULL DEFAULT '';
ALTER TABLE incidents ADD COLUMN service TEXT NOT NULL DEFAULT '';
ALTER TABLE incidents ADD COLUMN environment TEXT NOT NULL DEFAULT '';
ALTER TABLE incidents ADD COLUMN project TEXT NOT NULL DEFAULT '';
-- Each key between line feeds, which no key holds: found by its whole self alone.
ALTER TABLE incidents ADD COLUMN correlation_keys TEXT NOT NULL DEFAULT '';
CREATE INDEX incidents_by_state ON incidents (org, state_word);

CREATE TABLE candidates (
    org TEXT NOT NULL,
    candidate TEXT NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL,
    dedup_key TEXT,
    incident TEXT,
    received_at_us INTEGER NOT NULL,
    decided_at_us INTEGER,
    fingerprint TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (org, candidate)
);
CREATE INDEX candidates_by_time ON candidates (org, received_at_us, candidate);
CREATE INDEX candidates_by_key ON candidates (org, dedup_key, received_at_us) WHERE dedup_key IS NOT NULL;
CREATE INDEX candidates_by_incident ON candidates (org, incident) WHERE incident IS NOT NULL;

CREATE TABLE promotion_attempts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org TEXT NOT NULL,
    candidate TEXT NOT NULL,
    actor TEXT NOT NULL,
    authority TEXT NOT NULL,
    outcome TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    at_us INTEGER NOT NULL
);
CREATE INDEX promotion_attempts_by_time ON promotion_attempts (org, at_us);

PRAGMA user_version = 2;
