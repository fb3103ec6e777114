-- Whether a gate waits for a decision. The program fills it from the folded states, which say it already.
ALTER TABLE incidents ADD COLUMN waiting BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX incidents_waiting ON incidents (org) WHERE waiting;
