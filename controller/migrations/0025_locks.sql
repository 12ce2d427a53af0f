-- What a site is held for: fence is of the run's own grant, until the run has ended; release is of the grant of
-- a release, until its agent has closed or refused it. One of them is there at least.
ALTER TABLE locks ADD COLUMN fence INTEGER;
ALTER TABLE locks ADD COLUMN release INTEGER;
-- The grant that a release was stored with.
ALTER TABLE person_orders ADD COLUMN fence INTEGER;

UPDATE locks SET fence = (
  SELECT fence FROM runs WHERE id = locks.run
    AND phase IN ('assigned', 'running', 'unwinding', 'needs-person'));
-- Releases of before had no grant: the next closing or refusal ends them.
UPDATE locks SET release = 0 WHERE fence IS NULL OR run IN (
  SELECT run FROM person_orders WHERE kind = 'release' AND state IN ('waiting', 'taken'));
