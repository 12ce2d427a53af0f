-- How deep each agent's queues are, as it told last. oldest_ms and at_ms are by its clock.
CREATE TABLE queues (
  agent     TEXT    NOT NULL,
  queue     TEXT    NOT NULL,
  messages  INTEGER NOT NULL,
  bytes     INTEGER NOT NULL,
  oldest_ms INTEGER NOT NULL,
  at_ms     INTEGER NOT NULL,
  PRIMARY KEY (agent, queue)
) STRICT;
