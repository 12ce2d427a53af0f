-- Times are milliseconds since 1970 UTC, in columns ending in _ms. Ids are UUIDs as text.
-- Everything that a decision leads to stands here before anybody is told of it.

CREATE TABLE policies (
  name         TEXT    NOT NULL,
  version      INTEGER NOT NULL,
  digest       BLOB    NOT NULL,
  title        TEXT    NOT NULL,
  article      TEXT    NOT NULL,
  text         BLOB    NOT NULL,
  published_ms INTEGER NOT NULL,
  published_by TEXT    NOT NULL,
  PRIMARY KEY (name, version)
) STRICT;

-- Tokens are stored hashed; used_ms is set once, by one atomic update.
CREATE TABLE tokens (
  hash       BLOB    NOT NULL PRIMARY KEY,
  agent      TEXT    NOT NULL,
  site       TEXT    NOT NULL,
  labels     TEXT    NOT NULL,
  created_ms INTEGER NOT NULL,
  created_by TEXT    NOT NULL,
  expires_ms INTEGER NOT NULL,
  used_ms    INTEGER
) STRICT;

-- adopts: the agent was enrolled and has not said hello since; only then may its journal be another.
CREATE TABLE agents (
  name                 TEXT    NOT NULL PRIMARY KEY,
  site                 TEXT    NOT NULL,
  labels               TEXT    NOT NULL,
  facts                TEXT    NOT NULL DEFAULT '{}',
  actions              TEXT    NOT NULL DEFAULT '[]',
  version              TEXT    NOT NULL DEFAULT '',
  enrolled_ms          INTEGER NOT NULL,
  certificate_until_ms INTEGER NOT NULL DEFAULT 0,
  last_seen_ms         INTEGER NOT NULL DEFAULT 0,
  journal              TEXT    NOT NULL DEFAULT '',
  adopts               INTEGER NOT NULL DEFAULT 1,
  head                 INTEGER NOT NULL DEFAULT 0,
  acknowledged         INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE rollouts (
  id            TEXT    NOT NULL PRIMARY KEY,
  request       TEXT    NOT NULL UNIQUE,
  policy        TEXT    NOT NULL,
  version       INTEGER NOT NULL,
  selector      TEXT    NOT NULL,
  state         TEXT    NOT NULL,
  why           TEXT    NOT NULL DEFAULT '',
  started_ms    INTEGER NOT NULL,
  started_by    TEXT    NOT NULL,
  ended_ms      INTEGER,
  sites_at_once INTEGER NOT NULL,
  max_failed    INTEGER NOT NULL,
  revision      INTEGER NOT NULL DEFAULT 0,
  FOREIGN KEY (policy, version) REFERENCES policies (name, version)
) STRICT;
CREATE INDEX rollouts_state ON rollouts (state);

-- rollout, plan and servers are absent in a duty: a run that an agent began by itself.
CREATE TABLE runs (
  id          TEXT    NOT NULL PRIMARY KEY,
  rollout     TEXT    REFERENCES rollouts (id),
  position    INTEGER NOT NULL,
  site        TEXT    NOT NULL,
  subject     TEXT,
  plan_digest BLOB,
  plan        TEXT,
  servers     TEXT,
  phase       TEXT    NOT NULL,
  fence       INTEGER UNIQUE,
  why         TEXT    NOT NULL DEFAULT '',
  since_ms    INTEGER NOT NULL,
  started_ms  INTEGER,
  ended_ms    INTEGER
) STRICT;
CREATE INDEX runs_rollout ON runs (rollout, position);

-- What an agent may be told of a run, and what it has told (JSON, kept with its records).
CREATE TABLE parts (
  run         TEXT    NOT NULL REFERENCES runs (id),
  agent       TEXT    NOT NULL,
  through     INTEGER NOT NULL DEFAULT 0,
  down_to     INTEGER,
  last        INTEGER NOT NULL DEFAULT 0,
  refused     TEXT,
  refused_why TEXT    NOT NULL DEFAULT '',
  lost        INTEGER NOT NULL DEFAULT 0,
  told        TEXT    NOT NULL DEFAULT '{}',
  PRIMARY KEY (run, agent)
) STRICT;
CREATE INDEX parts_agent ON parts (agent);

-- At most one run in a site, over all rollouts: the primary key says so even if a decision does not.
CREATE TABLE locks (
  site     TEXT    NOT NULL PRIMARY KEY,
  run      TEXT    NOT NULL UNIQUE REFERENCES runs (id),
  since_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE counters (
  name  TEXT    NOT NULL PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT;
INSERT INTO counters (name, value) VALUES ('fence', 0);

-- The agents' journals, byte for byte as the contract encodes them.
CREATE TABLE records (
  agent     TEXT    NOT NULL,
  journal   TEXT    NOT NULL,
  seq       INTEGER NOT NULL,
  run       TEXT    NOT NULL,
  kind      TEXT    NOT NULL,
  at_ms     INTEGER NOT NULL,
  stored_ms INTEGER NOT NULL,
  record    BLOB    NOT NULL,
  PRIMARY KEY (agent, journal, seq)
) STRICT;
CREATE INDEX records_run ON records (run, agent, seq);

-- What the records say of each message file.
CREATE TABLE batches (
  batch  TEXT    NOT NULL PRIMARY KEY,
  agent  TEXT    NOT NULL,
  run    TEXT    NOT NULL,
  queue  TEXT    NOT NULL,
  source TEXT    NOT NULL,
  held   TEXT    NOT NULL
) STRICT;
CREATE INDEX batches_run ON batches (run);
CREATE INDEX batches_agent ON batches (agent);

CREATE TABLE custody (
  batch       TEXT    NOT NULL REFERENCES batches (batch),
  entry       INTEGER NOT NULL,
  name        TEXT    NOT NULL,
  file_id     INTEGER NOT NULL,
  size        INTEGER NOT NULL,
  modified_ms INTEGER NOT NULL,
  hash        BLOB    NOT NULL,
  mts_id      TEXT    NOT NULL,
  message_id  TEXT    NOT NULL,
  state       TEXT    NOT NULL,
  evidence    TEXT    NOT NULL DEFAULT '',
  changed_ms  INTEGER NOT NULL,
  PRIMARY KEY (batch, entry)
) STRICT;

CREATE TABLE alarms (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  agent     TEXT    NOT NULL,
  run       TEXT    NOT NULL,
  code      TEXT    NOT NULL,
  text      TEXT    NOT NULL,
  raised_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX alarms_agent ON alarms (agent);
CREATE INDEX alarms_run ON alarms (run);

-- What people did.
CREATE TABLE changes (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms    INTEGER NOT NULL,
  operator TEXT    NOT NULL,
  what     TEXT    NOT NULL,
  target   TEXT    NOT NULL,
  why      TEXT    NOT NULL
) STRICT;
