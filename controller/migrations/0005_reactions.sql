-- Symptoms over the fleet, and what is done about them.

-- How each policy answers to its symptom. throttle is JSON.
CREATE TABLE bindings (
  policy   TEXT    NOT NULL PRIMARY KEY,
  version  INTEGER NOT NULL,
  selector TEXT    NOT NULL,
  answer   TEXT    NOT NULL,
  throttle TEXT    NOT NULL,
  bound_ms INTEGER NOT NULL,
  bound_by TEXT    NOT NULL,
  FOREIGN KEY (policy, version) REFERENCES policies (name, version)
) STRICT;

-- Each agent's last word. since_ms and looked_ms are by its clock, heard_ms by ours. evidence is JSON.
CREATE TABLE symptoms (
  agent     TEXT    NOT NULL,
  policy    TEXT    NOT NULL,
  version   INTEGER NOT NULL,
  digest    BLOB    NOT NULL,
  state     TEXT    NOT NULL,
  since_ms  INTEGER NOT NULL,
  looked_ms INTEGER NOT NULL,
  heard_ms  INTEGER NOT NULL,
  evidence  TEXT    NOT NULL,
  PRIMARY KEY (agent, policy)
) STRICT;

-- over: it stands no more, or was refused and its symptom has gone since. servers is JSON.
CREATE TABLE proposals (
  id          TEXT    NOT NULL PRIMARY KEY,
  policy      TEXT    NOT NULL,
  version     INTEGER NOT NULL,
  site        TEXT    NOT NULL,
  servers     TEXT    NOT NULL,
  why         TEXT    NOT NULL,
  proposed_ms INTEGER NOT NULL,
  decided     TEXT,
  decided_ms  INTEGER,
  decided_by  TEXT    NOT NULL DEFAULT '',
  reason      TEXT    NOT NULL DEFAULT '',
  rollout     TEXT    REFERENCES rollouts (id),
  over        INTEGER NOT NULL DEFAULT 0
) STRICT;
-- At most one for a policy at a site while it stands, even if a decision says otherwise.
CREATE UNIQUE INDEX proposals_open ON proposals (policy, site) WHERE over = 0;

-- Servers that a person has in hand.
CREATE TABLE in_hand (
  agent    TEXT    NOT NULL PRIMARY KEY,
  held_by  TEXT    NOT NULL,
  why      TEXT    NOT NULL,
  since_ms INTEGER NOT NULL
) STRICT;

-- Rollouts that a binding started, written with the rollout. number counts those of a policy at a site:
-- a decision that was made twice is refused the second time.
CREATE TABLE reactions (
  rollout TEXT    NOT NULL PRIMARY KEY REFERENCES rollouts (id),
  policy  TEXT    NOT NULL,
  site    TEXT    NOT NULL,
  number  INTEGER NOT NULL,
  UNIQUE (policy, site, number)
) STRICT;

-- What came of a run: whether mail flows again.
CREATE TABLE effects (
  run       TEXT    NOT NULL PRIMARY KEY REFERENCES runs (id),
  effect    TEXT    NOT NULL,
  why       TEXT    NOT NULL,
  judged_ms INTEGER NOT NULL
) STRICT;
