-- The payment whose lines were last taken out.
ALTER TABLE baskets ADD COLUMN cleared_by BLOB;
