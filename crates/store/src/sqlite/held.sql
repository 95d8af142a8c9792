-- Few messages are leased at a time, and an open takes back the leases of a process that is gone.
CREATE INDEX messages_held ON messages (held) WHERE held = 1;
