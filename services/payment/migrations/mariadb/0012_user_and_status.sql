-- A user's payments of one status are listed without walking all of his.
CREATE INDEX IF NOT EXISTS payments_user_status ON payments (user_id, status, id);
