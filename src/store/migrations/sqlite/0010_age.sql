-- Old events are found by their age. In the order they came, those that a clock which was ahead has dated stood before
-- all others.
CREATE INDEX events_age ON events (at);
-- An event that is still to be delivered is not old enough, whatever its date.
CREATE INDEX deliveries_event ON deliveries (event) WHERE state = 'pending';
