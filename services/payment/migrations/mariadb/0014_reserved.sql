-- Whether product has said that the stock is held. False also where it is and nobody noted it: then it is asked once more.
ALTER TABLE payments ADD COLUMN IF NOT EXISTS reserved BOOLEAN NOT NULL DEFAULT FALSE;
