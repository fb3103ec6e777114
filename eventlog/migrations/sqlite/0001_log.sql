CREATE TABLE events (
    org TEXT NOT NULL,
    incident TEXT NOT NULL,
    seq INTEGER NOT NULL,
    event_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    canonical BLOB NOT NULL,
    hash BLOB NOT NULL,
    stored_at_us INTEGER NOT NULL,
    PRIMARY KEY (org, incident, seq)
);
CREATE UNIQUE INDEX events_by_id ON events (org, event_id);

CREATE TABLE texts (
    org TEXT NOT NULL,
    incident TEXT NOT NULL,
    seq INTEGER NOT NULL,
    field TEXT NOT NULL,
    commitment BLOB NOT NULL,
    salt BLOB NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (org, incident, seq, field)
);
CREATE INDEX texts_by_commitment ON texts (org, incident, commitment);

CREATE TABLE incidents (
    org TEXT NOT NULL,
    incident TEXT NOT NULL,
    year INTEGER NOT NULL,
    number INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    head_hash BLOB NOT NULL,
    state BLOB NOT NULL,
    state_word TEXT NOT NULL,
    phase_word TEXT NOT NULL,
    severity TEXT NOT NULL,
    updated_at_us INTEGER NOT NULL,
    PRIMARY KEY (org, incident),
    UNIQUE (org, year, number)
);

CREATE TABLE idempotency (
    org TEXT NOT NULL,
    key TEXT NOT NULL,
    incident TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    answer TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    run_id TEXT,
    PRIMARY KEY (org, key)
) WITHOUT ROWID;

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org TEXT NOT NULL,
    incident TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    due_at_us INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    done_at_us INTEGER,
    last_error TEXT,
    UNIQUE (org, kind, name)
);
CREATE INDEX outbox_due ON outbox (due_at_us) WHERE done_at_us IS NULL;
CREATE INDEX outbox_decisions ON outbox (org, incident, kind) WHERE done_at_us IS NULL;

CREATE TABLE effects (
    org TEXT NOT NULL,
    key TEXT NOT NULL,
    incident TEXT NOT NULL,
    operation TEXT NOT NULL,
    owner TEXT NOT NULL,
    lease_until_us INTEGER NOT NULL,
    result TEXT,
    PRIMARY KEY (org, key)
) WITHOUT ROWID;

PRAGMA user_version = 1;
