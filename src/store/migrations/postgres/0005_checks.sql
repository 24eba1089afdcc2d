-- One status check of an envelope, and of each part of it, in 15 minutes (rule B3), by all daemons together.
CREATE TABLE checks (
    envelope TEXT   NOT NULL,
    resource TEXT   NOT NULL,
    made_at  BIGINT NOT NULL,
    PRIMARY KEY (envelope, resource)
);

CREATE INDEX checks_age ON checks (made_at);

-- How often an envelope was changed: the vendor counts, and does not say how far one may go.
CREATE TABLE changes (
    envelope TEXT   PRIMARY KEY,
    calls    BIGINT NOT NULL,
    last_at  BIGINT NOT NULL
);

CREATE INDEX changes_age ON changes (last_at);
