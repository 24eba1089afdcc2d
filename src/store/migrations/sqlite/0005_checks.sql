-- One status check of an envelope, and of each part of it, in 15 minutes (rule B3), by all daemons together.
CREATE TABLE checks (
    envelope TEXT    NOT NULL,
    resource TEXT    NOT NULL,
    made_at  INTEGER NOT NULL,
    PRIMARY KEY (envelope, resource)
) STRICT, WITHOUT ROWID;

CREATE INDEX checks_age ON checks (made_at);

-- How often an envelope was changed: the vendor counts, and does not say how far one may go.
CREATE TABLE changes (
    envelope TEXT    PRIMARY KEY NOT NULL,
    calls    INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX changes_age ON changes (last_at);
