-- What is signed of policies, exact bytes. Agents verify it by themselves; here it is kept to be sent.
CREATE TABLE trust_roots (
  version      INTEGER NOT NULL PRIMARY KEY,
  text         BLOB    NOT NULL,
  signatures   TEXT    NOT NULL,
  published_ms INTEGER NOT NULL,
  published_by TEXT    NOT NULL
) STRICT;

-- What the controller itself believes: one row, with the current catalogue and timestamp in it. The generation
-- rises with each change, so that sessions know when to send it again.
CREATE TABLE trust_state (
  id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  generation INTEGER NOT NULL,
  state      TEXT    NOT NULL,
  changed_ms INTEGER NOT NULL
) STRICT;

-- What each agent told last of what it holds.
CREATE TABLE trust_held (
  agent      TEXT    NOT NULL PRIMARY KEY,
  signed     INTEGER NOT NULL,
  root       INTEGER NOT NULL,
  catalogue  INTEGER NOT NULL,
  timestamp  INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  code       TEXT    NOT NULL,
  why        TEXT    NOT NULL,
  told_ms    INTEGER NOT NULL
) STRICT;
