-- What a payment is for, at the price of the moment. The key keeps a payment's lines together and in order.
CREATE TABLE payment_items (
    payment_id BINARY(16)   NOT NULL,
    position   INT          NOT NULL,
    id         BINARY(16)   NOT NULL,
    product_id BIGINT       NOT NULL,
    name       VARCHAR(200) NOT NULL,
    quantity   INT          NOT NULL CHECK (quantity > 0),
    price      BIGINT       NOT NULL,
    subtotal   BIGINT       NOT NULL,
    category   VARCHAR(100) NOT NULL,
    created_at BIGINT       NOT NULL,
    PRIMARY KEY (payment_id, position),
    CONSTRAINT payment_items_payment FOREIGN KEY (payment_id) REFERENCES payments (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
