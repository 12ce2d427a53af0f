-- Fingerprints of poison: what a message that was proven to be poison is known by on every server. `state` is standing,
-- withdrawn, or refused (one too many). `give_back` says whether a withdrawal gives back what was set aside.
CREATE TABLE fingerprints (
  id         TEXT    NOT NULL PRIMARY KEY,
  hash       BLOB    NOT NULL,
  size       INTEGER NOT NULL,
  body       BLOB    NOT NULL,
  body_bytes INTEGER NOT NULL,
  message_id TEXT    NOT NULL,
  agent      TEXT    NOT NULL,
  run        TEXT    NOT NULL,
  batch      TEXT    NOT NULL,
  entry      INTEGER NOT NULL,
  proof      TEXT    NOT NULL,
  how        TEXT    NOT NULL,
  policy     TEXT    NOT NULL,
  found_ms   INTEGER NOT NULL,
  state      TEXT    NOT NULL,
  changed_ms INTEGER NOT NULL,
  changed_by TEXT    NOT NULL DEFAULT '',
  why        TEXT    NOT NULL DEFAULT '',
  give_back  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX fingerprints_state ON fingerprints (state, found_ms);

-- Messages that were set aside because of a fingerprint. `standing` ends with whatever settles the message anew.
CREATE TABLE immunized (
  batch       TEXT    NOT NULL,
  entry       INTEGER NOT NULL,
  fingerprint TEXT    NOT NULL,
  standing    INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (batch, entry)
) STRICT;
CREATE INDEX immunized_fingerprint ON immunized (fingerprint);

-- Rises with each change of what stands.
INSERT INTO counters (name, value) VALUES ('immunity', 0);
