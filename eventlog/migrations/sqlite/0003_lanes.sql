-- How far each sink got with each incident; next_seq > last_seq where nothing waits.
CREATE TABLE lanes (
    org TEXT NOT NULL,
    incident TEXT NOT NULL,
    sink TEXT NOT NULL,
    next_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    since_us INTEGER NOT NULL,
    due_at_us INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    PRIMARY KEY (org, incident, sink)
) WITHOUT ROWID;
CREATE INDEX lanes_due ON lanes (sink, due_at_us) WHERE next_seq <= last_seq;

PRAGMA user_version = 3;
