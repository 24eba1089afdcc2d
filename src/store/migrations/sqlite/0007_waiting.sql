-- What waits the longest is asked of each endpoint that is on: those that are off, where things wait for good, are
-- not walked through.
DROP INDEX deliveries_oldest;
CREATE INDEX deliveries_waiting ON deliveries (endpoint, created_at) WHERE state = 'pending';
