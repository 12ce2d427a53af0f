-- Who may call. An operator's role holds from its next call on. admin is whoever has the folder that the
-- controller writes at its first start.
CREATE TABLE operators (
  name     TEXT    NOT NULL PRIMARY KEY,
  role     TEXT    NOT NULL,
  added_ms INTEGER NOT NULL,
  added_by TEXT    NOT NULL
) STRICT;
INSERT INTO operators (name, role, added_ms, added_by) VALUES ('admin', 'admin', 0, '');

CREATE TABLE operator_tokens (
  hash       BLOB    NOT NULL PRIMARY KEY,
  operator   TEXT    NOT NULL,
  created_ms INTEGER NOT NULL,
  created_by TEXT    NOT NULL,
  expires_ms INTEGER NOT NULL,
  used_ms    INTEGER
) STRICT;

-- Every certificate that was issued, in the order of issue. Ids are never used again, so they tell before
-- from after where clocks may not.
CREATE TABLE certificates (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  kind     TEXT    NOT NULL,
  name     TEXT    NOT NULL,
  serial   TEXT    NOT NULL,
  until_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX certificates_name ON certificates (kind, name);

-- The last revocation of a name: of its certificates only those hold that came after.
CREATE TABLE revocations (
  kind  TEXT    NOT NULL,
  name  TEXT    NOT NULL,
  after INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  by    TEXT    NOT NULL,
  why   TEXT    NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT;
