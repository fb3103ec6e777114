CREATE TABLE events (
    org TEXT NOT NULL,
    incident TEXT NOT NULL,
    seq BIGINT NOT NULL,
    event_id BYTEA NOT NULL,
    kind TEXT NOT NULL,
    canonical BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    stored_at_us BIGINT NOT NULL,
    PRIMARY KEY (org, incident, seq)
);
CREATE UNIQUE INDEX events_by_id ON events (org, event_id);

-- A text is kept as its UTF-8 bytes: TEXT takes no U+0000, and a note may hold one.
CREATE TABLE texts (
    org TEXT NOT NULL,
    incident TEXT NOT NULL,
    seq BIGINT NOT NULL,
    field TEXT NOT NULL,
    commitment BYTEA NOT NULL,
    salt BYTEA NOT NULL,
    text BYTEA NOT NULL,
    PRIMARY KEY (org, incident, seq, field)
);
CREATE INDEX texts_by_commitment ON texts (org, incident, commitment);

CREATE TABLE incidents (
    org TEXT NOT NULL,
    incident TEXT NOT NULL,
    year SMALLINT NOT NULL,
    number BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    head_hash BYTEA NOT NULL,
    state BYTEA NOT NULL,
    state_word TEXT NOT NULL,
    phase_word TEXT NOT NULL,
    severity TEXT NOT NULL,
    status_word TEXT NOT NULL,
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    project TEXT NOT NULL,
    -- Each key between line feeds, which no key holds: found by its whole self alone.
    correlation_keys TEXT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    PRIMARY KEY (org, incident),
    UNIQUE (org, year, number)
);
CREATE INDEX incidents_by_state ON incidents (org, state_word);

CREATE TABLE idempotency (
    org TEXT NOT NULL,
    key TEXT NOT NULL,
    incident TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    answer TEXT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    run_id TEXT,
    PRIMARY KEY (org, key)
);
CREATE INDEX idempotency_by_incident ON idempotency (org, incident);

CREATE TABLE outbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org TEXT NOT NULL,
    incident TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    due_at_us BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    done_at_us BIGINT,
    last_error TEXT,
    UNIQUE (org, kind, name)
);
CREATE INDEX outbox_due ON outbox (due_at_us) WHERE done_at_us IS NULL;
CREATE INDEX outbox_waiting ON outbox (org, incident, kind) WHERE done_at_us IS NULL;

CREATE TABLE effects (
    org TEXT NOT NULL,
    key TEXT NOT NULL,
    incident TEXT NOT NULL,
    operation TEXT NOT NULL,
    owner TEXT NOT NULL,
    lease_until_us BIGINT NOT NULL,
    result TEXT,
    PRIMARY KEY (org, key)
);
CREATE INDEX effects_by_incident ON effects (org, incident);

CREATE TABLE candidates (
    org TEXT NOT NULL,
    candidate TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    status TEXT NOT NULL,
    dedup_key TEXT,
    incident TEXT,
    received_at_us BIGINT NOT NULL,
    decided_at_us BIGINT,
    fingerprint TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (org, candidate)
);
CREATE INDEX candidates_by_time ON candidates (org, received_at_us, candidate);
CREATE INDEX candidates_by_key ON candidates (org, dedup_key, received_at_us) WHERE dedup_key IS NOT NULL;
CREATE INDEX candidates_by_incident ON candidates (org, incident) WHERE incident IS NOT NULL;

CREATE TABLE promotion_attempts (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org TEXT NOT NULL,
    candidate TEXT NOT NULL,
    actor TEXT NOT NULL,
    authority TEXT NOT NULL,
    outcome TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    at_us BIGINT NOT NULL
);
CREATE INDEX promotion_attempts_by_time ON promotion_attempts (org, at_us);
