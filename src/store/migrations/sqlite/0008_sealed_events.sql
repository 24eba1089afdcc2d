-- What an event is about holds what the caller noted of it, and the upstream's own words: from now on it is sealed, and
-- `data` is empty. What was written before stays as it is until its retention ends.
ALTER TABLE events ADD COLUMN sealed BLOB;
