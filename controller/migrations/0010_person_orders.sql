-- What people ordered: answers to tasks, releases and settlements of messages in custody. `bytes` is the order
-- as the contract encodes it; it is told to its agent at each connect until the agent answers.
CREATE TABLE person_orders (
  id          TEXT    NOT NULL PRIMARY KEY,
  agent       TEXT    NOT NULL,
  run         TEXT    NOT NULL REFERENCES runs (id),
  kind        TEXT    NOT NULL,
  step        INTEGER,
  bytes       BLOB    NOT NULL,
  ordered_by  TEXT    NOT NULL,
  at_ms       INTEGER NOT NULL,
  state       TEXT    NOT NULL DEFAULT 'waiting',
  code        TEXT    NOT NULL DEFAULT '',
  why         TEXT    NOT NULL DEFAULT '',
  answered_ms INTEGER
) STRICT;
CREATE INDEX person_orders_agent ON person_orders (agent, state);
-- A task is answered once, and a release that waits is not ordered a second time, whoever asks at once.
CREATE UNIQUE INDEX person_orders_answer ON person_orders (run, step)
  WHERE kind = 'answer' AND state <> 'refused';
CREATE UNIQUE INDEX person_orders_release ON person_orders (run, agent)
  WHERE kind = 'release' AND state = 'waiting';

-- What reconciliations found of accepted messages, as the agents told it.
CREATE TABLE reconciliations (
  run       TEXT    NOT NULL,
  agent     TEXT    NOT NULL,
  step      INTEGER NOT NULL,
  pieces    INTEGER NOT NULL,
  delivered INTEGER NOT NULL,
  PRIMARY KEY (run, agent, step)
) STRICT;
CREATE TABLE reconciled (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  run         TEXT    NOT NULL,
  agent       TEXT    NOT NULL,
  step        INTEGER NOT NULL,
  mts_id      TEXT    NOT NULL,
  message_id  TEXT    NOT NULL,
  fate        TEXT    NOT NULL,
  accepted_ms INTEGER NOT NULL,
  recipients  TEXT    NOT NULL,
  sender      TEXT    NOT NULL,
  evidence    TEXT    NOT NULL,
  escrow      TEXT    NOT NULL
) STRICT;
CREATE INDEX reconciled_run ON reconciled (run, accepted_ms, id);
