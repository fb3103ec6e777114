-- Who did what when, over all streams. The program fills these columns from the records, which say it already.
ALTER TABLE events ADD COLUMN occurred_at_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN actor TEXT NOT NULL DEFAULT '';
CREATE INDEX events_by_time ON events (org, occurred_at_us, incident, seq);

-- What readers are told of services and environments. Their records stand in `events`, where `incident` holds the stream.
CREATE TABLE catalog (
    org TEXT NOT NULL,
    stream TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    retired INTEGER NOT NULL,
    running INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    head_hash BLOB NOT NULL,
    state BLOB NOT NULL,
    updated_at_us INTEGER NOT NULL,
    PRIMARY KEY (org, stream)
);
CREATE INDEX catalog_by_kind ON catalog (org, kind, id);
CREATE INDEX catalog_running ON catalog (org, id) WHERE running;

CREATE TABLE releases (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    stream TEXT NOT NULL,
    environment TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    changed_at_us INTEGER NOT NULL,
    document BLOB NOT NULL,
    PRIMARY KEY (org, id)
);
CREATE INDEX releases_by_service ON releases (org, stream, created_at_us, id);
CREATE INDEX releases_by_change ON releases (org, changed_at_us);

CREATE TABLE runs (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    stream TEXT NOT NULL,
    release_id TEXT NOT NULL,
    started_at_us INTEGER NOT NULL,
    document BLOB NOT NULL,
    PRIMARY KEY (org, id)
);
CREATE INDEX runs_by_release ON runs (org, release_id, started_at_us, id);
CREATE INDEX runs_by_stream ON runs (org, stream);

PRAGMA user_version = 6;
