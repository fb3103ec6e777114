-- Whether a gate waits for a decision. The program fills it from the folded states, which say it already.
ALTER TABLE incidents ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;
CREATE INDEX incidents_waiting ON incidents (org) WHERE waiting;

PRAGMA user_version = 4;
