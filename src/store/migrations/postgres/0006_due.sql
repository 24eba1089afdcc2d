-- A claim takes who is due longest. In the order of this index it reads what it takes, and passes over the few
-- that somebody has in hand; by the time from which a row is free it read and sorted all that was due.
DROP INDEX signings_free;
CREATE INDEX signings_due ON signings (due_at, id) WHERE due_at IS NOT NULL;
