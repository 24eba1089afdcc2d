-- Which daemon has leased a delivery: it counts its own against what it may have out of an endpoint, so that a daemon that
-- died keeps nobody from it.
ALTER TABLE deliveries ADD COLUMN leased_by BYTEA;
