-- How far each sink got with each incident; next_seq > last_seq where nothing waits.
CREATE TABLE lanes (
    org TEXT NOT NULL,
    incident TEXT NOT NULL,
    sink TEXT NOT NULL,
    next_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    since_us BIGINT NOT NULL,
    due_at_us BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    last_error TEXT,
    PRIMARY KEY (org, incident, sink)
);
CREATE INDEX lanes_due ON lanes (sink, due_at_us) WHERE next_seq <= last_seq;
