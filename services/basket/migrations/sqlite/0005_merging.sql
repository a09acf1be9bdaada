-- Whose basket the lines are on their way to; nobody changes the basket until they are there.
ALTER TABLE baskets ADD COLUMN merging_into TEXT;
