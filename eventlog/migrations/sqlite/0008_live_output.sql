-- What cells print while they run, for whoever looks: not hashed, bounded, and gone some minutes after the cell has ended.
CREATE TABLE live_output (
    org TEXT NOT NULL,
    stream TEXT NOT NULL,
    number INTEGER NOT NULL,
    step TEXT NOT NULL,
    cell TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    from_bytes INTEGER NOT NULL,
    to_bytes INTEGER NOT NULL,
    text TEXT NOT NULL,
    ended BOOLEAN NOT NULL,
    at_us INTEGER NOT NULL,
    expires_at_us INTEGER NOT NULL,
    PRIMARY KEY (org, stream, number)
);
CREATE INDEX live_output_by_expiry ON live_output (org, expires_at_us);

PRAGMA user_version = 8;
