-- When a rollout entered its state: since when a paused or halted one waits for somebody.
ALTER TABLE rollouts ADD COLUMN turned_ms INTEGER NOT NULL DEFAULT 0;
UPDATE rollouts SET turned_ms = started_ms;

-- What the metrics count at each scrape.
CREATE INDEX runs_phase ON runs (phase);
CREATE INDEX custody_kept ON custody (state, batch, changed_ms)
  WHERE state IN ('held', 'replaying', 'poison', 'in-doubt');
CREATE INDEX person_orders_state ON person_orders (state);
