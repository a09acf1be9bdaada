-- What is held for too long is looked for every minute; few lines are held at a time.
CREATE INDEX IF NOT EXISTS reservation_lines_held ON reservation_lines (reservation_id) WHERE state = 'held';
