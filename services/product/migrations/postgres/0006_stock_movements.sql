-- Every change of stock, for good: the sums of a product's rows are its stock and what is reserved of it.
CREATE TABLE IF NOT EXISTS stock_movements (
    id             BIGINT GENERATED ALWAYS AS IDENTITY,
    product_id     BIGINT NOT NULL, -- no reference: a movement outlives its product
    kind           TEXT   NOT NULL CHECK (kind IN ('adjustment', 'reservation', 'sale', 'release', 'restock')),
    stock_delta    BIGINT NOT NULL,
    reserved_delta BIGINT NOT NULL,
    reservation_id UUID,            -- the reservation that it is of
    operation      UUID,            -- the request that adjusted: a repeat finds it
    reason         TEXT,            -- of an adjustment
    reference      TEXT,            -- what the client calls it, such as a delivery note
    created_at     BIGINT NOT NULL, -- unix milliseconds
    PRIMARY KEY (product_id, id)
);
CREATE UNIQUE INDEX IF NOT EXISTS stock_movements_operation ON stock_movements (operation)
    WHERE operation IS NOT NULL;

-- The sale of such a reservation counts `units_sold`; those of before are counted by payment.completed.
ALTER TABLE reservations ADD COLUMN IF NOT EXISTS sale_counts BIGINT NOT NULL DEFAULT 0;

-- Counts the changes whose movement the writer wrote itself. From here on nobody writes to products until this is committed.
ALTER TABLE products ADD COLUMN IF NOT EXISTS moves BIGINT NOT NULL DEFAULT 0;

INSERT INTO stock_movements (product_id, kind, stock_delta, reserved_delta, reason, created_at)
SELECT id, 'adjustment', stock_quantity, reserved_quantity, 'opening balance',
    (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT
FROM products
WHERE (stock_quantity <> 0 OR reserved_quantity <> 0)
    AND NOT EXISTS (SELECT 1 FROM stock_movements WHERE product_id = products.id);

-- Who changes stock and writes no movement gets one: an edit, a replica of the version before, a statement by hand.
CREATE OR REPLACE FUNCTION products_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    product BIGINT := coalesce(NEW.id, OLD.id);
    stock BIGINT := coalesce(NEW.stock_quantity, 0) - coalesce(OLD.stock_quantity, 0);
    reserved BIGINT := coalesce(NEW.reserved_quantity, 0) - coalesce(OLD.reserved_quantity, 0);
BEGIN
    INSERT INTO stock_movements (product_id, kind, stock_delta, reserved_delta, reason, created_at)
    VALUES (product, 'adjustment', stock, reserved, TG_ARGV[0],
        (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT);
    RETURN NULL;
END
$$;
DROP TRIGGER IF EXISTS products_moved_insert ON products;
CREATE TRIGGER products_moved_insert AFTER INSERT ON products
    FOR EACH ROW WHEN (NEW.stock_quantity <> 0 OR NEW.reserved_quantity <> 0)
    EXECUTE FUNCTION products_moved('product added');
DROP TRIGGER IF EXISTS products_moved_update ON products;
CREATE TRIGGER products_moved_update AFTER UPDATE OF stock_quantity, reserved_quantity ON products
    FOR EACH ROW WHEN (NEW.moves = OLD.moves
        AND (NEW.stock_quantity <> OLD.stock_quantity OR NEW.reserved_quantity <> OLD.reserved_quantity))
    EXECUTE FUNCTION products_moved('product edited');
DROP TRIGGER IF EXISTS products_moved_delete ON products;
CREATE TRIGGER products_moved_delete AFTER DELETE ON products
    FOR EACH ROW WHEN (OLD.stock_quantity <> 0 OR OLD.reserved_quantity <> 0)
    EXECUTE FUNCTION products_moved('product removed');
