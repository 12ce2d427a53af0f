-- The same as before, asked only where one of these columns is written: a report changes none of them, and most writes are
-- reports.
DROP TRIGGER agents_changed;
CREATE TRIGGER agents_changed AFTER UPDATE OF site, labels, facts, actions ON agents
WHEN old.site <> new.site OR old.labels <> new.labels OR old.facts <> new.facts OR old.actions <> new.actions
BEGIN
  UPDATE counters SET value = value + 1 WHERE name = 'generation';
END;
