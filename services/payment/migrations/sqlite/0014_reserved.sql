-- Whether product has said that the stock is held. Zero also where it is and nobody noted it: then it is asked once more.
ALTER TABLE payments ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0;
