-- Since when the settings no longer name an endpoint of theirs: it waits for a day before it goes, with what is pending, in
-- case they name it again.
ALTER TABLE endpoints ADD COLUMN dropped_at BIGINT;
