-- When an endpoint is worth looking at: no claim asks those that have nothing due. Zero: look once.
ALTER TABLE endpoints ADD COLUMN next_at BIGINT;
UPDATE endpoints SET next_at = 0;
CREATE INDEX endpoints_next ON endpoints (next_at) WHERE next_at IS NOT NULL AND disabled_at IS NULL;

-- A delivery can be claimed when it is due and no lease lives.
DROP INDEX deliveries_due;
CREATE INDEX deliveries_free ON deliveries (endpoint, greatest(due_at, coalesce(leased_until, 0)))
    WHERE state = 'pending';
CREATE INDEX deliveries_oldest ON deliveries (created_at) WHERE state = 'pending';
