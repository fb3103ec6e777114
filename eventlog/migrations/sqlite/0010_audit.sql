-- The audit is asked by kind and by actor: without these each question reads every record of the organisation.
CREATE INDEX events_by_kind ON events (org, kind, occurred_at_us, incident, seq, actor);
CREATE INDEX events_by_actor ON events (org, actor, occurred_at_us, incident, seq);
PRAGMA user_version = 10;
