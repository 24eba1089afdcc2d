-- An event that is still to be delivered is not old enough, whatever its date.
CREATE INDEX deliveries_event ON deliveries (event) WHERE state = 'pending';
