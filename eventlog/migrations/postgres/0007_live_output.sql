-- What cells print while they run, for whoever looks: not hashed, bounded, and gone some minutes after the cell has ended.
CREATE TABLE live_output (
    org TEXT NOT NULL,
    stream TEXT NOT NULL,
    number BIGINT NOT NULL,
    step TEXT NOT NULL,
    cell TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    from_bytes BIGINT NOT NULL,
    to_bytes BIGINT NOT NULL,
    text TEXT NOT NULL,
    ended BOOLEAN NOT NULL,
    at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    PRIMARY KEY (org, stream, number)
);
CREATE INDEX live_output_by_expiry ON live_output (org, expires_at_us);
