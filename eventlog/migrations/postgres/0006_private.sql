-- Who may see an incident: each between line feeds, empty where everybody may; and whether it is practice. Older incidents
-- are neither private nor practice.
ALTER TABLE incidents ADD COLUMN visible_to TEXT NOT NULL DEFAULT '';
ALTER TABLE incidents ADD COLUMN drill BOOLEAN NOT NULL DEFAULT FALSE;
