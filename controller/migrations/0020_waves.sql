-- Rollouts in waves: the frozen strategy, where the rollout stands in it, and what people approved.

-- strategy and resolved are JSON, frozen with the plans. max_failed is the number in force: a person who
-- resumes accepts failures beyond the frozen one. wave counts from 0. cause: by what the rollout is paused,
-- halted or aborting.
ALTER TABLE rollouts ADD COLUMN strategy TEXT NOT NULL DEFAULT '{}';
ALTER TABLE rollouts ADD COLUMN resolved TEXT NOT NULL DEFAULT '{}';
ALTER TABLE rollouts ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollouts ADD COLUMN wave INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollouts ADD COLUMN wave_ended_ms INTEGER;
ALTER TABLE rollouts ADD COLUMN cause TEXT NOT NULL DEFAULT 'none';
ALTER TABLE rollouts ADD COLUMN retry_of TEXT REFERENCES rollouts (id);

-- Those that were started before there were waves have one, and no budget.
UPDATE rollouts SET
  strategy = json_object('sites_at_once', sites_at_once, 'max_failed', CAST(max_failed AS TEXT)),
  resolved = json_object(
    'waves', json_array((SELECT count(DISTINCT site) FROM runs WHERE rollout = rollouts.id)),
    'max_failed', max_failed,
    'max_unavailable_site', json(coalesce((SELECT json_group_object(site, 4294967295)
      FROM (SELECT DISTINCT site FROM runs WHERE rollout = rollouts.id)), '{}')),
    'max_unavailable_fleet', 4294967295);

-- A person's word that a wave may begin, bound to what was looked at.
CREATE TABLE approvals (
  rollout     TEXT    NOT NULL REFERENCES rollouts (id),
  wave        INTEGER NOT NULL,
  digest      BLOB    NOT NULL,
  generation  INTEGER NOT NULL,
  approved_by TEXT    NOT NULL,
  at_ms       INTEGER NOT NULL,
  why         TEXT    NOT NULL,
  PRIMARY KEY (rollout, wave)
) STRICT;

-- Waves whose gate was not good and that a person accepted.
CREATE TABLE accepted_gates (
  rollout     TEXT    NOT NULL REFERENCES rollouts (id),
  wave        INTEGER NOT NULL,
  accepted_by TEXT    NOT NULL,
  at_ms       INTEGER NOT NULL,
  why         TEXT    NOT NULL,
  PRIMARY KEY (rollout, wave)
) STRICT;

-- Rises when an agent is enrolled, or when its site, labels, facts or actions change, whoever writes it.
INSERT INTO counters (name, value) VALUES ('generation', 1);
CREATE TRIGGER agents_enrolled AFTER INSERT ON agents BEGIN
  UPDATE counters SET value = value + 1 WHERE name = 'generation';
END;
CREATE TRIGGER agents_removed AFTER DELETE ON agents BEGIN
  UPDATE counters SET value = value + 1 WHERE name = 'generation';
END;
CREATE TRIGGER agents_changed AFTER UPDATE ON agents
WHEN old.site <> new.site OR old.labels <> new.labels OR old.facts <> new.facts OR old.actions <> new.actions
BEGIN
  UPDATE counters SET value = value + 1 WHERE name = 'generation';
END;

-- When the controller heard of an alarm last, by its own clock.
ALTER TABLE alarms ADD COLUMN heard_ms INTEGER NOT NULL DEFAULT 0;
UPDATE alarms SET heard_ms = raised_ms;

-- Revisions that must not run any more, for ever. article: that by which they were recalled, with all that
-- were published of it by then; empty: by their name.
CREATE TABLE recalls (
  policy      TEXT    NOT NULL,
  version     INTEGER NOT NULL,
  article     TEXT    NOT NULL,
  why         TEXT    NOT NULL,
  recalled_by TEXT    NOT NULL,
  at_ms       INTEGER NOT NULL,
  PRIMARY KEY (policy, version),
  FOREIGN KEY (policy, version) REFERENCES policies (name, version)
) STRICT;
