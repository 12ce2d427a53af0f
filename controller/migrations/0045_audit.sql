-- The audit trail: one row for each entry, never changed and never removed. hash is SHA-256 over a domain, the
-- hash before it, and the entry as the contract encodes it (TrailEntry); docs/audit.md says it exactly.
-- It takes the place of `changes`, whose rows are copied into it when the store is opened the first time.
CREATE TABLE audit (
  seq    INTEGER NOT NULL PRIMARY KEY,
  at_ms  INTEGER NOT NULL,
  actor  TEXT    NOT NULL,
  role   TEXT    NOT NULL,
  kind   TEXT    NOT NULL,
  target TEXT    NOT NULL,
  why    TEXT    NOT NULL,
  detail BLOB    NOT NULL,
  hash   BLOB    NOT NULL
) STRICT;
CREATE INDEX audit_target ON audit (target, seq);

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN
  SELECT RAISE(ABORT, 'the audit trail is only ever appended to');
END;
CREATE TRIGGER audit_is_never_removed BEFORE DELETE ON audit
BEGIN
  SELECT RAISE(ABORT, 'the audit trail is only ever appended to');
END;
-- A row in the place of another (INSERT OR REPLACE) removes without asking the trigger above.
CREATE TRIGGER audit_has_no_gap BEFORE INSERT ON audit
WHEN NEW.seq <> coalesce((SELECT max(seq) FROM audit), 0) + 1
BEGIN
  SELECT RAISE(ABORT, 'the audit trail is only ever appended to');
END;

-- The hash of the agent's journal at `acknowledged`, as the controller computes it from the records that it stored.
-- Absent: not computed yet.
ALTER TABLE agents ADD COLUMN chain BLOB;
